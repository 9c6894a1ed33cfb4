// Package ports changes how a model is fed: the batch and the layout of its
// image input.
//
//	err := ports.FixBatch(model, 1)
//	err := ports.OpenBatch(model)
//	err := ports.Layout(model, "nhwc")
//
// FixBatch and Layout are exact. OpenBatch rewrites the constants in which a
// model of a fixed batch holds its batch; whether that was all of them is for
// the caller to prove, by running several samples at once and one by one. The
// package may import graph, internal/engine and internal/fault.
package ports

import (
	"fmt"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
)

// FixBatch makes the first dimension of every input n. Inputs of another fixed
// batch are an error.
func FixBatch(m *graph.Model, n int64) error {
	old := symbol(m)
	for _, v := range engine.Feeds(m) {
		dims, ok := v.Type.Dims()
		if !ok || len(dims) == 0 {
			return &fault.Error{Kind: fault.Unsupported, Where: fmt.Sprintf("input %q", v.Name()), Got: v.Type.String(), Want: "a batch as its first dimension"}
		}
		if dims[0] > 0 && dims[0] != n {
			return &fault.Error{Kind: fault.Unsupported, Where: fmt.Sprintf("input %q", v.Name()), Got: fmt.Sprintf("a model of fixed batch %d", dims[0]), Want: fmt.Sprintf("batch %d", n),
				Remedy: "open it first, with --batch dynamic"}
		}
		v.Type.Shape.Dims[0] = graph.Fixed(n)
	}
	for _, v := range m.Graph.Outputs() {
		if v.Type != nil && v.Type.Shape != nil && len(v.Type.Shape.Dims) > 0 && old != "" && v.Type.Shape.Dims[0].Param == old {
			v.Type.Shape.Dims[0] = graph.Fixed(n)
		}
	}
	m.Graph.Infos = nil
	return nil
}

// symbol returns the name of the batch, as the first input calls it.
func symbol(m *graph.Model) string {
	for _, v := range engine.Feeds(m) {
		if v.Type != nil && v.Type.Shape != nil && len(v.Type.Shape.Dims) > 0 {
			return v.Type.Shape.Dims[0].Param
		}
	}
	return ""
}

// OpenBatch makes the first dimension of a model's only input a symbol. Constants
// that repeat the batch follow it: targets of Reshape and Expand, and constant
// operands of Concat, which are repeated once per sample.
func OpenBatch(m *graph.Model, s *engine.Shapes) error {
	feeds := engine.Feeds(m)
	if len(feeds) != 1 {
		return &fault.Error{Kind: fault.Unsupported, Got: fmt.Sprintf("%d inputs", len(feeds)), Want: "one, to open its batch"}
	}
	in := feeds[0]
	dims, ok := in.Type.Dims()
	if !ok || len(dims) == 0 {
		return &fault.Error{Kind: fault.Unsupported, Where: fmt.Sprintf("input %q", in.Name()), Got: in.Type.String(), Want: "a batch as its first dimension"}
	}
	if dims[0] < 0 {
		return nil
	}
	o := &opener{m: m, g: m.Graph, in: in, batch: dims[0], shapes: s}
	for _, n := range slices.Clone(m.Graph.Nodes()) {
		switch {
		case n.Is("Reshape"):
			o.reshape(n)
		case n.Is("Expand"):
			o.expand(n)
		case n.Is("Concat"):
			o.concat(n)
		}
	}
	open := graph.Sym("batch")
	in.Type.Shape.Dims[0] = open
	for _, v := range m.Graph.Outputs() {
		if v.Type != nil && v.Type.Shape != nil && len(v.Type.Shape.Dims) > 0 && v.Type.Shape.Dims[0].Value == o.batch {
			v.Type.Shape.Dims[0] = open
		}
	}
	m.Graph.Infos = nil
	engine.Trim(m.Graph)
	return m.Graph.Sort()
}

type opener struct {
	m      *graph.Model
	g      *graph.Graph
	in     *graph.Value
	batch  int64
	shapes *engine.Shapes
	size   *graph.Value // the batch, [1]
}

