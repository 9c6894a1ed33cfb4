package passes

import (
	"context"
	"fmt"

	"nuwa/internal/cost"
	"nuwa/internal/fault"
	"nuwa/internal/linalg"
	"nuwa/passes/allocate"
	"nuwa/passes/attention"
	"nuwa/passes/calibrate"
	"nuwa/passes/mlp"
	"nuwa/passes/structure"
)

// refit are the options of the least squares of recipe best: an intercept, and
// a ridge that keeps the answer near the weights that are there.
var refit = linalg.Options{Affine: true, Ridge: 1e-4}

// runSense gathers what recipe best decides by: how heads and hidden neurons
// are distributed on the calibration data, and how much the loss feels errors
// at each block's outputs.
func runSense(ctx context.Context, s *State) (string, error) {
	if s.Options.Recipe != "best" || s.Options.Rate == 0 && s.Options.Fixed == nil {
		return "", nil
	}
	if s.Feeds == nil {
		return "", noFeeds()
	}
	var moments, gradients []calibrate.Tap
	for _, a := range s.ViT.Attentions {
		m, g := attention.Taps(a, s.ViT.Shapes)
		moments, gradients = append(moments, m...), append(gradients, g...)
	}
	sites := s.hiddenSites()
	hidden, err := mlp.Taps(s.ViT.Shapes, sites)
	if err != nil {
		return "", err
	}
	moments = append(moments, hidden...)
	for _, m := range sites {
		gradients = append(gradients, mlp.OutputTap(s.ViT.Shapes, m))
	}
	var of map[string]*linalg.Moments
	err = s.remember("statistics", &of, func() (err error) {
		of, err = calibrate.CollectByName(ctx, s.Engine, s.Model, moments, s.Feeds)
		return err
	})
	if err != nil {
		return "", err
	}
	s.Felt = map[string][]float64{}
	labels := calibrate.Labels{Class: s.Labels, Several: s.Several}
	if labels.Known() && len(s.ViT.Classifiers) > 0 {
		var f [][]float64
		err := s.remember("gradients", &f, func() (err error) {
			f, err = calibrate.Gradients(ctx, s.Engine, s.Model, s.Model.Graph.Outputs()[s.ViT.Classifiers[0].Index].Name(), gradients, labels, s.Feeds)
			return err
		})
		if fault.KindOf(err) == fault.Unsupported {
			s.note("errors are not weighted by the loss: %v", err)
		} else if err != nil {
			return "", err
		}
		for i := range f {
			s.Felt[gradients[i].Value] = f[i]
		}
	} else {
		s.note("errors are not weighted by the loss, which needs labelled images and a classifier")
	}
	s.Evidence = make([]attention.Evidence, len(s.ViT.Attentions))
	for i, a := range s.ViT.Attentions {
		e := &s.Evidence[i]
		if a.QKReason == "" {
			e.Q, e.K, e.Gamma = of[a.Q.Linear.Out.Name()], of[a.K.Linear.Out.Name()], s.Felt[a.QK.Output(0).Name()]
		}
		if a.VOReason == "" {
			e.O, e.F = of[a.Out.Linear.In.Name()], s.Felt[a.Out.Linear.Out.Name()]
		}
	}
	for _, m := range sites {
		s.Hidden = append(s.Hidden, of[m.Second.In.Name()])
	}
	return counted(len(moments), "values observed"), nil
}

func noFeeds() error {
	return &fault.Error{Kind: fault.Usage, Got: "widths to choose and no calibration inputs", Remedy: "give --data, or --calibration synthetic"}
}

// hiddenSites lists the hidden layers that may be pruned.
func (s *State) hiddenSites() []*structure.MLP {
	var sites []*structure.MLP
	for _, b := range s.ViT.Blocks {
		if b.MLP != nil && b.MLP.Reason == "" {
			sites = append(sites, b.MLP)
		}
	}
	return sites
}

// contender is one width of one block in the competition for the budget.
type contender struct {
	width  *int
	base   int        // the present width
	unit   float64    // multiply-accumulates of one channel
	losses []float64  // predicted loss by width, for attention
	layer  *mlp.Layer // for hidden layers
}

