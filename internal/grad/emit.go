package grad

import (
	"fmt"
	"slices"
	"strings"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
)

// emitter appends nodes to a graph. It knows the dimensions and the element
// type of every value it makes, and makes equal nodes once. After the first
// failure it makes nothing, and every method returns nil.
type emitter struct {
	g      *graph.Graph
	opset  int64
	shapes *engine.Shapes          // of the values that were there before
	own    map[*graph.Value]info   // of the values made here
	made   map[string]*graph.Value // by operator, operands and attributes
	label  string                  // what names of new nodes begin with
	err    error
}

// info is what is known of a value.
type info struct {
	dims []engine.Size
	elem graph.DType
}

func newEmitter(m *graph.Model, shapes *engine.Shapes, label string) *emitter {
	return &emitter{
		g: m.Graph, opset: m.Opset(""), shapes: shapes, label: label,
		own: map[*graph.Value]info{}, made: map[string]*graph.Value{},
	}
}

// fail records the first failure.
func (e *emitter) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

// dims returns the dimensions of v.
func (e *emitter) dims(v *graph.Value) []engine.Size {
	if e.err != nil {
		return nil
	}
	if x, ok := e.own[v]; ok {
		return x.dims
	}
	dims, ok := e.shapes.Of(v)
	if !ok {
		e.fail(&fault.Error{Kind: fault.Unsupported, Where: fmt.Sprintf("value %q", v.Name()), Got: "a shape that is not known or changes its rank",
			Want: "dimensions that are fixed or proportional to the batch", Remedy: "export the model with a fixed image size"})
	}
	return dims
}

// elem returns the element type of v.
func (e *emitter) elem(v *graph.Value) graph.DType {
	if v == nil {
		return graph.Undefined
	}
	if x, ok := e.own[v]; ok {
		return x.elem
	}
	return e.shapes.Elem(v)
}

// op appends a node with one result of the given dimensions and element type.
func (e *emitter) op(op string, is info, inputs []*graph.Value, attrs ...*graph.Attr) *graph.Value {
	if e.err != nil {
		return nil
	}
	key := nodeKey(op, inputs, attrs)
	if v := e.made[key]; v != nil {
		return v
	}
	v := e.g.Add(op, e.label+"/"+op, inputs, attrs...).Output(0)
	e.know(v, is)
	e.made[key] = v
	return v
}

// know records what v is, in its declared type too.
func (e *emitter) know(v *graph.Value, is info) {
	e.own[v] = is
	v.Type = e.typeOf(is)
}

// typeOf names the batch as the inputs do; other dimensions that change with it
// are declared unknown.
func (e *emitter) typeOf(is info) *graph.Type {
	dims := make([]graph.Dim, len(is.dims))
	for i, d := range is.dims {
		dims[i] = e.dim(d)
	}
	return graph.TensorType(is.elem, dims...)
}

// dim declares one dimension.
func (e *emitter) dim(d engine.Size) graph.Dim {
	if !d.Dynamic() {
		return graph.Fixed(d.Fixed)
	}
	if v := e.batched(); v != nil && d == batchSize {
		if dims := v.Type.Shape.Dims; len(dims) > 0 && dims[0].Kind == graph.SymbolDim {
			return graph.Sym(dims[0].Param)
		}
	}
	return graph.Dim{}
}

// nodeKey is equal for nodes that compute the same.
func nodeKey(op string, inputs []*graph.Value, attrs []*graph.Attr) string {
	var b strings.Builder
	b.WriteString(op)
	for _, v := range inputs {
		if v == nil {
			b.WriteString("\x00")
			continue
		}
		b.WriteString("\x00" + v.Name())
	}
	for _, a := range attrs {
		fmt.Fprintf(&b, "\x01%s %d %g %d %q %v %v", a.Name, a.Kind, a.F, a.I, a.S, a.Floats, a.Ints)
	}
	return b.String()
}

// constant adds an initializer, or finds the equal one made before.
func (e *emitter) constant(name string, t *graph.Tensor) *graph.Value {
	if e.err != nil {
		return nil
	}
	key := fmt.Sprintf("const %s %q", t.Shape(), t.Data)
	if v := e.made[key]; v != nil {
		return v
	}
	v := e.g.AddConst(e.label+"/"+name, t)
	e.made[key] = v
	return v
}

// ints is a constant list of integers, as axes, shapes and bounds are given.
func (e *emitter) ints(xs ...int64) *graph.Value {
	return e.constant("ints", graph.NewTensor([]int64{int64(len(xs))}, xs))
}

// num is a constant scalar.
func (e *emitter) num(elem graph.DType, x float64) *graph.Value {
	return e.floats(elem, nil, x)
}

// floats is a constant of floating-point numbers.
func (e *emitter) floats(elem graph.DType, dims []int64, xs ...float64) *graph.Value {
	t, err := graph.FromFloats(elem, dims, xs)
	if err != nil {
		e.fail(err)
		return nil
	}
	return e.constant("num", t)
}

// binary appends an operator that broadcasts its two operands.
func (e *emitter) binary(op string, a, b *graph.Value) *graph.Value {
	return e.op(op, info{e.broadcast(e.dims(a), e.dims(b)), e.elem(a)}, []*graph.Value{a, b})
}

