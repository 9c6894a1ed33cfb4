package expand

import "nuwa/graph"

// layerNorm is the operator that ONNX Runtime had under ONNX's name before
// ONNX did.
func layerNorm(w *writer) ([]*graph.Value, string) {
	return w.norm(w.n.Input(0), w.n.Input(1), w.n.Input(2), w.n.IntAttr("axis", -1), 1e-5, true)
}

// simplifiedNorm divides by the root of the mean square.
func simplifiedNorm(w *writer) ([]*graph.Value, string) {
	return w.norm(w.n.Input(0), w.n.Input(1), nil, w.n.IntAttr("axis", -1), 1e-5, false)
}

// skipNorm is the norm of x + skip + bias, with operands x, skip, scale, shift
// and bias, or without shift where not centred. Result 3 is the sum itself.
func skipNorm(centre bool) rule {
	return func(w *writer) ([]*graph.Value, string) {
		x := w.op("Add", w.n.Input(0), w.n.Input(1))
		shift, bias := w.n.Input(3), w.n.Input(4)
		if !centre {
			shift, bias = nil, w.n.Input(3)
		}
		if bias != nil {
			x = w.op("Add", x, bias)
		}
		y, reason := w.normed(x, w.rank(w.n.Input(0)), w.n.Input(2), shift, -1, 1e-12, centre)
		return []*graph.Value{y, nil, nil, x}, reason
	}
}

// embedNorm is the norm of the sum of word, position and segment embeddings.
// Operands are ids, segments, the three tables, scale, shift, mask and
// positions.
func embedNorm(w *writer) ([]*graph.Value, string) {
	n := w.n
	tokens := w.fixed(n.Input(0), 1)
	switch {
	case n.IntAttr("mask_index_type", 0) != 0:
		return nil, "its mask is of another type"
	case tokens == 0:
		return nil, "the number of tokens is not fixed"
	}
	w.elem = w.elemOf(n.Input(2))
	look := func(table, ids *graph.Value) *graph.Value { return w.op("Gather", table, ids) }
	x := look(n.Input(2), n.Input(0))
	if ids := n.Input(8); ids != nil {
		x = w.op("Add", x, look(n.Input(3), ids))
	} else {
		first := make([]int64, tokens)
		for i := range first {
			first[i] = int64(i)
		}
		x = w.op("Add", x, look(n.Input(3), w.ints(first...)))
	}
	if n.Input(1) != nil && n.Input(4) != nil {
		x = w.op("Add", x, look(n.Input(4), n.Input(1)))
	}
	y, reason := w.normed(x, 3, n.Input(5), n.Input(6), -1, 1e-12, true)
	return []*graph.Value{y, nil, x}, reason
}

// norm is normed for a value that was there before.
func (w *writer) norm(x, scale, shift *graph.Value, axis int64, eps float32, centre bool) ([]*graph.Value, string) {
	y, reason := w.normed(x, w.rank(x), scale, shift, axis, eps, centre)
	return []*graph.Value{y}, reason
}

// normed normalizes x, of the given rank, over the axes from axis on; eps is
// the default of the node's own.
func (w *writer) normed(x *graph.Value, rank int, scale, shift *graph.Value, axis int64, eps float32, centre bool) (*graph.Value, string) {
	if rank == 0 {
		return nil, "the rank of its operand is not known"
	}
	eps = w.n.FloatAttr("epsilon", eps)
	if axis < 0 {
		axis += int64(rank)
	}
	if axis < 0 || axis >= int64(rank) {
		return nil, "its axis lies outside the operand"
	}
	attrs := []*graph.Attr{graph.Int("axis", axis), graph.Float("epsilon", eps)}
	switch {
	case centre && w.opset >= 17:
		in := []*graph.Value{x, scale}
		if shift != nil {
			in = append(in, shift)
		}
		return w.with("LayerNormalization", in, attrs...), ""
	case !centre && w.opset >= 23:
		return w.with("RMSNormalization", []*graph.Value{x, scale}, attrs...), ""
	}
	var axes []int64
	for a := axis; a < int64(rank); a++ {
		axes = append(axes, a)
	}
	elem := w.elem
	if w.half() { // squares would overflow
		elem, x = graph.Float32, w.cast(x, graph.Float32)
	}
	if centre {
		x = w.op("Sub", x, w.mean(x, axes...))
	}
	variance := w.mean(w.op("Mul", x, x), axes...)
	y := w.op("Div", x, w.op("Sqrt", w.op("Add", variance, w.numberOf(elem, float64(eps)))))
	if elem != w.elem {
		y = w.cast(y, w.elem)
	}
	y = w.op("Mul", y, scale)
	if shift != nil {
		y = w.op("Add", y, shift)
	}
	return y, ""
}
