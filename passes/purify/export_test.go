package purify

import (
	"context"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/ranking"
	"nuwa/passes/structure"
)

// Masked returns the logits that m gives for x with only the neurons of r.
func Masked(ctx context.Context, eng *engine.Engine, m *graph.Model, vit *structure.ViT, o Options, r *Result, x *graph.Tensor) ([]float64, error) {
	n := &network{sites: sites(vit), options: o, image: engine.Feeds(m)[0].Name(), logits: vit.Classifiers[0].Output.Name()}
	masked, err := n.mask(m, vit, false)
	if err != nil {
		return nil, err
	}
	if n.forward, err = eng.Open(masked); err != nil {
		return nil, err
	}
	defer n.close()
	var keep [][]int
	for _, l := range r.Layers {
		if l.Reason == "" {
			keep = append(keep, l.Keep)
		}
	}
	masks, err := n.tensors(keep)
	if err != nil {
		return nil, err
	}
	return n.run(ctx, x, masks)
}

// Parts returns a plain forward pass and a gradient of the first images, to
// be timed.
func Parts(ctx context.Context, eng *engine.Engine, m *graph.Model, vit *structure.ViT, o Options) (forward, gradient func() error, err error) {
	o, err = o.withDefaults(engine.FixedBatch(m))
	if err != nil {
		return nil, nil, err
	}
	n, err := newNetwork(ctx, eng, m, vit, o, false)
	if err != nil {
		return nil, nil, err
	}
	plain, err := eng.Open(m)
	if err != nil {
		return nil, nil, err
	}
	masks, err := n.tensors(nil)
	if err != nil {
		return nil, nil, err
	}
	idx := ranking.UpTo(o.Batch)
	x := o.Train.Batch(idx)
	return func() error {
			_, err := plain.Run(ctx, map[string]*graph.Tensor{n.image: x}, nil)
			return err
		}, func() error {
			_, _, err := n.gradient(ctx, idx, masks)
			return err
		}, nil
}

// Targets returns what the loss is told of the images at idx, and the weights.
func Targets(o Options, classes int, idx []int) (has, weights []float64) {
	return newTargets(o, classes).of(o.Train, idx)
}
