package grad

import (
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// Operators that move elements. Their gradients move them back.

// backShape serves every operator that keeps the elements in order: Reshape,
// Squeeze, Unsqueeze and Flatten.
func backShape(c *call, i int) *graph.Value { return c.reshape(c.dy(), c.inDims(0)) }

func transposeRule(c *call, i int) *graph.Value {
	perm := permOf(c.node, len(c.inDims(0)))
	back := make([]int, len(perm))
	for to, from := range perm {
		back[from] = to
	}
	return c.transpose(c.dy(), back)
}

// dropoutRule: at inference it does nothing.
func dropoutRule(c *call, i int) *graph.Value {
	if v := c.node.Input(2); v != nil {
		t := constantOf(v)
		if t == nil || slices.Max(t.Data) != 0 {
			return c.unsupported("dropout in training", "export the model for inference")
		}
	}
	return c.dys[0]
}

func castRule(c *call, i int) *graph.Value { return c.cast(c.dy(), c.elem(c.node.Input(0))) }

// expandRule: the caller sums up what was repeated.
func expandRule(c *call, i int) *graph.Value { return c.dy() }

// tileRule sums over the copies.
func tileRule(c *call, i int) *graph.Value {
	t := constantOf(c.node.Input(1))
	if t == nil {
		return c.unsupported("repeats that are only known at run time", "fold the constants of the model first")
	}
	repeats, err := t.Ints()
	if err != nil || c.err != nil {
		c.fail(err)
		return nil
	}
	var dims []engine.Size
	var axes []int
	for a, d := range c.inDims(0) {
		axes = append(axes, 2*a)
		dims = append(dims, engine.Size{Fixed: repeats[a]}, d)
	}
	return c.reshape(c.sum(c.reshape(c.dy(), dims), axes), c.inDims(0))
}

func concatRule(c *call, i int) *graph.Value {
	a := axis(c.node.IntAttr("axis", 0), len(c.outDims(0)))
	start := int64(0)
	for j := 0; j <= i; j++ {
		d := c.inDims(j)
		if c.err != nil || d[a].Dynamic() {
			return c.unsupported("parts whose size along the joined axis grows with the batch", "export the model so that batches are not joined")
		}
		if j < i {
			start += d[a].Fixed
		}
	}
	return c.slice(c.dy(), a, start, start+c.inDims(i)[a].Fixed)
}

// splitRule: every part is a stretch of the operand. One is returned, the
// others are given to the operand here.
func splitRule(c *call, i int) *graph.Value {
	a := axis(c.node.IntAttr("axis", 0), len(c.inDims(0)))
	start := int64(0)
	var parts []*graph.Value
	var starts []int64
	for j := range c.node.Outputs() {
		d := c.outDims(j)
		if c.err != nil || d[a].Dynamic() {
			return c.unsupported("parts whose size grows with the batch", "export the model so that batches are not cut")
		}
		if c.dys[j] != nil {
			parts, starts = append(parts, c.dys[j]), append(starts, start)
		}
		start += d[a].Fixed
	}
	for j, v := range parts[1:] {
		c.give(c.node.Input(0), share{v, c.factor, &span{a, starts[j+1]}})
	}
	return c.stretch(parts[0], a, starts[0])
}

// padRule takes the middle; what was copied into the margin is added to where
// it came from.
func padRule(c *call, i int) *graph.Value {
	if i != 0 {
		return c.operand(i)
	}
	operand := -1
	if c.opset >= 11 {
		operand = 1
	}
	pads, _ := c.list("pads", operand)
	r := len(c.inDims(0))
	axes := allAxes(r)
	if v := c.node.Input(3); v != nil {
		t := constantOf(v)
		if t == nil {
			return c.unsupported("axes that are only known at run time", "fold the constants of the model first")
		}
		xs, err := t.Ints()
		if err != nil {
			c.fail(err)
			return nil
		}
		axes = axes[:0]
		for _, x := range xs {
			axes = append(axes, axis(x, r))
		}
	}
	if c.err != nil || len(pads) != 2*len(axes) {
		return c.unsupported("pads that do not fit its operand", "check the model")
	}
	before, after := make([]int64, r), make([]int64, r)
	for k, a := range axes {
		before[a], after[a] = -pads[k], -pads[len(axes)+k]
	}
	mode := c.node.StringAttr("mode", "constant")
	if mode == "constant" {
		return c.pad(c.dy(), before, after)
	}
	dy := c.dy()
	for a, d := range c.inDims(0) {
		if before[a] == 0 && after[a] == 0 {
			continue
		}
		if d.Dynamic() {
			return c.unsupported("padding of an axis that grows with the batch", "export the model so that batches are not padded")
		}
		from := make([]int64, d.Fixed-before[a]-after[a])
		for k := range from {
			from[k] = padSource(mode, int64(k)+before[a], d.Fixed)
		}
		dy = c.byMatrix(dy, a, c.ints(from...), d.Fixed)
	}
	return dy
}

// padSource returns which of n elements stands at a place that may lie before
// or after them.
func padSource(mode string, at, n int64) int64 {
	switch {
	case mode == "edge" || n == 1:
		return max(0, min(at, n-1))
	case mode == "wrap":
		return (at%n + n) % n
	}
	period := 2 * (n - 1) // reflect
	if at = (at%period + period) % period; at >= n {
		at = period - at
	}
	return at
}
