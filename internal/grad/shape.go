package grad

import (
	"fmt"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
)

// one is the size of an axis that broadcasts.
var one = engine.Size{Fixed: 1}

// broadcast returns the dimensions of an elementwise operator on operands of
// dimensions a and b.
func (e *emitter) broadcast(a, b []engine.Size) []engine.Size {
	if len(a) < len(b) {
		a, b = b, a
	}
	out := slices.Clone(a)
	for i, d := range b {
		j := len(a) - len(b) + i
		switch {
		case out[j] == one:
			out[j] = d
		case d != one && d != out[j]:
			e.fail(&fault.Error{Kind: fault.Internal, Where: e.label, Got: fmt.Sprintf("operands of dimensions %v and %v", a, b), Want: "dimensions that broadcast"})
		}
	}
	return out
}

// equal reports whether two lists of dimensions are the same.
func equal(a, b []engine.Size) bool { return slices.Equal(a, b) }

// product returns the number of elements that dims describe; ok is false where
// it grows faster than the batch.
func product(dims []engine.Size) (n engine.Size, ok bool) {
	n = one
	for _, d := range dims {
		switch {
		case !d.Dynamic():
			n.Fixed, n.PerBatch = n.Fixed*d.Fixed, n.PerBatch*d.Fixed
		case !n.Dynamic():
			n = engine.Size{Fixed: n.Fixed * d.Fixed, PerBatch: n.Fixed * d.PerBatch}
		default:
			return n, false
		}
	}
	return n, true
}

// fixed returns dims as numbers; ok is false if one changes with the batch.
func fixed(dims []engine.Size) (xs []int64, ok bool) {
	xs = make([]int64, len(dims))
	for i, d := range dims {
		if d.Dynamic() {
			return nil, false
		}
		xs[i] = d.Fixed
	}
	return xs, true
}

// shapeOf returns dims as a tensor: a constant, or computed from the batch
// size of an input.
func (e *emitter) shapeOf(dims []engine.Size) *graph.Value {
	if xs, ok := fixed(dims); ok {
		return e.ints(xs...)
	}
	perBatch, rest := make([]int64, len(dims)), make([]int64, len(dims))
	for i, d := range dims {
		perBatch[i], rest[i] = d.PerBatch, d.Fixed
	}
	batch := e.batch()
	if e.err != nil {
		return nil
	}
	return e.add(e.mul(batch, e.ints(perBatch...)), e.ints(rest...))
}

// batch returns the batch size, as a list of one integer.
func (e *emitter) batch() *graph.Value {
	v := e.batched()
	if v == nil {
		e.fail(&fault.Error{Kind: fault.Unsupported, Got: "no input whose first dimension is the batch", Want: "one, so that gradients know the batch size",
			Remedy: "export the model with a fixed batch"})
		return nil
	}
	shape := e.op("Shape", info{[]engine.Size{{Fixed: int64(len(e.dims(v)))}}, graph.Int64}, []*graph.Value{v})
	return e.slice(shape, 0, 0, 1)
}

// batchSize is the size of the batch itself.
var batchSize = engine.Size{PerBatch: 1}

// batched returns the first input whose first dimension is the batch, nil if
// there is none.
func (e *emitter) batched() *graph.Value {
	for _, v := range e.g.Inputs() {
		if dims, ok := e.shapes.Of(v); ok && len(dims) > 0 && dims[0] == batchSize && v.Default() == nil {
			return v
		}
	}
	return nil
}

// reshape gives a other dimensions with the same number of elements.
func (e *emitter) reshape(a *graph.Value, dims []engine.Size) *graph.Value {
	if e.err != nil || equal(e.dims(a), dims) {
		return a
	}
	target := make([]int64, len(dims))
	open := 0
	for i, d := range dims {
		target[i] = d.Fixed
		if d.Dynamic() {
			target[i] = -1
			open++
		}
	}
	shape := e.ints(target...)
	if open > 1 {
		shape = e.shapeOf(dims)
	}
	return e.op("Reshape", info{dims, e.elem(a)}, []*graph.Value{a, shape})
}

