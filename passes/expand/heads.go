package expand

import (
	"math"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// toHeads cuts [B, T, heads·width] into [B, heads, T, width].
func (w *writer) toHeads(v *graph.Value, heads, width int64) *graph.Value {
	return w.transpose(w.reshape(v, 0, 0, heads, width), 0, 2, 1, 3)
}

// fromHeads is the way back.
func (w *writer) fromHeads(v *graph.Value, heads, width int64) *graph.Value {
	return w.reshape(w.transpose(v, 0, 2, 1, 3), 0, 0, heads*width)
}

// logits is q·kᵀ·scale, of q and k [B, heads, T, width].
func (w *writer) logits(q, k *graph.Value, scale float64) *graph.Value {
	s := w.op("MatMul", q, w.transpose(k, 0, 1, 3, 2))
	if scale != 1 {
		s = w.op("Mul", s, w.number(scale))
	}
	return s
}

// attend is softmax(logits + bias)·v; biases that are nil do not count.
func (w *writer) attend(logits, v *graph.Value, biases ...*graph.Value) *graph.Value {
	return w.op("MatMul", w.probabilities(logits, biases...), v)
}

func (w *writer) probabilities(logits *graph.Value, biases ...*graph.Value) *graph.Value {
	for _, b := range biases {
		if b != nil {
			logits = w.op("Add", logits, b)
		}
	}
	return w.with("Softmax", []*graph.Value{logits}, graph.Int("axis", 3))
}

// scale is the attribute of that name, or 1/√width where it is zero.
func (w *writer) scale(width int64) float64 {
	if s := w.n.FloatAttr("scale", 0); s != 0 {
		return float64(s)
	}
	return 1 / math.Sqrt(float64(width))
}

// padding turns the mask of ONNX Runtime's attentions into what is added to
// the logits: lengths [B], ends and then starts [2·B], or flags [B, keys] or
// [B, queries, keys] that are positive where keys count.
func (w *writer) padding(mask *graph.Value, batch engine.Size, keys int64) (*graph.Value, string) {
	if mask == nil {
		return nil, ""
	}
	dims, ok := w.dims(mask)
	if !ok || w.opset < 9 {
		return nil, "the form of its mask is not known"
	}
	var seen *graph.Value
	switch last := dims[len(dims)-1]; {
	case len(dims) == 1 && keys > 0 && (last == batch || last == engine.Size{Fixed: 2 * batch.Fixed, PerBatch: 2 * batch.PerBatch}):
		places := make([]int32, keys)
		for i := range places {
			places[i] = int32(i)
		}
		at := w.g.AddConst(w.label+"/places", graph.NewTensor([]int64{1, keys}, places))
		end := mask
		if last != batch {
			both := w.reshape(mask, 2, -1)
			end = w.pick(both, 0, 0)
			started := w.op("Not", w.op("Less", at, w.unsqueeze(w.pick(both, 0, 1), 1)))
			seen = w.op("And", w.op("Less", at, w.unsqueeze(end, 1)), started)
		} else {
			seen = w.op("Less", at, w.unsqueeze(end, 1))
		}
		seen = w.unsqueeze(seen, 1, 2)
	case len(dims) == 2 && dims[0] == batch && last == engine.Size{Fixed: keys}:
		seen = w.unsqueeze(w.positive(mask), 1, 2)
	case len(dims) == 3 && dims[0] == batch && last == engine.Size{Fixed: keys}:
		seen = w.unsqueeze(w.positive(mask), 1)
	default:
		return nil, "the form of its mask is not known"
	}
	return w.op("Where", seen, w.number(0), w.number(float64(w.n.FloatAttr("mask_filter_value", -10000)))), ""
}

func (w *writer) positive(v *graph.Value) *graph.Value {
	zero := w.g.AddConst(w.label+"/zero", graph.Scalar(int32(0)))
	return w.op("Greater", v, zero)
}

// onlyBefore is what is added to the logits so that queries see no later keys.
func (w *writer) onlyBefore(queries, keys int64) *graph.Value {
	xs := make([]float64, 0, queries*keys)
	for i := range queries {
		for j := range keys {
			if j > i {
				xs = append(xs, lowest(w.elem))
			} else {
				xs = append(xs, 0)
			}
		}
	}
	t, err := graph.FromFloats(w.elem, []int64{queries, keys}, xs)
	if err != nil {
		return nil
	}
	return w.g.AddConst(w.label+"/mask", t)
}

// visible turns a mask, of flags or of numbers, and causality into what is added
// to the logits. A row of queries that sees no key at all has no softmax, so
// that a constant mask with such a row is refused. Keys that a constant mask does
// not reach are not seen.
func (w *writer) visible(mask *graph.Value, causal bool, queries, keys int64) (*graph.Value, string) {
	if mask == nil && !causal {
		return nil, ""
	}
	if queries == 0 || keys == 0 {
		return nil, "the number of tokens is not fixed"
	}
	if mask == nil {
		return w.onlyBefore(queries, keys), ""
	}
	t := mask.Const()
	if t == nil {
		return w.shown(mask, causal, queries, keys)
	}
	if len(t.Dims) < 2 {
		return nil, "its mask does not fit the logits"
	}
	xs, err := t.Floats()
	if err != nil {
		return nil, "its mask cannot be read: " + err.Error()
	}
	r := len(t.Dims)
	rows, cols := t.Dims[r-2], t.Dims[r-1]
	if rows != queries && rows != 1 || cols > keys || cols == 1 && keys > 1 {
		return nil, "its mask does not fit the logits"
	}
	low := lowest(w.elem)
	lead := graph.Elements(t.Dims[:r-2])
	out := make([]float64, 0, lead*queries*keys)
	for l := range lead {
		for i := range queries {
			sees := false
			for j := range keys {
				x := low
				if j < cols {
					x = xs[(l*rows+i%rows)*cols+j]
					if t.Type == graph.Bool {
						x = (1 - x) * low
					}
				}
				if causal && j > i {
					x = low
				}
				x = max(x, low)
				sees = sees || x > low/2
				out = append(out, x)
			}
			if !sees {
				return nil, "its mask hides all keys from a query"
			}
		}
	}
	c, err := graph.FromFloats(w.elem, append(slices.Clone(t.Dims[:r-2]), queries, keys), out)
	if err != nil {
		return nil, err.Error()
	}
	return w.g.AddConst(w.label+"/mask", c), ""
}

// shown is visible for a mask that is computed. As in ONNX Runtime's Attention,
// hidden keys get the lowest number, so that a query that sees none weighs all
// alike.
func (w *writer) shown(mask *graph.Value, causal bool, queries, keys int64) (*graph.Value, string) {
	switch {
	case causal:
		return nil, "its mask is computed, and so is what of it lies behind each query"
	case w.rank(mask) < 2 || w.fixed(mask, 2) != queries || w.fixed(mask, 1) != keys:
		return nil, "its mask does not fit the logits"
	case w.elemOf(mask) == graph.Bool:
		return w.op("Where", mask, w.number(0), w.number(lowest(w.elem))), ""
	}
	return mask, ""
}
