// Package mlp shrinks hidden layers: it chooses which hidden neurons stay and
// gives the second linear map the weight with which they stand in best for the
// full layer.
//
//	moments, err := mlp.Calibrate(ctx, eng, model, vit, feeds)
//	keep := mlp.Top(mlp.ByActivation(moments[i]), 256)
//	fit, err := mlp.Prune(model, vit.MLPs[i], moments[i], keep, linalg.Options{})
//
// It may import graph, passes/structure, passes/calibrate, internal/engine and
// internal/linalg.
package mlp

import (
	"context"
	"fmt"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/linalg"
	"nuwa/passes/calibrate"
	"nuwa/passes/structure"
)

// Calibrate gathers the moments of the post-activation hidden neurons of every
// layer of sites, in one run over feeds.
func Calibrate(ctx context.Context, eng *engine.Engine, m *graph.Model, shapes *engine.Shapes, sites []*structure.MLP, feeds calibrate.Feeds) ([]*linalg.Moments, error) {
	taps, err := Taps(shapes, sites)
	if err != nil {
		return nil, err
	}
	return calibrate.Collect(ctx, eng, m, taps, feeds)
}

// Taps watch the hidden neurons of sites.
func Taps(shapes *engine.Shapes, sites []*structure.MLP) ([]calibrate.Tap, error) {
	taps := make([]calibrate.Tap, len(sites))
	for i, s := range sites {
		v := s.Second.In
		d, ok := shapes.Of(v)
		if !ok {
			return nil, fmt.Errorf("the shape of %q is not known", v.Name())
		}
		taps[i] = calibrate.Tap{Value: v.Name(), Rank: len(d), Axis: s.Second.Axis, Width: s.Hidden}
	}
	return taps, nil
}

// Prune keeps the hidden neurons in keep, ascending, and refits the second map
// to the full layer's output.
func Prune(m *graph.Model, site *structure.MLP, moments *linalg.Moments, keep []int, o linalg.Options) (*linalg.Fit, error) {
	fit, err := Refit(site, moments, keep, o)
	if err != nil {
		return nil, err
	}
	return fit, Apply(m, site, keep, fit)
}

// Refit returns how the neurons in keep, ascending, stand in for the full layer.
func Refit(site *structure.MLP, moments *linalg.Moments, keep []int, o linalg.Options) (*linalg.Fit, error) {
	w, _, err := site.Second.Weight()
	if err != nil {
		return nil, err
	}
	fit, err := linalg.Reconstruct(moments, mat.DenseCopyOf(w.T()), keep, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", site.Second.Node, err)
	}
	return fit, nil
}

// Apply keeps the neurons in keep, refitted.
func Apply(m *graph.Model, site *structure.MLP, keep []int, fit *linalg.Fit) error {
	_, b, err := site.Second.Weight()
	if err != nil {
		return err
	}
	if site.Second.B == nil && fit.Shift == nil {
		b = nil
	}
	for i, s := range fit.Shift {
		b[i] += s
	}
	return site.Rebuild(m, keep, mat.DenseCopyOf(fit.W.T()), b)
}

// Take keeps the hidden neurons in keep, ascending, and leaves the weights of
// the second map as they are.
func Take(m *graph.Model, site *structure.MLP, keep []int) error {
	w, b, err := site.Second.Weight()
	if err != nil {
		return err
	}
	if site.Second.B == nil {
		b = nil
	}
	out, _ := w.Dims()
	kept := mat.NewDense(out, len(keep), nil)
	for i, j := range keep {
		kept.SetCol(i, mat.Col(nil, j, w))
	}
	return site.Rebuild(m, keep, kept, b)
}
