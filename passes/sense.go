package passes

import (
	"context"

	"gonum.org/v1/gonum/mat"

	"nuwa/internal/fault"
	"nuwa/passes/attention"
	"nuwa/passes/calibrate"
	"nuwa/passes/mlp"
	"nuwa/passes/structure"
)

// runSense gathers, in one run over the calibration inputs, what the recipe
// decides by: how heads and hidden neurons are distributed, and how much the
// loss feels errors.
func runSense(ctx context.Context, s *State) (string, error) {
	moments, gradients := s.Options.Recipe.senses()
	refits := s.Options.Recipe.Refit != RefitNone && s.classifierOf() != nil
	if !moments && !refits || s.Options.Rate == 0 && s.Options.Fixed == nil {
		return "", nil
	}
	if s.Feeds == nil {
		return "", noFeeds()
	}
	if refits {
		name := s.classifierOf().Out.Name()
		err := s.remember("logits", &s.Logits, func() error {
			of, err := calibrate.Values(ctx, s.Engine, s.Model, []string{name}, s.Feeds)
			s.Logits = of[name]
			return err
		})
		if err != nil {
			return "", err
		}
	}
	if !moments {
		return "the base's logits", nil
	}
	labels := calibrate.Labels{Class: s.Labels, Several: s.Several}
	if gradients && (!labels.Known() || len(s.ViT.Classifiers) == 0) {
		s.note("errors are not weighted by the loss, which needs labelled images and a classifier")
		gradients = false
	}
	watches, err := s.watches(gradients)
	if err != nil {
		return "", err
	}
	logits := ""
	if gradients {
		logits = s.Model.Graph.Outputs()[s.ViT.Classifiers[0].Index].Name()
	}
	var of *calibrate.Senses
	err = s.remember("statistics", &of, func() (err error) {
		if len(watches) == 0 {
			of = &calibrate.Senses{}
			return nil
		}
		of, err = calibrate.Sense(ctx, s.Engine, s.Model, logits, labels, watches, s.Feeds)
		return err
	})
	if gradients && fault.KindOf(err) == fault.Unsupported {
		s.note("errors are not weighted by the loss: %v", err)
		if watches, err = s.watches(false); err != nil {
			return "", err
		}
		of, err = calibrate.Sense(ctx, s.Engine, s.Model, "", calibrate.Labels{}, watches, s.Feeds)
	}
	if err != nil {
		return "", err
	}
	felt := func(name string) *mat.SymDense {
		switch f := of.Felt[name]; {
		case f == nil || s.Options.Recipe.Errors == ErrorsPlain:
			return nil
		case s.Options.Recipe.Errors == ErrorsFull:
			return f.Second(false)
		default:
			return diagonal(f.Second(false))
		}
	}
	s.Evidence = make([]attention.Evidence, len(s.ViT.Attentions))
	for i, a := range s.ViT.Attentions {
		e := &s.Evidence[i]
		if a.QKReason == "" {
			e.Q, e.K = of.Moments[a.Q.Linear.Out.Name()], of.Moments[a.K.Linear.Out.Name()]
			if f := felt(a.QK.Output(0).Name()); f != nil {
				for h := range f.SymmetricDim() {
					e.Gamma = append(e.Gamma, f.At(h, h))
				}
			}
		}
		if a.VOReason == "" {
			e.O, e.F = of.Moments[a.Out.Linear.In.Name()], felt(a.Out.Linear.Out.Name())
		}
	}
	s.Hidden = nil
	for _, m := range s.hiddenSites() {
		s.Hidden = append(s.Hidden, &mlp.Evidence{Moments: of.Moments[m.Second.In.Name()], F: felt(m.Second.Out.Name()), Taylor: of.Taylor[m.Second.In.Name()]})
	}
	return counted(len(watches), "values observed"), nil
}

func diagonal(f *mat.SymDense) *mat.SymDense {
	d := mat.NewSymDense(f.SymmetricDim(), nil)
	for i := range f.SymmetricDim() {
		d.SetSym(i, i, f.At(i, i))
	}
	return d
}

// watches lists what runSense has to gather, each value once.
func (s *State) watches(gradients bool) ([]calibrate.Watch, error) {
	var list []calibrate.Watch
	add := func(w calibrate.Watch) {
		for i := range list {
			if list[i].Value == w.Value { // q and k of one map, say
				list[i].Moments = list[i].Moments || w.Moments
				list[i].Felt = list[i].Felt || w.Felt
				return
			}
		}
		list = append(list, w)
	}
	by := func(value string) string {
		if gradients && s.Options.Recipe.Rows == RowsFelt {
			return value
		}
		return ""
	}
	for _, a := range s.ViT.Attentions {
		moments, felt := attention.Taps(a, s.ViT.Shapes)
		for _, t := range moments {
			w := calibrate.Watch{Tap: t, Moments: true}
			if a.VOReason == "" && t.Value == a.Out.Linear.In.Name() {
				w.By = by(a.Out.Linear.Out.Name())
			}
			add(w)
		}
		for _, t := range felt {
			if gradients {
				add(calibrate.Watch{Tap: t, Felt: true})
			}
		}
	}
	sites := s.hiddenSites()
	hidden, err := mlp.Taps(s.ViT.Shapes, sites)
	if err != nil {
		return nil, err
	}
	for i, m := range sites {
		add(calibrate.Watch{Tap: hidden[i], Moments: true, Taylor: gradients && s.Options.Recipe.Select == SelectTaylor, By: by(m.Second.Out.Name())})
		if gradients {
			add(calibrate.Watch{Tap: mlp.OutputTap(s.ViT.Shapes, m), Felt: true})
		}
	}
	return list, nil
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
