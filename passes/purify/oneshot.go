package purify

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/ranking"
	"nuwa/passes/structure"
)

// parts are the parts of all hidden neurons that the one-shot methods try to
// remove.
var parts = []float64{0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4}

// neuron is a hidden neuron and how much the mean loss is expected to change
// without it.
type neuron struct {
	site, j int
	change  float64
}

// oneShot scores all neurons by one pass over the training images and removes
// those whose loss falls most without them, as many as the validation images
// say. With g the gradient of an image's loss with respect to a neuron's mask
// at 1, removing the neuron changes the loss by −g to first order, and by
// −g + g²/2 with the empirical Fisher information as curvature.
func oneShot(ctx context.Context, eng *engine.Engine, m *graph.Model, vit *structure.ViT, o Options) (*Result, error) {
	began := time.Now()
	neurons, err := scores(ctx, eng, m, vit, o)
	if err != nil {
		return nil, err
	}
	n, err := newNetwork(ctx, eng, m, vit, o, false)
	if err != nil {
		return nil, err
	}
	defer n.close()
	slices.SortStableFunc(neurons, func(a, b neuron) int { return cmp.Compare(a.change, b.change) })
	base, err := n.judge(ctx, nil)
	if err != nil {
		return nil, err
	}
	found := best{Score: base, Keep: without(n.sites, nil)}
	for i, part := range parts {
		keep := without(n.sites, neurons[:int(math.Round(part*float64(len(neurons))))])
		score, err := n.judge(ctx, keep)
		if err != nil {
			return nil, err
		}
		if score.of(o.Loss) >= found.Score.of(o.Loss) {
			found = best{Step: i + 1, Score: score, Keep: keep}
		}
		p := Progress{Step: i + 1, Steps: len(parts), Accuracy: score.of(o.Loss), Best: found.Score.of(o.Loss)}
		for _, k := range keep {
			p.Kept = append(p.Kept, len(k))
		}
		o.Progress(p)
	}
	return newResult(vit, Result{Method: o.Method, Loss: o.Loss, Metric: o.metric(), Steps: len(parts), Best: found.Step, Stopped: bySteps,
		Before: base, After: found.Score, Seconds: time.Since(began).Round(time.Millisecond).Seconds()}, found.Keep), nil
}

// scores returns every neuron with its score.
func scores(ctx context.Context, eng *engine.Engine, m *graph.Model, vit *structure.ViT, o Options) ([]neuron, error) {
	n, err := newNetwork(ctx, eng, m, vit, o, true)
	if err != nil {
		return nil, err
	}
	defer n.close()
	first, second := map[int][]float64{}, map[int][]float64{}
	for i, s := range n.sites {
		first[i], second[i] = make([]float64, s.Hidden), make([]float64, s.Hidden)
	}
	images := 0
	for from := 0; from < o.Train.len(); from += o.Batch {
		idx := ranking.UpTo(min(o.Batch, o.Train.len()-from))
		if n.fixed > len(idx) {
			break // a batch of fixed size cannot be filled
		}
		masks := make([]*graph.Tensor, len(n.sites))
		for i, s := range n.sites {
			ones := slices.Repeat([]float64{1}, len(idx)*s.Hidden)
			if masks[i], err = graph.FromFloats(n.elem, []int64{int64(len(idx)), int64(s.Hidden)}, ones); err != nil {
				return nil, err
			}
		}
		for i := range idx {
			idx[i] += from
		}
		_, grads, err := n.gradient(ctx, idx, masks)
		if err != nil {
			return nil, err
		}
		for i, s := range n.sites {
			for k, g := range grads[i] {
				first[i][k%s.Hidden] += g
				second[i][k%s.Hidden] += g * g
			}
		}
		images += len(idx)
	}
	if images == 0 {
		return nil, &fault.Error{Kind: fault.Data, Where: "purification", Got: "fewer training images than the model takes at once", Want: "at least one batch"}
	}
	var out []neuron
	for i, s := range n.sites {
		for j := range s.Hidden {
			change := -first[i][j]
			if o.Method == Second {
				change += second[i][j] / 2
			}
			out = append(out, neuron{i, j, change / float64(images)})
		}
	}
	return out, nil
}

// without returns what is kept at each site when the given neurons go. Every
// site keeps one at least.
func without(sites []*structure.MLP, gone []neuron) [][]int {
	keep := make([][]int, len(sites))
	for i, s := range sites {
		out := make([]bool, s.Hidden)
		left := s.Hidden
		for _, x := range gone {
			if x.site == i && left > 1 {
				out[x.j], left = true, left-1
			}
		}
		for j := range s.Hidden {
			if !out[j] {
				keep[i] = append(keep[i], j)
			}
		}
	}
	return keep
}
