// Package cost counts what a model costs: multiply-accumulates per image and
// parameters.
//
//	c, err := cost.Of(model, shapes)
//	rate := 1 - float64(slim.MACs)/float64(base.MACs)
//
// Multiply-accumulates are those of matrix products and convolutions, at batch
// one; norms, activations and sums are left out. It may import graph and
// internal/engine.
package cost

import (
	"fmt"
	"strings"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// Cost is what a model costs.
type Cost struct {
	MACs   int64 `json:"macs"`   // per image
	Params int64 `json:"params"` // elements of floating-point and quantized weights
}

// Of counts the main graph of m. A product whose shape is not known is an
// error that names it.
func Of(m *graph.Model, s *engine.Shapes) (Cost, error) {
	var c Cost
	for _, v := range m.Graph.Consts() {
		if t := v.Default(); t != nil && (t.Type.IsFloat() || t.Type.Bits() <= 8 && t.Type != graph.Bool && t.Type != graph.String) {
			c.Params += t.Len()
		}
	}
	for _, n := range m.Graph.Nodes() {
		macs, err := nodeMACs(n, s)
		if err != nil {
			return c, err
		}
		c.MACs += macs
	}
	return c, nil
}

func nodeMACs(n *graph.Node, s *engine.Shapes) (int64, error) {
	shape := func(v *graph.Value) ([]int64, error) {
		d, ok := s.At(v, 1)
		if !ok {
			return nil, fmt.Errorf("%s: the shape of %q is not known, so its cost is not either", n, v.Name())
		}
		return d, nil
	}
	switch n.Op {
	case "MatMul", "Gemm", "FusedMatMul", "FusedGemm", "MatMulInteger", "QLinearMatMul":
		out, err := shape(n.Output(0))
		if err != nil {
			return 0, err
		}
		in, err := shape(n.Input(0))
		if err != nil {
			return 0, err
		}
		k := int64(1)
		if len(in) > 0 {
			k = in[len(in)-1]
		}
		if n.IntAttr("transA", 0) != 0 && len(in) > 1 {
			k = in[len(in)-2]
		}
		return graph.Elements(out) * k, nil
	case "Conv", "ConvInteger", "QLinearConv", "FusedConv", "ConvTranspose":
		w := n.Input(1)
		if n.Op == "QLinearConv" {
			w = n.Input(3)
		}
		wd, err := shape(w)
		if err != nil {
			return 0, err
		}
		at := n.Output(0) // every output element takes a kernel; every input one where transposed
		if n.Op == "ConvTranspose" {
			at = n.Input(0)
		}
		d, err := shape(at)
		if err != nil || len(wd) < 2 {
			return 0, err
		}
		return graph.Elements(d) * graph.Elements(wd[1:]), nil
	case "Einsum":
		return einsumMACs(n, shape)
	case "Attention", "MultiHeadAttention":
		return attentionMACs(n, shape)
	}
	return 0, nil
}

// einsumMACs takes an Einsum as the product over all its indices, as one
// contraction of two operands is.
func einsumMACs(n *graph.Node, shape func(*graph.Value) ([]int64, error)) (int64, error) {
	if len(n.Inputs()) < 2 {
		return 0, nil
	}
	terms := strings.Split(strings.SplitN(strings.ReplaceAll(n.StringAttr("equation", ""), " ", ""), "->", 2)[0], ",")
	size := map[rune]int64{}
	total := int64(1)
	for i, v := range n.Inputs() {
		d, err := shape(v)
		if err != nil {
			return 0, err
		}
		if i >= len(terms) || strings.Contains(terms[i], "...") || len([]rune(terms[i])) != len(d) {
			continue
		}
		for j, r := range []rune(terms[i]) {
			if size[r] == 0 {
				size[r] = d[j]
				total *= d[j]
			}
		}
	}
	return total, nil
}

// attentionMACs counts fused attention: the products of queries and keys and of
// probabilities and values, and, where com.microsoft's Attention takes in the
// linear maps of its one input, these. Operands of three axes are [B, tokens,
// heads·width], of four [B, heads, tokens, width].
func attentionMACs(n *graph.Node, shape func(*graph.Value) ([]int64, error)) (int64, error) {
	x, err := shape(n.Input(0))
	if err != nil {
		return 0, err
	}
	if n.Op == "Attention" && n.Domain == "com.microsoft" {
		w, err := shape(n.Input(1))
		if err != nil || len(x) != 3 || len(w) != 2 {
			return 0, err
		}
		sizes, ok := n.IntsAttr("qkv_hidden_sizes")
		if !ok || len(sizes) != 3 {
			sizes = []int64{w[1] / 3, w[1] / 3, w[1] / 3}
		}
		return x[0] * x[1] * (w[0]*w[1] + x[1]*(sizes[0]+sizes[2])), nil
	}
	if n.Input(1) == nil || n.Input(2) == nil {
		return 0, fmt.Errorf("%s: packed operands are not counted", n)
	}
	k, err := shape(n.Input(1))
	if err != nil {
		return 0, err
	}
	v, err := shape(n.Input(2))
	if err != nil || len(x) < 3 || len(k) < 3 || len(v) < 3 {
		return 0, err
	}
	keys := k[len(k)-2]
	queries := graph.Elements(x[:len(x)-1])
	width := v[len(v)-1]
	if len(v) == 3 && len(x) == 4 {
		width /= x[1]
	}
	return queries * keys * (x[len(x)-1] + width), nil
}
