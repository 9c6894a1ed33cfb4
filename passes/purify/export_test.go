package purify

import (
	"context"

	"nuwa/graph"
	"nuwa/internal/engine"
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