// unary appends an operator that works on each element.
func (e *emitter) unary(op string, a *graph.Value, attrs ...*graph.Attr) *graph.Value {
	return e.op(op, info{e.dims(a), e.elem(a)}, []*graph.Value{a}, attrs...)
}

func (e *emitter) add(a, b *graph.Value) *graph.Value { return e.binary("Add", a, b) }
func (e *emitter) sub(a, b *graph.Value) *graph.Value { return e.binary("Sub", a, b) }
func (e *emitter) mul(a, b *graph.Value) *graph.Value { return e.binary("Mul", a, b) }
func (e *emitter) div(a, b *graph.Value) *graph.Value { return e.binary("Div", a, b) }

// times is a·x for a number x.
func (e *emitter) times(a *graph.Value, x float64) *graph.Value {
	if x == 1 {
		return a
	}
	return e.mul(a, e.num(e.elem(a), x))
}

// plus is a + x for a number x.
func (e *emitter) plus(a *graph.Value, x float64) *graph.Value {
	return e.add(a, e.num(e.elem(a), x))
}

// from is x − a for a number x.
func (e *emitter) from(x float64, a *graph.Value) *graph.Value {
	return e.sub(e.num(e.elem(a), x), a)
}

// compare appends Less, Greater or Equal.
func (e *emitter) compare(op string, a, b *graph.Value) *graph.Value {
	return e.op(op, info{e.broadcast(e.dims(a), e.dims(b)), graph.Bool}, []*graph.Value{a, b})
}

// above and below compare with a number.
func (e *emitter) above(a *graph.Value, x float64) *graph.Value {
	return e.compare("Greater", a, e.num(e.elem(a), x))
}

func (e *emitter) below(a *graph.Value, x float64) *graph.Value {
	return e.compare("Less", a, e.num(e.elem(a), x))
}

func (e *emitter) not(a *graph.Value) *graph.Value    { return e.unary("Not", a) }
func (e *emitter) and(a, b *graph.Value) *graph.Value { return e.binary("And", a, b) }

// where chooses a where cond holds, b elsewhere.
func (e *emitter) where(cond, a, b *graph.Value) *graph.Value {
	dims := e.broadcast(e.dims(cond), e.broadcast(e.dims(a), e.dims(b)))
	return e.op("Where", info{dims, e.elem(a)}, []*graph.Value{cond, a, b})
}

// cast converts to another element type; booleans become 0 and 1.
func (e *emitter) cast(a *graph.Value, to graph.DType) *graph.Value {
	if e.err != nil || e.elem(a) == to {
		return a
	}
	return e.op("Cast", info{e.dims(a), to}, []*graph.Value{a}, graph.Int("to", int64(to)))
}

// reduce appends a reduction that keeps the reduced axes with size 1.
func (e *emitter) reduce(op string, a *graph.Value, axes []int) *graph.Value {
	if len(axes) == 0 || e.err != nil {
		return a
	}
	dims := slices.Clone(e.dims(a))
	xs := make([]int64, len(axes))
	for i, axis := range axes {
		dims[axis], xs[i] = engine.Size{Fixed: 1}, int64(axis)
	}
	is := info{dims, e.elem(a)}
	if e.opset >= 18 || op == "ReduceSum" && e.opset >= 13 {
		return e.op(op, is, []*graph.Value{a, e.ints(xs...)}, graph.Int("keepdims", 1))
	}
	return e.op(op, is, []*graph.Value{a}, graph.Ints("axes", xs...), graph.Int("keepdims", 1))
}

func (e *emitter) sum(a *graph.Value, axes []int) *graph.Value {
	return e.reduce("ReduceSum", a, axes)
}
func (e *emitter) mean(a *graph.Value, axes []int) *graph.Value {
	return e.reduce("ReduceMean", a, axes)
}

// transpose permutes axes. Two permutations in a row become one.
func (e *emitter) transpose(a *graph.Value, perm []int) *graph.Value {
	if e.err != nil {
		return nil
	}
	if n := a.Producer(); n.Is("Transpose") {
		first := permOf(n, len(perm))
		a = n.Input(0)
		both := make([]int, len(perm))
		for i, p := range perm {
			both[i] = first[p]
		}
		perm = both
	}
	same := true
	xs := make([]int64, len(perm))
	dims := make([]engine.Size, len(perm))
	for i, p := range perm {
		same = same && p == i
		xs[i], dims[i] = int64(p), e.dims(a)[p]
	}
	if same {
		return a
	}
	return e.op("Transpose", info{dims, e.elem(a)}, []*graph.Value{a}, graph.Ints("perm", xs...))
}

// swap transposes the last two axes.
func (e *emitter) swap(a *graph.Value) *graph.Value {
	r := len(e.dims(a))
	if r < 2 {
		return a
	}
	perm := make([]int, r)
	for i := range perm {
		perm[i] = i
	}
	perm[r-1], perm[r-2] = r-2, r-1
	return e.transpose(a, perm)
}

// permOf returns the permutation of a Transpose of rank r.
func permOf(n *graph.Node, r int) []int {
	perm := make([]int, r)
	for i := range perm {
		perm[i] = r - 1 - i
	}
	if xs, ok := n.IntsAttr("perm"); ok && len(xs) == r {
		for i, x := range xs {
			perm[i] = int(x)
		}
	}
	return perm
}
