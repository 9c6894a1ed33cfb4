package fuse

import (
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// Linears makes one Gemm of each product with a constant matrix and the
// constant vector that is added to it, in single precision: the bias is then
// there when the product is taken, and not added in another pass over it. Axes
// before the channels are put together for it, which copies nothing. Products
// in front of a GELU stay, as that takes the bias. It returns how many.
func Linears(m *graph.Model, s *engine.Shapes) int {
	n := 0
	for _, product := range slices.Clone(m.Graph.Nodes()) {
		add, bias := biased(product, s)
		if add == nil || activates(add.Output(0)) {
			continue
		}
		dims, ok := s.Of(add.Output(0))
		if !ok || len(dims) < 2 {
			continue
		}
		back := make([]int64, len(dims))
		open := 0
		for i, d := range dims {
			if back[i] = d.Fixed; d.Dynamic() {
				back[i] = -1
				open++
			}
		}
		if open > 1 || slices.Contains(back, 0) {
			continue
		}
		g, name := m.Graph, label(product)
		x := product.Input(0)
		in := product.Input(1).Const().Dims[0]
		if len(dims) > 2 {
			x = g.Add("Reshape", name+"_rows", []*graph.Value{x, g.AddConst(name+"_rows_shape", graph.NewTensor([]int64{2}, []int64{-1, in}))}).Output(0)
		}
		y := g.Add("Gemm", name+"_gemm", []*graph.Value{x, product.Input(1), bias}).Output(0)
		if len(dims) > 2 {
			y = g.Add("Reshape", name+"_back", []*graph.Value{y, g.AddConst(name+"_back_shape", graph.NewTensor([]int64{int64(len(back))}, back))}).Output(0)
		}
		add.Output(0).ReplaceUses(y)
		n++
	}
	engine.Trim(m.Graph)
	return n
}

// biased returns the Add behind a product with a constant matrix, and the
// vector that it adds.
func biased(product *graph.Node, s *engine.Shapes) (*graph.Node, *graph.Value) {
	if !product.Is("MatMul") || product.Input(1).Const() == nil || product.Input(0).Const() != nil {
		return nil, nil
	}
	w := product.Input(1).Const()
	add := product.Output(0).OnlyUser()
	if len(w.Dims) != 2 || w.Type != graph.Float32 || !add.Is("Add") || s.Elem(product.Input(0)) != graph.Float32 {
		return nil, nil
	}
	b := add.Input(0)
	if b == product.Output(0) {
		b = add.Input(1)
	}
	if b == nil || b.Const() == nil || len(b.Const().Dims) != 1 || b.Const().Dims[0] != w.Dims[1] {
		return nil, nil
	}
	return add, b
}

// activates reports whether v goes to a GELU, spelled out or not.
func activates(v *graph.Value) bool {
	for _, n := range v.Users() {
		if n.Op == "Gelu" {
			return true
		}
		if n.Is("Div", "Mul") && n.Output(0).OnlyUser().Is("Erf") {
			return true
		}
	}
	return false
}

func label(n *graph.Node) string {
	if n.Name != "" {
		return n.Name
	}
	return n.Output(0).Name()
}
