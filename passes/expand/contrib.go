package expand

import "nuwa/graph"

const cached = "it keeps keys and values of earlier runs"

// packedAttention is com.microsoft.Attention: the linear map to queries, keys
// and values, whose weights are packed, and the attention itself. Operands are
// the tokens [B, S, in], weights, bias, mask, past, and a bias of the logits.
func packedAttention(w *writer) ([]*graph.Value, string) {
	n := w.n
	x, heads := n.Input(0), n.IntAttr("num_heads", 0)
	tokens, total := w.fixed(x, 2), w.fixed(n.Input(1), 1)
	switch {
	case n.Input(4) != nil || n.Input(6) != nil || n.IntAttr("past_present_share_buffer", 0) != 0:
		return nil, cached
	case n.IntAttr("do_rotary", 0) != 0:
		return nil, "it turns queries and keys by their position"
	case w.rank(x) != 3 || heads <= 0 || tokens == 0 || total == 0:
		return nil, "its shapes are not known"
	}
	sizes, ok := n.IntsAttr("qkv_hidden_sizes")
	if !ok || len(sizes) == 0 {
		sizes = []int64{total / 3, total / 3, total / 3}
	}
	if len(sizes) != 3 || sizes[0]+sizes[1]+sizes[2] != total || sizes[0] != sizes[1] || sizes[0]%heads != 0 || sizes[2]%heads != 0 {
		return nil, "its widths do not fit its heads"
	}
	dims, _ := w.dims(x)
	mask, reason := w.padding(n.Input(3), dims[0], tokens)
	if reason != "" {
		return nil, reason
	}
	y := w.op("MatMul", x, n.Input(1))
	if b := n.Input(2); b != nil {
		y = w.op("Add", y, b)
	}
	parts := w.split(y, 2, sizes...)
	width, out := sizes[0]/heads, sizes[2]/heads
	q, k, v := w.toHeads(parts[0], heads, width), w.toHeads(parts[1], heads, width), w.toHeads(parts[2], heads, out)
	var causal *graph.Value
	if n.IntAttr("unidirectional", 0) != 0 {
		causal = w.onlyBefore(tokens, tokens)
	}
	y = w.attend(w.logits(q, k, w.scale(width)), v, mask, causal, n.Input(5))
	return []*graph.Value{w.fromHeads(y, heads, out)}, ""
}

// multiHeadAttention is com.microsoft.MultiHeadAttention. Operands are queries
// [B, S, heads·width], keys [B, T, heads·width] or [B, heads, T, width], values
// alike, a bias of all three, a mask, and a bias of the logits.
func multiHeadAttention(w *writer) ([]*graph.Value, string) {
	n := w.n
	heads := n.IntAttr("num_heads", 0)
	for _, i := range []int{6, 7, 8, 9} {
		if n.Input(i) != nil {
			return nil, cached
		}
	}
	if heads <= 0 {
		return nil, "the number of heads is not given"
	}
	dims, _ := w.dims(n.Input(0))
	q, k, v, width, out, reason := w.operands(heads)
	if reason != "" {
		return nil, reason
	}
	queries, keys := w.fixed(n.Input(0), 2), w.fixed(n.Input(1), 2)
	mask, reason := w.padding(n.Input(4), dims[0], keys)
	if reason != "" {
		return nil, reason
	}
	var causal *graph.Value
	if n.IntAttr("unidirectional", 0) != 0 {
		if queries == 0 || queries != keys {
			return nil, "queries and keys differ in number, so that before is not clear"
		}
		causal = w.onlyBefore(queries, keys)
	}
	y := w.attend(w.logits(q, k, w.scale(width)), v, mask, causal, n.Input(5))
	return []*graph.Value{w.fromHeads(y, heads, out), k, v}, ""
}

// operands arranges queries, keys and values of a MultiHeadAttention as
// [B, heads, T, width], biases added.
func (w *writer) operands(heads int64) (q, k, v *graph.Value, width, out int64, reason string) {
	n := w.n
	fail := func(why string) (a, b, c *graph.Value, d, e int64, reason string) { return nil, nil, nil, 0, 0, why }
	xs := []*graph.Value{n.Input(0), n.Input(1), n.Input(2)}
	bias := n.Input(3)
	if w.rank(xs[0]) != 3 || xs[1] == nil || xs[2] == nil {
		return fail("its operands are packed in a form that ONNX Runtime's CPU does not run")
	}
	width = w.fixed(xs[0], 1) / heads
	out = w.fixed(xs[2], 1)
	if w.rank(xs[2]) == 3 {
		out /= heads
	} else if bias != nil {
		return fail("its bias is not for keys and values that are arranged by heads")
	}
	if width == 0 || out == 0 || w.rank(xs[1]) != w.rank(xs[2]) || w.rank(xs[1]) < 3 || w.rank(xs[1]) > 4 {
		return fail("its shapes are not known")
	}
	if bias != nil {
		for i, b := range w.parts(bias, heads*width, heads*width, heads*out) {
			xs[i] = w.op("Add", xs[i], b)
		}
	}
	q, k, v = w.toHeads(xs[0], heads, width), xs[1], xs[2]
	if w.rank(n.Input(1)) == 3 {
		k, v = w.toHeads(k, heads, width), w.toHeads(v, heads, out)
	}
	return q, k, v, width, out, ""
}
