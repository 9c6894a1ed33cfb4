package purify

import (
	"slices"

	"nuwa/graph"
	"nuwa/internal/ranking"
)

// teach adds to feed what the loss has to know of the training images at idx:
// their labels, and their weights where they count differently.
func (n *network) teach(feed map[string]*graph.Tensor, idx []int) error {
	b := int64(len(idx))
	if t := n.targets; t != nil {
		has, weights := t.of(n.options.Train, idx)
		return n.floats(feed, []int64{b, int64(t.classes)}, map[string][]float64{n.loss.Labels: has, n.loss.Weights: weights})
	}
	labels, weights := make([]int64, len(idx)), make([]float64, len(idx))
	for i, at := range idx {
		l := n.options.Train.Labels[at]
		labels[i], weights[i] = int64(n.label[l]), n.weight[l]
	}
	feed[n.loss.Labels] = graph.NewTensor([]int64{b}, labels)
	return n.floats(feed, []int64{b}, map[string][]float64{n.loss.Weights: weights})
}

// floats adds inputs of the types that the graph takes; one without a name is
// not wanted.
func (n *network) floats(feed map[string]*graph.Tensor, dims []int64, inputs map[string][]float64) (err error) {
	for name, xs := range inputs {
		if name == "" {
			continue
		}
		typ := graph.Float32
		for _, in := range n.backward.Inputs() {
			if in.Name == name {
				typ = in.Type
			}
		}
		if feed[name], err = graph.FromFloats(typ, dims, xs); err != nil {
			return err
		}
	}
	return nil
}

// targets turns the classes of images into rows of zeros and ones, one column
// for each class that the loss is over.
type targets struct {
	classes int
	column  map[int]int  // logit → column
	weight  [][2]float64 // per column: of the images without the class, and with it
}

// newTargets counts the training images. For a loss with weights those with a
// class weigh as much in all as those without, and one on average; a class that
// all have, or none, is not weighed.
func newTargets(o Options, classes int) *targets {
	t := &targets{classes: classes, column: map[int]int{}}
	for c := range classes {
		l := c
		if o.Loss == Wanted && o.Wanted != nil {
			l = o.Wanted[c]
		}
		t.column[l] = c
	}
	counts := make([]float64, classes)
	for _, has := range o.Train.Several {
		for _, l := range has {
			if c, ok := t.column[l]; ok {
				counts[c]++
			}
		}
	}
	total := float64(len(o.Train.Several))
	for _, n := range counts {
		w := [2]float64{1, 1}
		if n > 0 && n < total {
			w = [2]float64{total / (2 * (total - n)), total / (2 * n)}
		}
		t.weight = append(t.weight, w)
	}
	return t
}

// of returns the rows of the images at idx, and the weights of their elements.
func (t *targets) of(im Images, idx []int) (has, weights []float64) {
	for _, at := range idx {
		row := make([]float64, t.classes)
		for _, l := range im.Several[at] {
			if c, ok := t.column[l]; ok {
				row[c] = 1
			}
		}
		for c, x := range row {
			weights = append(weights, t.weight[c][int(x)])
		}
		has = append(has, row...)
	}
	return has, weights
}

// precision returns the mean average precisions over the classes that
// validation images have, from one row of logits per image.
func (n *network) precision(rows [][]float64) Score {
	var sum [2]float64
	var classes [2]int
	scores, has := make([]float64, len(rows)), make([]bool, len(rows))
	for l := range rows[0] {
		for i, row := range rows {
			scores[i], has[i] = row[l], slices.Contains(n.options.Validate.Several[i], l)
		}
		ap, ok := ranking.AveragePrecision(scores, has)
		if !ok {
			continue
		}
		for d := range sum {
			if d == 0 || n.options.Wanted == nil || slices.Contains(n.options.Wanted, l) {
				sum[d] += ap
				classes[d]++
			}
		}
	}
	return Score{All: sum[0] / float64(max(1, classes[0])), Wanted: sum[1] / float64(max(1, classes[1]))}
}
