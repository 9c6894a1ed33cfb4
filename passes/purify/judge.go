package purify

import (
	"context"
	"maps"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// Score is the accuracy on the validation images, in 0..1: deciding among all
// logits, and among the wanted ones. With Options.Balance both are means over
// classes. Where images may have several classes they are the mean average
// precisions of all, and of the wanted classes.
type Score struct {
	All    float64 `json:"all"`
	Wanted float64 `json:"restricted"`
}

// of returns the accuracy of one decision.
func (s Score) of(decision string) float64 {
	if decision == Wanted {
		return s.Wanted
	}
	return s.All
}

// judge returns the accuracy with the neurons kept at each site; nil keeps
// all.
func (n *network) judge(ctx context.Context, keep [][]int) (Score, error) {
	masks, err := n.tensors(keep)
	if err != nil {
		return Score{}, err
	}
	im := n.options.Validate
	rows := make([][]float64, 0, im.len())
	size := max(judgeBatch, n.options.Batch)
	if n.fixed > 0 {
		size = n.fixed
	}
	for from := 0; from < im.len(); from += size {
		idx := make([]int, min(size, im.len()-from))
		for i := range idx {
			idx[i] = from + i
		}
		real := len(idx)
		for len(idx) < n.fixed { // fill up a batch of fixed size
			idx = append(idx, idx[0])
		}
		logits, err := n.run(ctx, im.Batch(idx), masks)
		if err != nil {
			return Score{}, err
		}
		width := len(logits) / len(idx)
		for i := range real {
			rows = append(rows, logits[i*width:(i+1)*width])
		}
	}
	if n.options.multi() {
		return n.precision(rows), nil
	}
	images, right := map[int]float64{}, map[int]*[2]float64{}
	for i, l := range im.Labels {
		if images[l]++; right[l] == nil {
			right[l] = &[2]float64{}
		}
		if top(rows[i], nil) == l {
			right[l][0]++
		}
		if top(rows[i], n.options.Wanted) == l {
			right[l][1]++
		}
	}
	return n.mean(images, right), nil
}

// mean turns the numbers of images per class, and of those decided rightly,
// into accuracies. Equal numbers of right decisions give equal accuracies.
func (n *network) mean(images map[int]float64, right map[int]*[2]float64) Score {
	var sum [2]float64
	total := float64(len(n.options.Validate.Labels))
	for _, l := range slices.Sorted(maps.Keys(images)) { // sums of fractions depend on the order
		for d := range sum {
			if n.options.Balance {
				sum[d] += right[l][d] / images[l]
			} else {
				sum[d] += right[l][d]
			}
		}
	}
	if n.options.Balance {
		total = float64(len(images))
	}
	return Score{All: sum[0] / total, Wanted: sum[1] / total}
}

func (n *network) run(ctx context.Context, x *graph.Tensor, masks []*graph.Tensor) ([]float64, error) {
	feed := map[string]*graph.Tensor{n.image: x}
	for i, name := range n.masks {
		feed[name] = masks[i]
	}
	out, err := n.forward.Run(ctx, feed, nil)
	if err != nil {
		return nil, err
	}
	if err := engine.CheckFinite(out, []string{n.logits}); err != nil {
		return nil, err
	}
	return out[n.logits].Floats()
}

// top returns the highest logit among those given, nil meaning all; of equal
// ones the lowest number.
func top(row []float64, among []int) int {
	best := -1
	consider := func(i int) {
		if best < 0 || row[i] > row[best] || row[i] == row[best] && i < best {
			best = i
		}
	}
	if among == nil {
		for i := range row {
			consider(i)
		}
	}
	for _, i := range among {
		consider(i)
	}
	return best
}
