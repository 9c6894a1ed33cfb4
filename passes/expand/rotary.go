package expand

import "nuwa/graph"

// rotary is ONNX's RotaryEmbedding: operands are the tokens [B, heads, S, width]
// or [B, S, heads·width], the caches of cosines and sines, and positions.
func rotary(w *writer) ([]*graph.Value, string) {
	n := w.n
	cos, sin := n.Input(1), n.Input(2)
	if ids := n.Input(3); ids != nil {
		cos, sin = w.op("Gather", cos, ids), w.op("Gather", sin, ids)
	}
	return w.rotate(n.Input(0), cos, sin, w.fixed(n.Input(1), 1))
}

// contribRotary is ONNX Runtime's own: operands are the tokens, the positions
// [B, S] or the first of them [1], and the caches.
func contribRotary(w *writer) ([]*graph.Value, string) {
	n := w.n
	ids := n.Input(1)
	switch {
	case n.IntAttr("is_packed_batching", 0) != 0:
		return nil, "its batch is packed"
	case w.rank(ids) != 2:
		return nil, "its positions are counted from an offset"
	case n.FloatAttr("scale", 1) != 1:
		return nil, "it scales positions"
	}
	return w.rotate(n.Input(0), w.op("Gather", n.Input(2), ids), w.op("Gather", n.Input(3), ids), w.fixed(n.Input(2), 1))
}

// rotate turns pairs of channels by the angles whose cosines and sines
// [B, S, half] are given. The channels behind the first 2·half stay.
func (w *writer) rotate(x, cos, sin *graph.Value, half int64) ([]*graph.Value, string) {
	heads := w.n.IntAttr("num_heads", 0)
	dims, ok := w.dims(x)
	if !ok || half == 0 || len(dims) != 3 && len(dims) != 4 {
		return nil, "its shapes are not known"
	}
	width, back := dims[len(dims)-1].Fixed, dims[len(dims)-1].Fixed
	axis := int64(1) // of heads
	if len(dims) == 3 {
		switch {
		case heads > 0:
			width /= heads
		case w.n.Domain == contrib:
			width = 2 * half
		default:
			return nil, "the number of heads is not given"
		}
		axis = 2
		x = w.reshape(x, 0, 0, -1, width)
	}
	if turned := w.n.IntAttr("rotary_embedding_dim", 0); turned != 0 && turned != 2*half || 2*half > width {
		return nil, "its caches do not fit the channels to be turned"
	}
	pieces := []*graph.Value{x}
	if 2*half < width {
		pieces = w.split(x, 3, 2*half, width-2*half)
	}
	cos, sin = w.unsqueeze(cos, axis), w.unsqueeze(sin, axis)
	var a, b *graph.Value
	paired := w.n.IntAttr("interleaved", 0) != 0
	if paired { // neighbours are a pair
		p := w.reshape(pieces[0], 0, 0, 0, half, 2)
		a, b = w.pick(p, 4, 0), w.pick(p, 4, 1)
	} else {
		p := w.split(pieces[0], 3, half, half)
		a, b = p[0], p[1]
	}
	re := w.op("Sub", w.op("Mul", cos, a), w.op("Mul", sin, b))
	im := w.op("Add", w.op("Mul", sin, a), w.op("Mul", cos, b))
	var y *graph.Value
	if paired {
		y = w.with("Concat", []*graph.Value{w.unsqueeze(re, 4), w.unsqueeze(im, 4)}, graph.Int("axis", 4))
		y = w.reshape(y, 0, 0, 0, 2*half)
	} else {
		y = w.with("Concat", []*graph.Value{re, im}, graph.Int("axis", 3))
	}
	if len(pieces) == 2 {
		y = w.with("Concat", []*graph.Value{y, pieces[1]}, graph.Int("axis", 3))
	}
	if len(dims) == 3 {
		y = w.reshape(y, 0, 0, back)
	}
	return []*graph.Value{y}, ""
}
