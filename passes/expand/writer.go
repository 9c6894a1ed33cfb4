package expand

import (
	"math"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// writer appends the nodes that one fused node n is made of.
type writer struct {
	m      *graph.Model
	g      *graph.Graph
	n      *graph.Node
	shapes *engine.Shapes
	stands map[*graph.Value]*graph.Value // what was written already, by the result it stands for
	opset  int64
	label  string      // what names of new nodes begin with
	elem   graph.DType // what n computes in
}

func newWriter(m *graph.Model, shapes *engine.Shapes, stands map[*graph.Value]*graph.Value, n *graph.Node) *writer {
	w := &writer{m: m, g: m.Graph, n: n, shapes: shapes, stands: stands, opset: m.Opset(""), label: n.Name, elem: graph.Float32}
	if w.label == "" {
		w.label = n.Op
	}
	if x := n.Input(0); x != nil {
		w.elem = w.elemOf(x)
	}
	return w
}

// op appends an operator without attributes.
func (w *writer) op(op string, inputs ...*graph.Value) *graph.Value { return w.with(op, inputs) }

// with appends an operator with attributes.
func (w *writer) with(op string, inputs []*graph.Value, attrs ...*graph.Attr) *graph.Value {
	return w.g.Add(op, w.label+"/"+op, inputs, attrs...).Output(0)
}

// number is a scalar of the type that n computes in.
func (w *writer) number(x float64) *graph.Value { return w.numberOf(w.elem, x) }

func (w *writer) numberOf(elem graph.DType, x float64) *graph.Value {
	t, err := graph.FromFloats(elem, nil, []float64{x})
	if err != nil { // n computes in no floating type, so that no rule needs one
		t = graph.Scalar(x)
	}
	return w.g.AddConst(w.label+"/number", t)
}

// ints is a vector of integers.
func (w *writer) ints(xs ...int64) *graph.Value {
	return w.g.AddConst(w.label+"/ints", graph.NewTensor([]int64{int64(len(xs))}, xs))
}

// reshape arranges v as dims; 0 keeps the dimension at that place, −1 is what
// is left.
func (w *writer) reshape(v *graph.Value, dims ...int64) *graph.Value {
	return w.op("Reshape", v, w.ints(dims...))
}

func (w *writer) transpose(v *graph.Value, perm ...int64) *graph.Value {
	return w.with("Transpose", []*graph.Value{v}, graph.Ints("perm", perm...))
}

// split cuts v along an axis into pieces of the given sizes.
func (w *writer) split(v *graph.Value, axis int64, sizes ...int64) []*graph.Value {
	if len(sizes) == 1 {
		return []*graph.Value{v}
	}
	n := w.with("Split", []*graph.Value{v}, graph.Int("axis", axis)).Producer()
	if w.opset >= 13 {
		n.SetInput(1, w.ints(sizes...))
	} else {
		n.SetAttr(graph.Ints("split", sizes...))
	}
	for range sizes[1:] {
		n.AddOutput(w.g.UniqueName(w.label + "/part"))
	}
	return n.Outputs()
}

// unsqueeze inserts dimensions of size one so that they lie on the given axes.
func (w *writer) unsqueeze(v *graph.Value, axes ...int64) *graph.Value {
	if w.opset >= 13 {
		return w.op("Unsqueeze", v, w.ints(axes...))
	}
	return w.with("Unsqueeze", []*graph.Value{v}, graph.Ints("axes", axes...))
}

// mean averages over the given axes, which keep a size of one.
func (w *writer) mean(v *graph.Value, axes ...int64) *graph.Value {
	if w.opset >= 18 {
		return w.with("ReduceMean", []*graph.Value{v, w.ints(axes...)}, graph.Int("keepdims", 1))
	}
	return w.with("ReduceMean", []*graph.Value{v}, graph.Ints("axes", axes...), graph.Int("keepdims", 1))
}

// pick takes the element at a place of an axis, which goes.
func (w *writer) pick(v *graph.Value, axis, at int64) *graph.Value {
	i := w.g.AddConst(w.label+"/index", graph.Scalar(at))
	return w.with("Gather", []*graph.Value{v, i}, graph.Int("axis", axis))
}

func (w *writer) cast(v *graph.Value, to graph.DType) *graph.Value {
	return w.with("Cast", []*graph.Value{v}, graph.Int("to", int64(to)))
}

// dims returns the dimensions of a value that was there before; ok is false
// where they are not known.
func (w *writer) dims(v *graph.Value) ([]engine.Size, bool) { return w.shapes.Of(w.known(v)) }

func (w *writer) elemOf(v *graph.Value) graph.DType { return w.shapes.Elem(w.known(v)) }

// known is v, or the result that v stands for.
func (w *writer) known(v *graph.Value) *graph.Value {
	if was := w.stands[v]; was != nil {
		return was
	}
	return v
}

// fixed returns the dimension of v counted from the end, 0 if it is not known
// or depends on the batch.
func (w *writer) fixed(v *graph.Value, fromEnd int) int64 {
	d, ok := w.dims(v)
	if !ok || len(d) < fromEnd || d[len(d)-fromEnd].Dynamic() {
		return 0
	}
	return d[len(d)-fromEnd].Fixed
}

func (w *writer) rank(v *graph.Value) int {
	d, _ := w.dims(v)
	return len(d)
}

// parts cuts a vector along its only axis.
func (w *writer) parts(v *graph.Value, sizes ...int64) []*graph.Value {
	t := v.Const()
	if t == nil || t.Type.Bits()%8 != 0 || t.Type.Bits() == 0 {
		return w.split(v, 0, sizes...)
	}
	var out []*graph.Value
	at := int64(0)
	for _, n := range sizes {
		p := &graph.Tensor{Type: t.Type, Dims: []int64{n}, Data: t.Data[t.Type.ByteLen(at):t.Type.ByteLen(at+n)]}
		out = append(out, w.g.AddConst(w.label+"/bias", p))
		at += n
	}
	return out
}

// half reports whether n computes in 16 bits.
func (w *writer) half() bool { return w.elem.IsHalf() }

// lowest is a number that no logit can outweigh.
func lowest(elem graph.DType) float64 {
	switch elem {
	case graph.Float16:
		return -65504
	case graph.Float64:
		return -math.MaxFloat64
	}
	return -math.MaxFloat32
}