// next returns the width one step down, the predicted loss that it costs, and
// the multiply-accumulates that it saves; ok is false at the floor.
func (c *contender) next(align int) (width int, loss, saved float64, ok bool) {
	n := mlp.NextStep(*c.width, align)
	if n == 0 {
		return 0, 0, 0, false
	}
	width = *c.width - n
	if c.layer != nil {
		loss = c.layer.StepCost(n) / 2
	} else {
		loss = c.losses[width] - c.losses[*c.width]
	}
	return width, loss, float64(n) * c.unit, true
}

// planBest lets all widths compete: a step is taken where the predicted loss
// per multiply-accumulate saved is least, until the rate is met.
func (s *State) planBest(ctx context.Context) (string, error) {
	shapes, err := s.Engine.Shapes(ctx, s.Model)
	if err != nil {
		return "", err
	}
	c, err := cost.Of(s.Model, shapes)
	if err != nil {
		return "", err
	}
	list, err := s.contenders()
	if err != nil {
		return "", err
	}
	macs, target := float64(c.MACs), (1-s.Options.Rate)*s.BaseMACs
	least := macs
	for _, x := range list {
		least -= x.unit * float64(x.base-min(x.base, s.Options.Align))
	}
	if least > target+allocate.Tolerance*s.BaseMACs {
		return "", &fault.Error{Kind: fault.Unreachable, Where: "rate", Got: fmt.Sprintf("%.3f", s.Options.Rate),
			Want:   fmt.Sprintf("%.3f to %.3f, with widths that are multiples of %d", 1-macs/s.BaseMACs, 1-least/s.BaseMACs, s.Options.Align),
			Remedy: "ask for a lower rate, or a smaller --align"}
	}
	predicted := 0.0
	for {
		var best *contender
		var width int
		var cheapest, loss, saved float64
		for _, x := range list {
			w, l, m, ok := x.next(s.Options.Align)
			if !ok || m > 2*(macs-target) { // overshooting by more than stopping short
				continue
			}
			if rel := l / m; best == nil || rel < cheapest {
				best, width, cheapest, loss, saved = x, w, rel, l, m
			}
		}
		if best == nil {
			break
		}
		if best.layer != nil {
			if err := best.layer.Drop(*best.width - width); err != nil {
				return "", err
			}
		}
		*best.width = width
		macs -= saved
		predicted += loss
	}
	return fmt.Sprintf("rate %.3f, predicted loss %+.4f", 1-macs/s.BaseMACs, predicted), nil
}

// contenders lists every width that may shrink.
func (s *State) contenders() ([]*contender, error) {
	var list []*contender
	at, site := 0, 0
	for i, b := range s.ViT.Blocks {
		if a := b.Attention; a != nil {
			qk, vo := s.Spectra[at].Losses(s.Evidence[at], s.ViT.Shapes)
			uq, uv := a.UnitMACs(s.ViT.Shapes)
			if qk != nil {
				list = append(list, &contender{width: &s.Widths[i].QK, base: a.QKDim, unit: uq, losses: qk})
			}
			if vo != nil {
				list = append(list, &contender{width: &s.Widths[i].VO, base: a.VODim, unit: uv, losses: vo})
			}
			at++
		}
		if m := b.MLP; m != nil && m.Reason == "" {
			l, err := s.layer(m, s.Hidden[site])
			if err != nil {
				return nil, fmt.Errorf("block %d: %w", i, err)
			}
			list = append(list, &contender{width: &s.Widths[i].Hidden, base: m.Hidden, unit: l.Cost, layer: l})
			site++
		}
	}
	return list, nil
}

// layer prepares a hidden layer for elimination, its errors weighted by how
// much the loss feels them.
func (s *State) layer(m *structure.MLP, moments *linalg.Moments) (*mlp.Layer, error) {
	o := refit
	o.Weight = s.Felt[m.Second.Out.Name()]
	return mlp.NewLayer(m, moments, s.ViT.Shapes, o)
}
