package grad

import (
	"math"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// Operators that choose elements. Their gradients are put back where the
// elements came from, zeros elsewhere.

// sliceRule goes axis by axis: one axis in steps of one is a stretch of the
// operand; more are padded, other steps looked up.
func sliceRule(c *call, i int) *graph.Value {
	dims := c.inDims(0)
	operands := [4]int{-1, -1, -1, -1}
	if c.opset >= 10 {
		operands = [4]int{1, 2, 3, 4}
	}
	starts, _ := c.list("starts", operands[0])
	ends, _ := c.list("ends", operands[1])
	axes, given := c.list("axes", operands[2])
	steps, stepped := c.list("steps", operands[3])
	if c.err != nil {
		return nil
	}
	cut := 0
	dy := c.dy()
	var last span
	for k := range starts {
		a, step := k, int64(1)
		if given {
			a = axis(axes[k], len(dims))
		}
		if stepped {
			step = steps[k]
		}
		if dims[a].Dynamic() {
			if starts[k] == 0 && step == 1 && ends[k] >= math.MaxInt32 {
				continue
			}
			return c.unsupported("a cut along an axis that grows with the batch", "export the model so that batches are not cut")
		}
		from, count := chosen(starts[k], ends[k], step, dims[a].Fixed)
		if step == 1 && count == dims[a].Fixed {
			continue
		}
		if cut++; cut > 1 {
			dy = c.padded(dy, last, dims)
		}
		if step == 1 {
			last = span{a, from}
			continue
		}
		at := make([]int64, count)
		for j := range at {
			at[j] = from + int64(j)*step
		}
		dy, last = c.putBack(dy, a, at, dims[a].Fixed), span{a, 0}
	}
	if cut == 0 {
		return dy
	}
	return c.stretch(dy, last.axis, last.start)
}

// chosen returns the first index and the number of those that a Slice takes
// of n elements.
func chosen(start, end, step, n int64) (from, count int64) {
	clamp := func(x, low, high int64) int64 {
		if x < 0 {
			x += n
		}
		return max(low, min(x, high))
	}
	if step > 0 {
		from, end = clamp(start, 0, n), clamp(max(end, -n), 0, n)
		return from, max(0, (end-from+step-1)/step)
	}
	from = clamp(start, 0, n-1)
	if end < -n {
		end = -1
	} else {
		end = clamp(end, -1, n-1)
	}
	return from, max(0, (from-end-step-1)/-step)
}

// padded puts zeros around a stretch of an axis that has the size it has in
// dims.
func (c *call) padded(v *graph.Value, at span, dims []engine.Size) *graph.Value {
	if c.err != nil {
		return nil
	}
	have := c.dims(v)
	before, after := make([]int64, len(have)), make([]int64, len(have))
	before[at.axis] = at.start
	after[at.axis] = dims[at.axis].Fixed - at.start - have[at.axis].Fixed
	return c.pad(v, before, after)
}

// putBack makes a value with n elements along an axis, of which those at the
// places at, all different, are v's and the others zero.
func (c *call) putBack(v *graph.Value, axis int, at []int64, n int64) *graph.Value {
	if c.err != nil {
		return nil
	}
	from := make([]int64, n)
	for i := range from {
		from[i] = int64(len(at)) // a row of zeros behind the others
	}
	for i, place := range at {
		from[place] = int64(i)
	}
	if int64(len(at)) < n {
		r := len(c.dims(v))
		after := make([]int64, r)
		after[axis] = 1
		v = c.pad(v, make([]int64, r), after)
	}
	return c.gather(v, c.ints(from...), axis)
}

// gather takes elements along an axis by a list of indices.
func (e *emitter) gather(v, at *graph.Value, axis int) *graph.Value {
	if e.err != nil {
		return nil
	}
	dims := append([]engine.Size(nil), e.dims(v)...)
	dims[axis] = e.dims(at)[0]
	return e.op("Gather", info{dims, e.elem(v)}, []*graph.Value{v, at}, graph.Int("axis", int64(axis)))
}

// gatherRule: constant indices that follow each other are a stretch, different
// ones are looked up backward, all others multiply by a matrix of zeros and
// ones.
func gatherRule(c *call, i int) *graph.Value {
	dims := c.inDims(0)
	a := axis(c.node.IntAttr("axis", 0), len(dims))
	index := c.inDims(1)
	if c.err != nil {
		return nil
	}
	if dims[a].Dynamic() {
		return c.unsupported("a choice along an axis that grows with the batch", "export the model so that batches are not cut")
	}
	count, ok := product(index)
	if !ok {
		return c.unsupported("indices that grow faster than the batch", "choose along one axis at a time")
	}
	flat := append(append(append([]engine.Size(nil), dims[:a]...), count), dims[a+1:]...)
	dy := c.reshape(c.dy(), flat) // one axis of indices
	t := constantOf(c.node.Input(1))
	if t == nil {
		return c.byMatrix(dy, a, c.reshape(c.in(1), []engine.Size{count}), dims[a].Fixed)
	}
	at, err := t.Ints()
	if err != nil {
		c.fail(err)
		return nil
	}
	row, distinct, seen := true, true, map[int64]bool{}
	for k := range at {
		if at[k] < 0 {
			at[k] += dims[a].Fixed
		}
		row = row && at[k] == at[0]+int64(k)
		distinct = distinct && !seen[at[k]]
		seen[at[k]] = true
	}
	switch {
	case len(at) == 0:
		return nil
	case row:
		return c.stretch(dy, a, at[0])
	case distinct:
		return c.putBack(dy, a, at, dims[a].Fixed)
	}
	return c.byMatrix(dy, a, c.ints(at...), dims[a].Fixed)
}

// byMatrix adds up the elements of v along an axis that have the same index,
// into n places: a product with the matrix that has a one where index and
// place agree.
func (c *call) byMatrix(v *graph.Value, axis int, index *graph.Value, n int64) *graph.Value {
	place, wrapped := make([]int64, n), make([]int64, n)
	for i := range place {
		place[i], wrapped[i] = int64(i), int64(i)-n
	}
	if c.err != nil {
		return nil
	}
	index = c.insert(c.cast(index, graph.Int64), 1)
	at := func(places []int64) *graph.Value { return c.compare("Equal", index, c.ints(places...)) }
	choice := c.cast(c.binary("Or", at(place), at(wrapped)), c.elem(v)) // [indices, n]
	return c.contract(v, axis, choice)
}

// gatherElementsRule adds each element back where its index says. Adding needs
// opset 16.
func gatherElementsRule(c *call, i int) *graph.Value {
	if c.opset < 16 {
		return c.unsupported(opName(c.node)+" before opset 16", "export the model with a later opset")
	}
	dims := c.inDims(0)
	zeros := c.zeros(c.elem(c.dy()), dims)
	return c.op("ScatterElements", info{dims, c.elem(c.dy())}, []*graph.Value{zeros, c.in(1), c.dy()},
		graph.Int("axis", c.node.IntAttr("axis", 0)), graph.Str("reduction", "add"))
}

// gatherNDRule is the same for whole rows.
func gatherNDRule(c *call, i int) *graph.Value {
	if c.opset < 16 || c.node.IntAttr("batch_dims", 0) != 0 {
		return c.unsupported(opName(c.node)+" before opset 16 or with batch dimensions", "export the model with Gather")
	}
	dims := c.inDims(0)
	zeros := c.zeros(c.elem(c.dy()), dims)
	return c.op("ScatterND", info{dims, c.elem(c.dy())}, []*graph.Value{zeros, c.in(1), c.dy()}, graph.Str("reduction", "add"))
}
