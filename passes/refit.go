package passes

import (
	"context"
	"fmt"
	"slices"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/passes/calibrate"
	"nuwa/passes/norms"
	"nuwa/passes/refit"
	"nuwa/passes/structure"
)

// classifierOf returns the one linear map that gives the logits, nil where
// there is none or where several are combined.
func (s *State) classifierOf() *structure.Linear {
	if len(s.ViT.Classifiers) == 0 || len(s.ViT.Classifiers[0].Linears) != 1 {
		return nil
	}
	return s.ViT.Classifiers[0].Linears[0]
}

// The classifier is refitted on refitSamples calibration samples, as every size has
// to run them anew: on a third more, 36 models of CIFAR were no more accurate on
// training images set apart; on a third fewer, they were less so. Where samples cost
// so little that refitMACs allow for more, on those.
const (
	refitSamples = 192
	refitMACs    = 20e9
)

// runRefit refits the classifier to what the base says, or to the labels, on
// the features of the slim model. Which target and which ridge is chosen by
// cross-validation on the calibration samples, against leaving the classifier
// as it is.
func runRefit(ctx context.Context, s *State) (string, error) {
	l := s.classifierOf()
	if s.Options.Recipe.Refit == RefitNone || s.Logits == nil || l == nil || s.Options.Merge == 0 && slices.Equal(s.Widths, s.Base) {
		return "", nil
	}
	features, samples := l.Input().Name(), max(refitSamples, int(refitMACs/max(1, s.BaseCost.MACs)))
	of, err := calibrate.Values(ctx, s.Engine, s.quick(ctx, features), []string{features}, calibrate.First(s.Model, s.Feeds, samples))
	if err != nil {
		return "", err
	}
	x := of[features]
	n, d := x.Dims()
	rows, classes := s.Logits.Dims()
	if d != l.InDim || n > rows {
		return "", nil // the classifier sees more than one row per image
	}
	w, b, err := l.Weight()
	if err != nil {
		return "", err
	}
	p := refit.Problem{X: x, W: mat.DenseCopyOf(w.T()), B: b, Logits: s.Logits.Slice(0, n, 0, classes).(*mat.Dense), Classes: s.Labels, Several: s.Several, Live: s.live(len(b))}
	by, err := p.Solve(s.Options.Recipe.Refit)
	if err != nil || by.Target == "" {
		return "", err
	}
	p.W.Add(p.W, by.Delta)
	for c := range b {
		b[c] += by.Shift[c]
	}
	y, err := l.Rebuild(s.Model.Graph, l.Input(), l.Name(), mat.DenseCopyOf(p.W.T()), b)
	if err != nil {
		return "", err
	}
	l.Out.ReplaceUses(y)
	return fmt.Sprintf("classifier refitted to %s with a ridge of %g", by.Target, by.Ridge), nil
}

// quickMACs is the cost per sample from which it pays to fuse attention and
// activations before a model runs over refitSamples.
const quickMACs = 500e6

// quick returns a model that computes the value called name alone, in operators
// that ONNX Runtime is faster at; in s's own where that cannot be had.
func (s *State) quick(ctx context.Context, name string) *graph.Model {
	m, err := engine.Tap(s.Model, name)
	if err != nil {
		return s.Model
	}
	if s.BaseCost.MACs < quickMACs {
		if shapes, err := s.Engine.Shapes(ctx, m); err == nil {
			norms.Spell(m, shapes)
		}
		return m
	}
	fast := &State{Model: m, Engine: s.Engine}
	if _, err := (&Manager{SkipProof: true}).Run(ctx, fast, Lower(Lowering{Clean: true, Fuse: "ort", FastNorms: true})); err != nil {
		return s.Model
	}
	return fast.Model
}

// live tells which logits are in the decision: not those that were masked.
func (s *State) live(classes int) []bool {
	live := make([]bool, classes)
	for c := range live {
		live[c] = !s.Options.Mask || s.Options.Classes == nil || slices.Contains(s.Options.Classes, c)
	}
	return live
}
