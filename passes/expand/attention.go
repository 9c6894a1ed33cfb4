package expand

import "nuwa/graph"

// attention is ONNX's Attention. Operands are queries, keys and values, each
// [B, heads, T, width] or [B, T, heads·width], a mask, past keys and values,
// and how many keys count. Heads of keys and values may serve several heads of
// queries.
func attention(w *writer) ([]*graph.Value, string) {
	n := w.n
	if n.Input(4) != nil || n.Input(5) != nil {
		return nil, cached
	}
	if n.Input(6) != nil {
		return nil, "the number of keys that count is computed"
	}
	var x [3]*graph.Value
	var heads, width [3]int64
	for i, name := range []string{"q_num_heads", "kv_num_heads", "kv_num_heads"} {
		v := n.Input(i)
		switch w.rank(v) {
		case 3:
			heads[i] = n.IntAttr(name, 0)
			if heads[i] > 0 {
				width[i] = w.fixed(v, 1) / heads[i]
			}
			if width[i] > 0 {
				x[i] = w.toHeads(v, heads[i], width[i])
			}
		case 4:
			heads[i], width[i], x[i] = w.fixed(v, 3), w.fixed(v, 1), v
		}
		if heads[i] <= 0 || width[i] <= 0 {
			return nil, "its shapes are not known"
		}
	}
	q, k, v := x[0], x[1], x[2]
	queries, keys := w.fixed(n.Input(0), 2), w.fixed(n.Input(1), 2)
	results := []*graph.Value{nil, k, v, nil}
	if heads[0] != heads[1] {
		if heads[1] != heads[2] || heads[0]%heads[1] != 0 || keys == 0 {
			return nil, "its heads of queries and keys do not pair"
		}
		k, v = w.repeat(k, heads[1], heads[0]/heads[1], keys, width[1]), w.repeat(v, heads[2], heads[0]/heads[1], keys, width[2])
	}
	bias, reason := w.visible(n.Input(3), n.IntAttr("is_causal", 0) != 0, queries, keys)
	if reason != "" {
		return nil, reason
	}
	s := w.logits(q, k, w.scale(width[0]))
	mode := n.IntAttr("qk_matmul_output_mode", 0)
	if mode == 0 {
		results[3] = s
	}
	if c := float64(n.FloatAttr("softcap", 0)); c != 0 {
		s = w.op("Mul", w.op("Tanh", w.op("Div", s, w.number(c))), w.number(c))
	}
	p := w.probabilities(s, bias)
	if mode == 3 {
		results[3] = p
	}
	y := w.op("MatMul", p, v)
	if w.rank(n.Input(0)) == 3 {
		y = w.fromHeads(y, heads[0], width[2])
	}
	results[0] = y
	return results, ""
}

// repeat gives every head of [B, heads, T, width] to as many neighbours.
func (w *writer) repeat(v *graph.Value, heads, times, keys, width int64) *graph.Value {
	v = w.unsqueeze(v, 2)
	v = w.op("Expand", v, w.ints(1, 1, times, 1, 1))
	return w.reshape(v, 0, heads*times, keys, width)
}
