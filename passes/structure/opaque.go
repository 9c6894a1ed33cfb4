package structure

import (
	"slices"
	"strings"

	"nuwa/graph"
)

// Operators that multiply by quantized weights.
var integerProducts = []string{
	"MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "QGemm", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulNBits",
}

// opaque declines what stays closed to view: attentions in one operator, and
// hidden layers between quantized maps.
func (f *finder) opaque() {
	for _, n := range f.g.Nodes() {
		switch {
		case strings.HasSuffix(n.Op, "Attention"):
			f.decline(n, "attention", "it is one operator ("+n.Op+") that is not spelled out")
		case integerProduct(n) && f.hiddenBefore(n):
			by := n
			if n.Is("MatMul", "Gemm", "Conv") {
				by = n.Input(1).Producer()
			}
			f.decline(n, "hidden", "it is quantized ("+by.String()+"); take the model as it was before")
		}
	}
}

// integerProduct reports whether n multiplies by quantized weights.
func integerProduct(n *graph.Node) bool {
	if n == nil || slices.Contains(integerProducts, n.Op) {
		return n != nil
	}
	w := n.Input(1)
	return n.Is("MatMul", "Gemm", "Conv") && w != nil && w.Producer().Is("DequantizeLinear") && w.Producer().Input(0).Const() != nil
}

// hiddenBefore reports whether what n multiplies comes, through an activation
// and nothing but elementwise operators, from another product of its kind.
func (f *finder) hiddenBefore(n *graph.Node) bool {
	found, active := false, false
	seen := map[*graph.Value]bool{}
	for next := []*graph.Value{n.Input(0)}; len(next) > 0; next = next[1:] {
		v := next[0]
		if v == nil || v.Const() != nil || seen[v] {
			continue
		}
		seen[v] = true
		p := v.Producer()
		switch {
		case p == nil:
			return false
		case integerProduct(p), scalesIntegers(p):
			found = true
		case p.Is("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"):
			next = append(next, p.Input(0))
		case p.Is(unaryOps...) || p.Is(naryOps...):
			active = active || !p.Is(affineOps...)
			next = append(next, p.Inputs()...)
		default:
			return false
		}
	}
	return found && active
}

// scalesIntegers reports whether n makes numbers of what an integer product
// gives, by a scale that may be computed.
func scalesIntegers(n *graph.Node) bool {
	return n.Is("Mul") && slices.ContainsFunc(n.Inputs(), func(v *graph.Value) bool {
		return v != nil && v.Producer().Is("Cast") && integerProduct(v.Producer().Input(0).Producer())
	})
}