// expand repeats a along axes of size 1, and along new axes in front.
func (e *emitter) expand(a *graph.Value, dims []engine.Size) *graph.Value {
	if e.err != nil || equal(e.dims(a), dims) {
		return a
	}
	return e.op("Expand", info{dims, e.elem(a)}, []*graph.Value{a, e.shapeOf(dims)})
}

// sumTo undoes a broadcast: it adds up axes that dims lacks or has with size 1.
// An axis that a itself has with size 1 stays so.
func (e *emitter) sumTo(a *graph.Value, dims []engine.Size) *graph.Value {
	have := e.dims(a)
	extra := len(have) - len(dims)
	if e.err != nil || extra < 0 {
		return a
	}
	var axes []int
	for i, d := range have {
		if d != one && (i < extra || dims[i-extra] == one) {
			axes = append(axes, i)
		}
	}
	a = e.sum(a, axes)
	if e.err != nil {
		return nil
	}
	return e.reshape(a, e.dims(a)[extra:])
}

// insert adds an axis of size 1 at the place axis.
func (e *emitter) insert(a *graph.Value, axis int) *graph.Value {
	if e.err != nil {
		return nil
	}
	return e.reshape(a, slices.Insert(slices.Clone(e.dims(a)), axis, one))
}

// zeros makes zeros of dimensions that may change with the batch.
func (e *emitter) zeros(elem graph.DType, dims []engine.Size) *graph.Value {
	return e.expand(e.reshape(e.num(elem, 0), ones(len(dims))), dims)
}

func ones(n int) []engine.Size {
	dims := make([]engine.Size, n)
	for i := range dims {
		dims[i] = one
	}
	return dims
}

// slice takes the elements from start up to end along an axis.
func (e *emitter) slice(a *graph.Value, axis int, start, end int64) *graph.Value {
	if e.err != nil {
		return nil
	}
	dims := slices.Clone(e.dims(a))
	if start == 0 && !dims[axis].Dynamic() && end == dims[axis].Fixed {
		return a
	}
	dims[axis] = engine.Size{Fixed: end - start}
	is := info{dims, e.elem(a)}
	if e.opset < 10 {
		return e.op("Slice", is, []*graph.Value{a}, graph.Ints("axes", int64(axis)), graph.Ints("starts", start), graph.Ints("ends", end))
	}
	return e.op("Slice", is, []*graph.Value{a, e.ints(start), e.ints(end), e.ints(int64(axis))})
}

// pad puts zeros before and after a along each axis; negative counts take
// elements away.
func (e *emitter) pad(a *graph.Value, before, after []int64) *graph.Value {
	if e.err != nil || !slices.ContainsFunc(append(slices.Clone(before), after...), func(n int64) bool { return n != 0 }) {
		return a
	}
	dims := slices.Clone(e.dims(a))
	for i := range dims {
		dims[i].Fixed += before[i] + after[i]
	}
	is := info{dims, e.elem(a)}
	pads := append(slices.Clone(before), after...)
	if e.opset < 11 {
		return e.op("Pad", is, []*graph.Value{a}, graph.Ints("pads", pads...))
	}
	return e.op("Pad", is, []*graph.Value{a, e.ints(pads...), e.num(is.elem, 0)})
}

// concat joins values along an axis.
func (e *emitter) concat(axis int, vs []*graph.Value) *graph.Value {
	if e.err != nil || len(vs) == 1 {
		return vs[0]
	}
	dims := slices.Clone(e.dims(vs[0]))
	for _, v := range vs[1:] {
		d := e.dims(v)[axis]
		dims[axis].Fixed += d.Fixed
		dims[axis].PerBatch += d.PerBatch
	}
	return e.op("Concat", info{dims, e.elem(vs[0])}, vs, graph.Int("axis", int64(axis)))
}
