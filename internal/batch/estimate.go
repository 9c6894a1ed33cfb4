package batch

import (
	"context"

	"nuwa/configs"
	"nuwa/internal/cost"
	"nuwa/internal/task"
	"nuwa/passes"
	"nuwa/passes/purify"
)

// need is what a step is estimated to take.
type need struct {
	Seconds float64
	Memory  int64
}

// estimate is what the steps of a batch are expected to take. Times follow from
// a few runs of the base and count passes over images; a pass that computes
// gradients counts as three. Memory counts weights, statistics and the
// activations of a batch of calibration images. Neither is exact: they order
// steps and tell minutes from hours.
type estimate struct {
	learn, slim, write need
	kept               int64 // bytes of what a task has learned
	model              int64 // bytes of the base's weights
}

// Rates of arithmetic that is done in float64, in operations per second, and
// how many models a search for limits tries.
const (
	factorRate   = 2e9
	searchTrials = 5
)

// estimateOf measures the base and counts from s, its cleaned model.
func estimateOf(ctx context.Context, b *task.Base, s *passes.State, d configs.Defaults, im task.Images) (estimate, error) {
	var e estimate
	latency, err := b.Latency(ctx)
	if err != nil {
		return e, err
	}
	image := latency.Seconds()
	var squares, cubes float64 // of the widths that statistics are gathered and solved for
	for _, x := range s.ViT.Blocks {
		if a := x.Attention; a != nil {
			w := float64(a.Heads * max(a.QKDim, a.VODim))
			squares, cubes = squares+3*w*w, cubes+8*w*w*w
		}
		if p := x.MLP; p != nil {
			h := float64(p.Hidden)
			squares, cubes = squares+h*h, cubes+h*h*h
		}
	}
	weights := int64(0)
	for _, v := range s.Model.Graph.Consts() {
		if t := v.Default(); t != nil {
			weights += int64(len(t.Data))
		}
	}
	activations := cost.PeakMemory(s.Model, s.ViT.Shapes) - weights
	statistics := int64(8 * squares)
	count := float64(d.Images)
	if count == 0 {
		count = 128
		if d.Recipe != "paper" {
			count = 512
		}
	}
	steps := 0.0
	if d.Purify == purify.STE || d.Purify == "" && d.Recipe == "paper" {
		steps = 10000
		if d.PurifySteps > 0 {
			steps = float64(d.PurifySteps)
		}
	}
	judged := 0.0
	if im.Test != nil {
		judged = float64(im.Test.Len()) / 2
	}
	e.model, e.kept = weights, statistics+weights
	e.learn = need{image*(4*count+4*steps) + cubes/factorRate, 2*statistics + 3*weights + 32*activations}
	e.slim = need{image*count + cubes/factorRate, 2*statistics + 3*weights + 16*activations}
	e.write = need{image * judged, 4*weights + 16*activations}
	return e, nil
}

// size is what slimming to one size takes.
func (e estimate) size(o task.Options) need {
	n := e.slim
	if !o.Budget.IsZero() {
		n.Seconds *= searchTrials
	}
	return n
}
