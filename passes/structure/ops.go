package structure

import (
	"slices"

	"nuwa/graph"
)

// Operators that only move elements. Each has its data in operand 0; the
// others, if any, say where to.
var layoutOps = []string{"Reshape", "Transpose", "Split", "Slice", "Gather", "Squeeze", "Unsqueeze", "Flatten", "Identity"}

// Operators that work on each element by itself.
var unaryOps = []string{
	"Abs", "Cast", "Ceil", "Celu", "Clip", "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity",
	"LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Softplus", "Softsign",
	"Sqrt", "Swish", "Tanh", "ThresholdedRelu",
}

// Operators that combine elements at equal places after broadcasting.
var naryOps = []string{
	"Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or",
	"Pow", "PRelu", "Sub", "Sum", "Where", "Xor",
}

// Operators of unaryOps and naryOps that are affine in their computed operand;
// what is left makes a function of x a real activation.
var affineOps = []string{"Add", "Cast", "Div", "Dropout", "Identity", "Mul", "Neg", "Sub", "Sum"}

// Operators that normalize, for wording a refusal.
var normOps = []string{
	"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization", "GroupNormalization", "InstanceNormalization",
	"BatchNormalization", "LpNormalization", "ReduceMean", "ReduceL2", "ReduceSum", "ReduceSumSquare", "MeanVarianceNormalization",
}

// computed returns the operands of n that are not constants.
func computed(n *graph.Node) []*graph.Value {
	var vs []*graph.Value
	for _, v := range n.Inputs() {
		if v != nil && v.Const() == nil {
			vs = append(vs, v)
		}
	}
	return vs
}

// isProduct reports whether n multiplies two computed matrices.
func isProduct(n *graph.Node) bool {
	return n.Is("MatMul") && len(n.Inputs()) == 2 && n.Input(0).Const() == nil && n.Input(1).Const() == nil
}

// plain reports whether n, fed x, only moves, scales or shifts elements by
// constants, so that what comes out is still a linear map's channels.
func plain(n *graph.Node, x *graph.Value) bool {
	if n.Domain != "" && n.Domain != "ai.onnx" {
		return false
	}
	cs := computed(n)
	if len(cs) != 1 || cs[0] != x || len(n.Subgraphs()) > 0 {
		return false
	}
	switch {
	case n.Is(layoutOps...):
		return n.Input(0) == x
	case n.Is("Mul", "Add"):
		return true
	case n.Is("Div", "Sub"):
		return n.Input(0) == x
	case n.Is("Cast"):
		return graph.DType(n.IntAttr("to", 0)).IsFloat()
	case n.Is("Dropout"):
		return n.Output(1) == nil || len(n.Output(1).Uses()) == 0
	}
	return false
}

// why words the reason for which a path cannot be followed through n.
func why(n *graph.Node) string {
	switch {
	case n == nil:
		return "it comes straight from an input or a constant, not from a linear map"
	case quantized(n) != nil:
		return "it is quantized (" + quantized(n).String() + "); take the model as it was before"
	case n.Is(normOps...), n.Is("Div", "Mul") && normalizes(n):
		return "it is normalized (" + n.String() + ") between the linear map and the product"
	case n.Is(naryOps...) && len(computed(n)) > 1:
		return n.String() + " combines several computed tensors (as rotary embeddings do)"
	case n.Is("Concat"):
		return n.String() + " joins several computed tensors (as rotary embeddings do)"
	case n.Is("Expand", "Tile"):
		return n.String() + " repeats it, as for several heads that share keys and values"
	case n.Is(layoutOps...):
		return n.String() + " moves elements to places that are only known at run time"
	}
	return n.String() + " is not a plain scaling or rearrangement of channels"
}

// quantized returns the operator that makes n, or what n scales, a product of
// quantized numbers: nil if there is none.
func quantized(n *graph.Node) *graph.Node {
	for _, v := range n.Inputs() {
		if v == nil || v.Producer() == nil {
			continue
		}
		p := v.Producer()
		if n.Is("MatMul", "Gemm", "Conv") && p.Is("DequantizeLinear") {
			return p
		}
		if p.Is("Cast") && p.Input(0) != nil && p.Input(0).Producer().Is("MatMulInteger", "ConvInteger") {
			return p.Input(0).Producer()
		}
	}
	return nil
}

// normalizes reports whether n scales one tensor by a reduction of a tensor, as
// decomposed norms do.
func normalizes(n *graph.Node) bool {
	next := computed(n)
	if len(next) < 2 {
		return false
	}
	for range 12 {
		if len(next) == 0 {
			return false
		}
		p := next[len(next)-1].Producer()
		next = next[:len(next)-1]
		switch {
		case p.Is(normOps...):
			return true
		case p.Is(unaryOps...) || p.Is(naryOps...) || p.Is("Expand"):
			next = append(next, computed(p)...)
		}
	}
	return false
}

func contains[T comparable](xs []T, x T) bool { return slices.Contains(xs, x) }
