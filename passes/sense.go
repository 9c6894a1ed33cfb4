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
// decides by: how heads and hidden neurons are distributed, how much the loss
// feels errors, and the base's logits.
func runSense(ctx context.Context, s *State) (string, error) {
	moments, gradients := s.Options.Recipe.senses()
	refits := s.Options.Recipe.Refit != RefitNone && s.classifierOf() != nil
	if !moments && !refits || s.Options.Rate == 0 && s.Options.Fixed == nil {
		return "", nil
	}
	if s.Feeds == nil {
		return "", noFeeds()
	}
	ask := calibrate.Ask{Labels: calibrate.Labels{Class: s.Labels, Several: s.Several}}
	if refits {
		ask.Keep = s.classifierOf().Out.Name()
	}
	if moments && gradients {
		if !ask.Labels.Known() || len(s.ViT.Classifiers) == 0 {
			s.note("errors are not weighted by the loss, which needs labelled images and a classifier")
		} else {
			ask.Loss = s.Model.Graph.Outputs()[s.ViT.Classifiers[0].Index].Name()
		}
	}
	what := "statistics"
	if !moments {
		what = "logits"
	}
	n, err := s.sense(ctx, what, ask, moments)
	if ask.Loss != "" && fault.KindOf(err) == fault.Unsupported {
		s.note("errors are not weighted by the loss: %v", err)
		ask.Loss = ""
		n, err = s.sense(ctx, what+" without gradients", ask, moments)
	}
	if err != nil || !moments {
		return "the base's logits", err
	}
	return counted(n, "values observed"), nil
}

// sense runs the model once, unless the result is remembered as what, and keeps
// what ask and, with moments, the recipe want. It returns how many values were
// watched.
func (s *State) sense(ctx context.Context, what string, ask calibrate.Ask, moments bool) (int, error) {
	w := &watcher{recipe: s.Options.Recipe, gradients: ask.Loss != ""}
	if moments {
		if err := w.watchAll(s); err != nil {
			return 0, err
		}
	}
	if len(w.list) == 0 && ask.Keep == "" {
		w.settle(&calibrate.Senses{})
		return 0, nil
	}
	of := &calibrate.Senses{}
	err := s.remember(what, of, func() error {
		found, err := calibrate.Sense(ctx, s.Engine, s.Model, ask, w.list, s.Feeds)
		if err == nil {
			*of = *found
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	s.Logits = of.Kept
	w.settle(of)
	return len(w.list), nil
}

// watcher lists what is to be watched, and what is to be done with what comes
// of it.
type watcher struct {
	recipe    Recipe
	gradients bool
	list      []calibrate.Watch
	take      []func(calibrate.Sensed) // what each watch gathered
}

func (w *watcher) add(x *calibrate.Watch, take func(calibrate.Sensed)) {
	if x != nil && (w.gradients || !x.Felt) {
		w.list, w.take = append(w.list, *x), append(w.take, take)
	}
}

func (w *watcher) settle(of *calibrate.Senses) {
	for i, x := range of.Watched {
		w.take[i](x)
	}
}

// felt is the second moment of gradients as the recipe weighs errors by it.
func (w *watcher) felt(x calibrate.Sensed) *mat.SymDense {
	switch w.recipe.Errors {
	case ErrorsPlain:
		return nil
	case ErrorsFull:
		return x.Felt.Second(false)
	}
	return diagonal(x.Felt.Second(false))
}

// watchAll lists all that the recipe wants to know of all blocks of s.
func (w *watcher) watchAll(s *State) error {
	byRows := w.gradients && w.recipe.Rows == RowsFelt
	s.Evidence, s.Hidden = make([]attention.Evidence, len(s.ViT.Attentions)), nil
	for i, a := range s.ViT.Attentions {
		e, watch := &s.Evidence[i], attention.Watch(a, s.ViT.Shapes)
		if byRows && watch.O != nil {
			watch.O.By = watch.F.Value
		}
		w.add(watch.Q, func(x calibrate.Sensed) { e.Q = x.Groups })
		w.add(watch.K, func(x calibrate.Sensed) { e.K = x.Groups })
		w.add(watch.O, func(x calibrate.Sensed) { e.O = x.Moments })
		w.add(watch.F, func(x calibrate.Sensed) { e.F = w.felt(x) })
		w.add(watch.Gamma, func(x calibrate.Sensed) {
			if f := w.felt(x); f != nil {
				e.Gamma = diagonalOf(f)
			}
		})
	}
	sites := s.hiddenSites()
	taps, err := mlp.Taps(s.ViT.Shapes, sites)
	if err != nil {
		return err
	}
	for i, m := range sites {
		e, out := &mlp.Evidence{}, mlp.OutputTap(s.ViT.Shapes, m)
		s.Hidden = append(s.Hidden, e)
		watch := &calibrate.Watch{Tap: taps[i], Moments: true, Taylor: w.gradients && w.recipe.Select == SelectTaylor}
		if byRows {
			watch.By = out.Value
		}
		w.add(watch, func(x calibrate.Sensed) { e.Moments, e.Taylor = x.Moments, x.Taylor })
		w.add(&calibrate.Watch{Tap: out, Felt: true}, func(x calibrate.Sensed) { e.F = w.felt(x) })
	}
	return nil
}

func diagonalOf(f *mat.SymDense) []float64 {
	d := make([]float64, f.SymmetricDim())
	for i := range d {
		d[i] = f.At(i, i)
	}
	return d
}

func diagonal(f *mat.SymDense) *mat.SymDense {
	d := mat.NewSymDense(f.SymmetricDim(), nil)
	for i, x := range diagonalOf(f) {
		d.SetSym(i, i, x)
	}
	return d
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