// reshape opens the first dimension of a target that is a multiple of the
// batch, if there is no open one.
func (o *opener) reshape(n *graph.Node) {
	t := n.Input(1)
	if t == nil || t.Const() == nil {
		return
	}
	dims, err := t.Const().Ints()
	if err != nil || len(dims) == 0 {
		return
	}
	from, ok1 := o.shapes.Of(n.Input(0))
	to, ok2 := o.shapes.Of(n.Output(0))
	if !ok1 || !ok2 || len(to) != len(dims) {
		return
	}
	for i, d := range dims {
		if d == -1 || d == 0 {
			dims[i] = to[i].Fixed // which it stood for at this batch
		}
	}
	at := 0
	if dims[0]%o.batch != 0 {
		return
	}
	// Where a leading one is in front of the batch, as in [1, B·windows, ...],
	// the first dimension that source and target share tells.
	if len(from) > 1 && len(dims) > 1 && from[0].Fixed != dims[0] && from[1].Fixed == dims[1] && dims[0] == 1 && o.batch != 1 {
		at = 1
	}
	dims[at] = -1
	n.SetInput(1, o.g.AddConst(t.Name(), graph.NewTensor([]int64{int64(len(dims))}, dims)))
}

func (o *opener) expand(n *graph.Node) {
	t := n.Input(1)
	if t == nil || t.Const() == nil {
		return
	}
	dims, err := t.Const().Ints()
	if err != nil || len(dims) == 0 || dims[0] != o.batch {
		return
	}
	rest := o.g.AddConst(t.Name()+"_rest", graph.NewTensor([]int64{int64(len(dims) - 1)}, dims[1:]))
	n.SetInput(1, o.g.Add("Concat", t.Name()+"_open", []*graph.Value{o.count(), rest}, graph.Int("axis", 0)).Output(0))
}

// concat repeats constants that are put beside computed values, on another axis
// than the batch's, once per sample.
func (o *opener) concat(n *graph.Node) {
	if n.IntAttr("axis", 0) == 0 {
		return
	}
	for i, v := range n.Inputs() {
		if v.Const() == nil || len(v.Const().Dims) < 2 || v.Const().Dims[0] != o.batch || o.batch != 1 {
			continue
		}
		ones := slices.Repeat([]int64{1}, len(v.Const().Dims)-1)
		shape := o.g.Add("Concat", v.Name()+"_shape", []*graph.Value{o.count(), o.g.AddConst(v.Name()+"_ones", graph.NewTensor([]int64{int64(len(ones))}, ones))}, graph.Int("axis", 0)).Output(0)
		n.SetInput(i, o.g.Add("Expand", v.Name()+"_each", []*graph.Value{v, shape}).Output(0))
	}
}

// count returns the batch as a vector of one.
func (o *opener) count() *graph.Value {
	if o.size == nil {
		shape := o.g.Add("Shape", "batch_shape", []*graph.Value{o.in}).Output(0)
		o.size = o.g.Add("Gather", "batch_size", []*graph.Value{shape, o.g.AddConst("batch_axis", graph.NewTensor([]int64{1}, []int64{0}))}, graph.Int("axis", 0)).Output(0)
	}
	return o.size
}

// Layout makes the image input [batch, height, width, channels] (nhwc) or
// [batch, channels, height, width] (nchw), with a Transpose behind it. Channels
// are the axis of at most 4.
func Layout(m *graph.Model, layout string) error {
	feeds := engine.Feeds(m)
	if len(feeds) != 1 {
		return &fault.Error{Kind: fault.Unsupported, Got: fmt.Sprintf("%d inputs", len(feeds)), Want: "one that takes images"}
	}
	in := feeds[0]
	dims, ok := in.Type.Dims()
	if !ok || len(dims) != 4 {
		return &fault.Error{Kind: fault.Unsupported, Where: fmt.Sprintf("input %q", in.Name()), Got: in.Type.String(), Want: "images"}
	}
	nhwc := dims[3] > 0 && dims[3] <= 4 && !(dims[1] > 0 && dims[1] <= 4)
	if nhwc == (layout == "nhwc") {
		return nil
	}
	perm, order := []int64{0, 3, 1, 2}, []int{0, 2, 3, 1}
	if layout == "nchw" {
		perm, order = []int64{0, 2, 3, 1}, []int{0, 3, 1, 2}
	}
	old := slices.Clone(in.Type.Shape.Dims)
	for i, k := range order {
		in.Type.Shape.Dims[i] = old[k]
	}
	uses := slices.Clone(in.Uses())
	turned := m.Graph.Add("Transpose", in.Name()+"_turned", []*graph.Value{in}, graph.Ints("perm", perm...)).Output(0)
	for _, u := range uses {
		if u.Node == nil {
			return &fault.Error{Kind: fault.Unsupported, Where: fmt.Sprintf("input %q", in.Name()), Got: "an input that is an output too"}
		}
		u.Node.SetInput(u.Index, turned)
	}
	m.Graph.Infos = nil
	return m.Graph.Sort()
}
