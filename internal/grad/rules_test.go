package grad

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"nuwa/graph"
)

// A spelling is one way a node may be written; every rule has at least one.
type spelling struct {
	rule   string // the key of the table
	what   string // what is special about it
	opsets []int64
	args   []operand
	attrs  []*graph.Attr
	build  func(g *graph.Graph, in []*graph.Value) *graph.Value // instead of one node with one result
	single bool                                                 // float32 only: ONNX Runtime has no float64, or rounds to float32 inside
}

func f(name string, x float32) *graph.Attr   { return graph.Float(name, x) }
func i(name string, x int64) *graph.Attr     { return graph.Int(name, x) }
func is(name string, x ...int64) *graph.Attr { return graph.Ints(name, x...) }
func str(name, x string) *graph.Attr         { return graph.Str(name, x) }
func at(opsets ...int64) []int64             { return opsets }
func args(os ...operand) []operand           { return os }
func attrs(as ...*graph.Attr) []*graph.Attr  { return as }

func (s spelling) f32() spelling { s.single = true; return s }

func sp(rule, what string, opsets []int64, args []operand, attrs ...*graph.Attr) spelling {
	return spelling{rule: rule, what: what, opsets: opsets, args: args, attrs: attrs}
}

// outputs joins chosen results of a node with several, so that some have no
// gradient.
func outputs(op string, total int, attrs []*graph.Attr, use ...int) func(g *graph.Graph, in []*graph.Value) *graph.Value {
	return func(g *graph.Graph, in []*graph.Value) *graph.Value {
		n := g.NewNode(op, op)
		n.SetInputs(in...)
		for _, a := range attrs {
			n.SetAttr(a)
		}
		for j := range total {
			n.AddOutput(fmt.Sprintf("part%d", j))
		}
		var parts []*graph.Value
		for _, j := range use {
			v := n.Output(j)
			for range j { // each result is used differently
				v = g.Add("Neg", "neg", []*graph.Value{g.Add("Mul", "sq", []*graph.Value{v, v}).Output(0)}).Output(0)
			}
			parts = append(parts, v)
		}
		return g.Add("Concat", "joined", parts, graph.Int("axis", n.IntAttr("axis", 0))).Output(0)
	}
}

var spellings = slices.Concat(elementwiseSpellings, activationSpellings, reductionSpellings, normSpellings, productSpellings, layoutSpellings, imageSpellings, contribSpellings)

var elementwiseSpellings = []spelling{
	sp("Add", "same shape", at(9, 14), args(x(2, 3), x(2, 3))),
	sp("Add", "broadcast both ways", at(14), args(x(2, 1, 4), x(3, 1))),
	sp("Add", "open batch", at(14), args(x(2, 3, 4).batched(), x(4))),
	sp("Add", "scalar and constant", at(14), args(x(), w(2, 3))),
	sp("Sum", "three operands", at(9, 13), args(x(2, 3), x(3), x(2, 1))),
	sp("Sum", "one operand", at(13), args(x(2, 3))),
	sp("Sub", "broadcast", at(9, 14), args(x(2, 3), x(3))),
	sp("Sub", "open batch", at(14), args(x(2, 3).batched(), x(1, 3))),
	sp("Mul", "broadcast", at(9, 14), args(x(2, 3), x(2, 1))),
	sp("Mul", "by a number", at(14), args(x(2, 3), num(0.7))),
	sp("Mul", "per channel, open batch", at(14), args(x(2, 3, 4).batched(), x(4))),
	sp("Mul", "by a constant that adds axes", at(14), args(x(3), w(1, 1, 1))),
	sp("Div", "broadcast", at(9, 14), args(x(2, 3), x(3).in(0.5, 2))),
	sp("Div", "by a number", at(14), args(x(2, 3), num(1.7))),
	sp("Div", "of a number", at(14), args(num(1.7), x(2, 3).in(0.5, 2))),
	sp("Pow", "square", at(9, 15), args(x(2, 3), num(2))),
	sp("Pow", "cube", at(15), args(x(2, 3), num(3))),
	sp("Pow", "root", at(15), args(x(2, 3).in(0.5, 2), num(0.5))),
	sp("Pow", "reciprocal root", at(15), args(x(2, 3).in(0.5, 2), num(-0.5))),
	sp("Pow", "exponents 0 and 1", at(15), args(x(2).in(0.5, 2), operand{tensor: graph.NewTensor([]int64{2}, []int64{0, 1})})),
	sp("Pow", "both operands", at(15), args(x(2, 3).in(0.5, 2), x(3))),
	sp("Mean", "three operands", at(9, 13), args(x(2, 3), x(3), x(2, 1))),
	sp("Max", "two operands", at(9, 13), args(x(2, 3), x(3))),
	sp("Max", "with a number", at(13), args(x(2, 3), num(0))),
	sp("Max", "three operands", at(13), args(x(2, 3), x(3), x(2, 1))),
	sp("Max", "one operand", at(13), args(x(2, 3))),
	sp("Min", "two operands", at(9, 13), args(x(2, 3), x(3))),
	sp("Min", "three operands", at(13), args(x(2, 3), x(3), x(2, 1))),
	sp("Where", "broadcast", at(9, 16), args(bools(true, false, true), x(2, 3), x(1))),
	sp("Where", "one branch constant", at(16), args(bools(true, false, true), x(2, 3), num(-9))),
	sp("Mod", "fmod", at(10, 13), args(x(2, 3).in(0.2, 0.9), num(1)), i("fmod", 1)),
	sp("PRelu", "slope per channel", at(9, 16), args(x(2, 3, 2), x(3, 1))),
	sp("Clip", "attributes", at(9), args(x(3, 3).in(-2, 2, -1, 0.5)), f("min", -1), f("max", 0.5)),
	sp("Clip", "operands", at(13), args(x(3, 3).in(-2, 2, -1, 0.5), num(-1), num(0.5))),
	sp("Clip", "below only", at(13), args(x(3, 3).in(-2, 2, -1), num(-1))),
	sp("Clip", "above only", at(13), args(x(3, 3).in(-2, 2, 0.5), none, num(0.5))),
	sp("Clip", "bounds differentiated", at(13), args(x(3, 3).in(-2, 2, -1, 1), x().in(-1, -1), x().in(1, 1))),
	sp("Clip", "no bounds", at(13), args(x(3, 3))),
}

var activationSpellings = []spelling{
	sp("Neg", "", at(9, 13), args(x(2, 3))),
	sp("Abs", "", at(13), args(x(2, 3))),
	sp("Sqrt", "", at(13), args(x(2, 3).in(0.5, 2))),
	sp("Reciprocal", "", at(13), args(x(2, 3).in(0.5, 2))),
	sp("Exp", "", at(13), args(x(2, 3))),
	sp("Log", "", at(13), args(x(2, 3).in(0.5, 2))),
	sp("Erf", "", at(9, 13), args(x(3, 4).in(-4, 4))),
	sp("Sin", "", at(9), args(x(2, 3))),
	sp("Cos", "", at(9), args(x(2, 3))),
	sp("Tanh", "", at(13), args(x(2, 3))),
	sp("Sigmoid", "", at(13), args(x(2, 3))),
	sp("Softplus", "", at(9), args(x(2, 3))),
	sp("Softsign", "", at(9), args(x(2, 3))),
	sp("Relu", "", at(9, 14), args(x(2, 3))),
	sp("LeakyRelu", "", at(9, 16), args(x(2, 3)), f("alpha", 0.2)),
	sp("Elu", "", at(9), args(x(2, 3)), f("alpha", 1.5)),
	sp("Celu", "", at(12), args(x(2, 3)), f("alpha", 1.5)).f32(),
	sp("Selu", "", at(9), args(x(2, 3))),
	sp("ThresholdedRelu", "", at(10), args(x(3, 3).in(-2, 2, 0.5)), f("alpha", 0.5)),
	sp("HardSigmoid", "", at(9), args(x(3, 4).in(-4, 4, -2.5, 2.5))),
	sp("HardSwish", "", at(14), args(x(3, 4).in(-5, 5, -3, 3))),
	sp("Mish", "", at(18), args(x(2, 3))),
	sp("Gelu", "exact", at(20), args(x(3, 4).in(-4, 4))),
	sp("Gelu", "tanh", at(20), args(x(3, 4).in(-4, 4)), str("approximate", "tanh")),
	sp("Swish", "", at(24), args(x(3, 4)), f("alpha", 1.5)),
	spelling{rule: "Sign", opsets: at(13), args: args(x(2, 3)), build: stepPlus("Sign")},
	spelling{rule: "Floor", opsets: at(13), args: args(x(2, 3).in(0.2, 0.8)), build: stepPlus("Floor")},
	spelling{rule: "Ceil", opsets: at(13), args: args(x(2, 3).in(0.2, 0.8)), build: stepPlus("Ceil")},
	spelling{rule: "Round", opsets: at(13), args: args(x(2, 3).in(0.6, 1.4)), build: stepPlus("Round")},
}

// noRegion is Resize's second operand, which older opsets demand.
var noRegion = operand{tensor: graph.NewTensor([]int64{0}, []float32{})}

// factors is a constant list of float32, as Resize takes them.
func factors(xs ...float32) operand {
	return operand{tensor: graph.NewTensor([]int64{int64(len(xs))}, append([]float32{}, xs...))}
}

// topK uses the values only.
func topK(attrs ...*graph.Attr) func(g *graph.Graph, in []*graph.Value) *graph.Value {
	return func(g *graph.Graph, in []*graph.Value) *graph.Value {
		n := g.NewNode("TopK", "topk")
		n.SetInputs(in...)
		for _, a := range attrs {
			n.SetAttr(a)
		}
		n.AddOutput("values")
		n.AddOutput("indices")
		return n.Output(0)
	}
}

// stepPlus is x + step(x), so that there is a gradient besides that of the
// step.
func stepPlus(op string) func(g *graph.Graph, in []*graph.Value) *graph.Value {
	return func(g *graph.Graph, in []*graph.Value) *graph.Value {
		return g.Add("Add", "plus", []*graph.Value{in[0], g.Add(op, op, in).Output(0)}).Output(0)
	}
}

var reductionSpellings = slices.Concat(
	reductions("ReduceSum", x(2, 3, 4)), reductions("ReduceMean", x(2, 3, 4)), reductions("ReduceMax", x(2, 3, 4)), reductions("ReduceMin", x(2, 3, 4)),
	reductions("ReduceL1", x(2, 3, 4)), reductions("ReduceL2", x(2, 3, 4)), reductions("ReduceSumSquare", x(2, 3, 4)),
	reductions("ReduceLogSum", x(2, 3, 4).in(0.5, 2)), reductions("ReduceLogSumExp", x(2, 3, 4)), reductions("ReduceProd", x(2, 3, 4).in(0.5, 1.5)),
	[]spelling{
		sp("ReduceMean", "over the batch", at(17), args(x(2, 3).batched()), is("axes", 0), i("keepdims", 0)),
		sp("Softmax", "flattened from axis 1", at(9, 11), args(x(2, 3, 2))),
		sp("Softmax", "flattened from the last axis", at(11), args(x(2, 3, 2)), i("axis", -1)),
		sp("Softmax", "last axis", at(13), args(x(2, 3, 4).batched())),
		sp("Softmax", "middle axis", at(13), args(x(2, 3, 4)), i("axis", -2)),
		sp("LogSoftmax", "flattened from axis 1", at(9, 11), args(x(2, 3, 2))),
		sp("LogSoftmax", "last axis", at(13), args(x(2, 3, 4).batched())),
		sp("LogSoftmax", "first axis", at(13), args(x(2, 3)), i("axis", 0)),
	})

// reductions are the ways to say which axes.
func reductions(op string, x operand) []spelling {
	input := int64(18)
	if op == "ReduceSum" {
		input = 13
	}
	return []spelling{
		sp(op, "all axes", at(9, 17), args(x)),
		sp(op, "axes as attribute", at(11), args(x), is("axes", 1, 2), i("keepdims", 0)),
		sp(op, "negative axis as attribute", at(11), args(x), is("axes", -1)),
		sp(op, "axes as operand", at(input, 20), args(x, ints(-1, 0)), i("keepdims", 0)),
		sp(op, "axis as operand, kept, open batch", at(input), args(x.batched(), ints(1))),
		sp(op, "no axes mean all", at(input), args(x)),
		sp(op, "no axes mean none", at(input), args(x), i("noop_with_empty_axes", 1)),
	}
}

var normSpellings = []spelling{
	sp("LayerNormalization", "last axis, open batch", at(17), args(x(2, 3, 5).batched(), x(5), x(5))),
	sp("LayerNormalization", "two axes", at(17), args(x(2, 3, 4), x(3, 4), x(3, 4)), i("axis", -2), f("epsilon", 0.1)),
	sp("LayerNormalization", "no shift", at(17), args(x(2, 5), w(5)), i("axis", 1)),
	sp("LayerNormalization", "before opset 17", at(11), args(x(2, 5), w(5), w(5))),
	sp("RMSNormalization", "", at(23), args(x(2, 3, 5).batched(), x(5))),
	sp("SimplifiedLayerNormalization", "", at(13), args(x(2, 3, 5), x(5))),
	sp("InstanceNormalization", "", at(9), args(x(2, 3, 5).batched(), x(3), x(3))),
	sp("InstanceNormalization", "images", at(9), args(x(2, 3, 2, 3), w(3), w(3)), f("epsilon", 0.1)),
	sp("GroupNormalization", "scale per group", at(18), args(x(2, 4, 3), w(2), w(2)), i("num_groups", 2)),
	sp("GroupNormalization", "scale per channel", at(21), args(x(2, 4, 3).batched(), w(4), w(4)), i("num_groups", 2)).f32(),
	sp("BatchNormalization", "", at(9, 15), args(x(2, 3, 4).batched(), w(3), w(3), w(3), w(3).in(0.5, 2))),
	sp("LpNormalization", "2-norm", at(9), args(x(2, 4))),
	sp("LpNormalization", "1-norm of the first axis", at(9), args(x(3, 4)), i("p", 1), i("axis", 0)),
	sp("MeanVarianceNormalization", "", at(9, 13), args(x(2, 3, 2, 2))).f32(),
}

var productSpellings = []spelling{
	sp("MatMul", "matrices", at(9, 13), args(x(2, 3), x(3, 4))),
	sp("MatMul", "weight", at(9, 13), args(x(2, 3, 4).batched(), x(4, 2))),
	sp("MatMul", "weight on the left", at(13), args(x(2, 3), x(2, 3, 4).batched())),
	sp("MatMul", "batched", at(13), args(x(2, 2, 3, 4).batched(), x(2, 2, 4, 2).batched())),
	sp("MatMul", "broadcast batch", at(9, 13), args(x(2, 1, 3, 2), x(3, 2, 2))),
	sp("MatMul", "vector times matrix", at(13), args(x(3), x(3, 2))),
	sp("MatMul", "vector times batch", at(13), args(x(3), x(2, 3, 2))),
	sp("MatMul", "matrix times vector", at(13), args(x(2, 3), x(3))),
	sp("MatMul", "batch times vector", at(13), args(x(2, 2, 3), x(3))),
	sp("MatMul", "vectors", at(13), args(x(3), x(3))),
	sp("Gemm", "plain", at(9, 13), args(x(2, 3).batched(), x(3, 4), x(4))),
	sp("Gemm", "transposed, scaled", at(9, 13), args(x(3, 2), x(4, 3), x(2, 1)), i("transA", 1), i("transB", 1), f("alpha", 0.5), f("beta", 2)),
	sp("Gemm", "transB, no C", at(13), args(x(2, 3), x(4, 3)), i("transB", 1)),
	sp("Gemm", "transA, scalar C", at(13), args(x(3, 2), x(3, 4), x()), i("transA", 1), f("beta", 0.5)),
	sp("Einsum", "product", at(12), args(x(2, 3).batched(), x(3, 4)), str("equation", "ij, jk -> ik")),
	sp("Einsum", "attention scores", at(12), args(x(2, 3, 2, 2).batched(), x(2, 3, 2, 2).batched()), str("equation", "bnhd,bmhd->bhnm")),
	sp("Einsum", "summed index, implicit result", at(12), args(x(2, 3), x(3, 2)), str("equation", "ab,bc")),
	sp("Einsum", "index that one operand has", at(12), args(x(2, 3, 2), x(2)), str("equation", "abc,a->a")),
}

var layoutSpellings = []spelling{
	sp("Identity", "", at(9), args(x(2, 3))),
	sp("Dropout", "at inference", at(9, 13), args(x(2, 3))),
	spelling{rule: "Cast", what: "to float64 and back", opsets: at(9, 13), args: args(x(2, 3)), single: true, build: func(g *graph.Graph, in []*graph.Value) *graph.Value {
		v := g.Add("Cast", "up", in, i("to", int64(graph.Float64))).Output(0)
		return g.Add("Cast", "down", []*graph.Value{g.Add("Mul", "square", []*graph.Value{v, v}).Output(0)}, i("to", int64(graph.Float32))).Output(0)
	}},
	sp("Reshape", "open batch", at(9, 14), args(x(2, 3, 4).batched(), ints(0, -1, 2))),
	sp("Squeeze", "axes as attribute", at(9, 11), args(x(2, 1, 3)), is("axes", 1)),
	sp("Squeeze", "axes as operand", at(13), args(x(2, 1, 3).batched(), ints(-2))),
	sp("Unsqueeze", "axes as attribute", at(11), args(x(2, 3)), is("axes", 0, 2)),
	sp("Unsqueeze", "axes as operand", at(13), args(x(2, 3), ints(-1))),
	sp("Flatten", "", at(9, 13), args(x(2, 3, 2).batched())),
	sp("Transpose", "", at(9, 13), args(x(2, 3, 4).batched()), is("perm", 1, 2, 0)),
	sp("Transpose", "reversed", at(13), args(x(2, 3, 4))),
	sp("Expand", "", at(9, 13), args(x(2, 1), ints(3, 1, 4))),
	sp("Tile", "", at(9, 13), args(x(2, 3), ints(2, 2))),
	sp("Concat", "", at(9, 13), args(x(2, 3), x(2, 1), w(2, 2)), i("axis", 1)),
	sp("Concat", "negative axis, open batch", at(13), args(x(2, 3).batched(), x(2, 1).batched()), i("axis", -1)),
	spelling{rule: "Split", what: "even", opsets: at(11), args: args(x(2, 6)), build: outputs("Split", 3, attrs(i("axis", -1)), 0, 1, 2)},
	spelling{rule: "Split", what: "sizes as attribute, one part unused", opsets: at(9, 11), args: args(x(6, 2)), build: outputs("Split", 3, attrs(i("axis", 0), is("split", 1, 2, 3)), 0, 2)},
	spelling{rule: "Split", what: "sizes as operand", opsets: at(13), args: args(x(2, 6).batched(), ints(1, 3, 2)), build: outputs("Split", 3, attrs(i("axis", 1)), 1, 2)},
	sp("Pad", "attribute", at(9), args(x(2, 3)), is("pads", 1, 0, 0, 2), f("value", 1.5)),
	sp("Pad", "operand, cropping", at(13), args(x(2, 3).batched(), ints(0, -1, 0, 2), num(1.5))),
	sp("Pad", "some axes", at(18), args(x(2, 3), ints(1, 2), num(0), ints(-1))),
	sp("Slice", "attributes", at(9), args(x(3, 4)), is("axes", 0, 1), is("starts", 1, -3), is("ends", 100, -1)),
	sp("Slice", "one axis", at(11), args(x(2, 5).batched(), ints(1), ints(3), ints(-1))),
	sp("Slice", "two axes, steps", at(13), args(x(4, 5), ints(3, 0), ints(-100, 5), ints(0, 1), ints(-2, 2))),
	sp("Slice", "no axes", at(13), args(x(3, 4), ints(0, 1), ints(9, 3))),
	sp("Slice", "everything", at(13), args(x(3, 4), ints(0), ints(9))),
	sp("Gather", "one index", at(9, 13), args(x(2, 3, 2).batched(), scalarInt(-1)), i("axis", 1)),
	sp("Gather", "following indices", at(13), args(x(2, 4), ints(1, 2)), i("axis", -1)),
	sp("Gather", "permutation", at(13), args(x(3, 2), ints(2, 0, -2)), i("axis", 0)),
	sp("Gather", "some, in a matrix", at(9, 13), args(x(5, 2), ints(3, 0, 1, 4).shaped(2, 2)), i("axis", 0)),
	sp("Gather", "repeated", at(9, 13), args(x(2, 3), ints(2, 0, -1)), i("axis", 1)),
	sp("Gather", "at run time", at(13), args(x(3, 4), ints(2, 0, -1, 2).shaped(2, 2).fedBy()), i("axis", 1)),
	sp("GatherElements", "", at(16), args(x(2, 3), ints(2, 0, -1, 2).shaped(2, 2)), i("axis", 1)),
	sp("ScatterElements", "", at(11, 16), args(x(2, 3), ints(2, 0, -1, 1).shaped(2, 2), x(2, 2)), i("axis", 1)),
	sp("ScatterElements", "added", at(16), args(x(3, 2), ints(2, 0, 2, 1).shaped(2, 2), x(2, 2)), str("reduction", "add")),
	sp("ScatterND", "", at(11, 16), args(x(3, 2, 2), ints(2, 0).shaped(2, 1), x(2, 2, 2))),
	sp("ScatterND", "added, open batch", at(16), args(x(2, 3).batched(), ints(0, 1, 0, 1).shaped(2, 2), x(2)), str("reduction", "add")),
	spelling{rule: "TopK", what: "values", opsets: at(11), args: args(x(2, 5).batched(), ints(3)), build: topK(graph.Int("axis", -1))},
	spelling{rule: "TopK", what: "smallest along the first axis", opsets: at(11), args: args(x(4, 2), ints(2)), build: topK(graph.Int("axis", 0), graph.Int("largest", 0))},
	sp("Trilu", "upper", at(14), args(x(2, 3, 4).batched())),
	sp("Trilu", "lower, shifted", at(14), args(x(3, 3), scalarInt(1)), i("upper", 0)),
	sp("CumSum", "", at(11, 14), args(x(2, 4).batched(), scalarInt(1))),
	sp("CumSum", "exclusive, from the end", at(14), args(x(4, 2), scalarInt(-2)), i("exclusive", 1), i("reverse", 1)),
	sp("CastLike", "", at(15), args(x(2, 3), w(1))),
	sp("SpaceToDepth", "", at(9, 13), args(x(2, 2, 4, 6).batched()), i("blocksize", 2)).f32(),
	sp("DepthToSpace", "", at(9, 13), args(x(2, 8, 2, 3).batched()), i("blocksize", 2)).f32(),
	sp("DepthToSpace", "channels first", at(11, 13), args(x(2, 8, 2, 3).batched()), i("blocksize", 2), str("mode", "CRD")).f32(),
	sp("Resize", "nearest, factors", at(11, 13), args(x(1, 2, 2, 3).batched(), noRegion, factors(1, 1, 2, 1.5))).f32(),
	sp("Resize", "linear, sizes", at(11, 13), args(x(1, 2, 3, 4), noRegion, factors(), ints(1, 2, 5, 3)), str("mode", "linear")).f32(),
	sp("Resize", "linear, corners aligned", at(13), args(x(1, 1, 3, 3), none, factors(1, 1, 2, 3)), str("mode", "linear"), str("coordinate_transformation_mode", "align_corners")).f32(),
	sp("Resize", "cubic", at(13), args(x(1, 2, 3, 4), none, none, ints(1, 2, 6, 8)), str("mode", "cubic")).f32(),
	sp("Resize", "antialiased, some axes", at(18), args(x(1, 2, 6, 4), none, none, ints(3, 2)), str("mode", "linear"), i("antialias", 1), is("axes", -2, -1)).f32(),
	sp("Pad", "reflected", at(11, 18), args(x(2, 4), ints(0, 2, 0, 3)), str("mode", "reflect")),
	sp("Pad", "edge", at(13), args(x(3, 2).batched(), ints(0, 1, 0, 2)), str("mode", "edge")),
	sp("Pad", "wrapped", at(19), args(x(2, 3), ints(1, 2, 0, 1)), str("mode", "wrap")),
	sp("GatherND", "", at(16), args(x(2, 3, 2), ints(1, 2, 1, 2, 0, 0).shaped(3, 2))),
}

var imageSpellings = []spelling{
	sp("Conv", "one by one", at(11), args(x(2, 3, 2, 2).batched(), w(4, 3, 1, 1), x(4))),
	sp("Conv", "stride, uneven pads", at(11), args(x(1, 2, 6, 5), w(3, 2, 3, 2)), is("strides", 2, 2), is("pads", 1, 0, 0, 1)),
	sp("Conv", "depthwise, dilated", at(11), args(x(1, 2, 5, 5), w(2, 1, 2, 2)), i("group", 2), is("dilations", 2, 1)),
	sp("Conv", "same size", at(11), args(x(1, 2, 5), w(2, 2, 3), w(2)), str("auto_pad", "SAME_UPPER")),
	sp("Conv", "same size, padded in front, stride", at(11), args(x(1, 2, 6), w(2, 2, 3)), str("auto_pad", "SAME_LOWER"), is("strides", 2)),
	sp("Conv", "last rows not reached", at(11), args(x(1, 1, 8), w(2, 1, 2)), is("strides", 3)),
	sp("ConvTranspose", "stride, pads, bias", at(11), args(x(2, 3, 3, 2).batched(), w(3, 2, 3, 2), x(2)), is("strides", 2, 1), is("pads", 1, 0, 1, 1)),
	sp("ConvTranspose", "groups, dilated, padded output", at(11), args(x(1, 4, 3, 3), w(4, 1, 2, 2)), i("group", 2), is("dilations", 2, 1), is("strides", 2, 2), is("output_padding", 1, 0)),
	sp("AveragePool", "pads not counted", at(11), args(x(2, 2, 5, 4).batched()), is("kernel_shape", 3, 2), is("strides", 2, 1), is("pads", 1, 0, 1, 1)),
	sp("AveragePool", "pads counted", at(11), args(x(1, 2, 4, 4)), is("kernel_shape", 2, 2), is("pads", 1, 1, 1, 1), i("count_include_pad", 1)),
	sp("AveragePool", "rounded up in vain", at(11), args(x(1, 2, 4, 4)), is("kernel_shape", 2, 2), is("strides", 2, 2), i("ceil_mode", 1)),
	sp("MaxPool", "overlapping", at(16), args(x(1, 2, 4, 4)), is("kernel_shape", 3, 3), is("pads", 1, 1, 1, 1)),
	sp("GlobalAveragePool", "", at(9), args(x(2, 3, 2, 2).batched())),
	sp("GlobalMaxPool", "", at(9), args(x(2, 3, 2, 2).batched())),
	sp("Col2Im", "overlapping", at(18), args(x(2, 12, 6).batched(), ints(5, 4), ints(2, 3)), is("strides", 2, 1), is("pads", 0, 0, 1, 0)),
	sp("Col2Im", "dilated", at(18), args(x(1, 4, 6), ints(4, 5), ints(2, 2)), is("dilations", 2, 2)),
}

const ms = "com.microsoft."

var contribSpellings = []spelling{
	sp(ms+"FusedMatMul", "both transposed", at(13), args(x(2, 4, 3), x(2, 2, 4)), i("transA", 1), i("transB", 1), f("alpha", 0.5)),
	sp(ms+"FusedMatMul", "transB", at(13), args(x(2, 3, 4).batched(), x(2, 4)), i("transB", 1)),
	sp(ms+"FusedMatMul", "transA", at(13), args(x(2, 4, 3), x(2, 4, 2)), i("transA", 1)),
	sp(ms+"Gelu", "", at(13), args(x(2, 3))),
	sp(ms+"BiasGelu", "", at(13), args(x(2, 3), x(3))),
	sp(ms+"FastGelu", "", at(13), args(x(2, 3))).f32(),
	sp(ms+"FastGelu", "bias", at(13), args(x(2, 3), x(3))).f32(),
	sp(ms+"QuickGelu", "", at(13), args(x(2, 3))).f32(),
	spelling{rule: ms + "SkipLayerNormalization", what: "with the sum", opsets: at(13), args: args(x(2, 3, 4), x(2, 3, 4), w(4), w(4), x(4)), build: skipNorm("SkipLayerNormalization"), single: true},
	sp(ms+"SkipLayerNormalization", "no bias", at(13), args(x(2, 3, 4), x(2, 3, 4), w(4), w(4))).f32(),
	spelling{rule: ms + "SkipSimplifiedLayerNormalization", what: "with the sum", opsets: at(13), args: args(x(2, 3, 4), x(2, 3, 4), w(4), x(4)), build: skipNorm("SkipSimplifiedLayerNormalization"), single: true},
}

// skipNorm uses the norm and the sum.
func skipNorm(op string) func(g *graph.Graph, in []*graph.Value) *graph.Value {
	return func(g *graph.Graph, in []*graph.Value) *graph.Value {
		n := g.NewNode(op, op)
		n.Domain = "com.microsoft"
		n.SetInputs(in...)
		for _, name := range []string{"norm", "", "", "sum"} {
			n.AddOutput(name)
		}
		return g.Add("Mul", "both", []*graph.Value{n.Output(0), n.Output(3)}).Output(0)
	}
}

func (s spelling) problem(opset int64, elem graph.DType, seed uint64) *problem {
	p := newProblem(opset, elem, seed)
	var in []*graph.Value
	for _, a := range s.args {
		in = append(in, p.add(a))
	}
	for len(in) > 0 && in[len(in)-1] == nil {
		in = in[:len(in)-1]
	}
	if s.build != nil {
		p.y = s.build(p.m.Graph, in)
		return p
	}
	op, domain := s.rule, ""
	if k := strings.LastIndex(op, "."); k >= 0 {
		domain, op = op[:k], op[k+1:]
	}
	n := p.m.Graph.Add(op, "node", in, s.attrs...)
	n.Domain = domain
	p.y = n.Output(0)
	return p
}

// TestRules holds every rule to finite differences of what ONNX Runtime
// computes, in float64 where it has kernels for that. The table it prints is
// kept in testdata/rules.md.
func TestRules(t *testing.T) {
	type row struct {
		cases int
		worst map[graph.DType]float64
	}
	rows := map[string]*row{}
	for _, s := range spellings {
		r := rows[s.rule]
		if r == nil {
			r = &row{worst: map[graph.DType]float64{}}
			rows[s.rule] = r
		}
		for _, opset := range s.opsets {
			t.Run(fmt.Sprintf("%s/%s/%d", s.rule, s.what, opset), func(t *testing.T) {
				for seed := range uint64(3) {
					elem, worst, err := graph.Float64, 0.0, errors.New("not tried")
					if !s.single {
						worst, err = s.problem(opset, elem, seed).check(t, Options{})
					}
					if s.single || unimplemented(err) {
						elem = graph.Float32
						worst, err = s.problem(opset, elem, seed).check(t, Options{})
					}
					if err != nil {
						t.Fatal(err)
					}
					r.worst[elem] = max(r.worst[elem], worst)
					r.cases++
				}
			})
		}
	}
	var b bytes.Buffer
	fmt.Fprintln(&b, "# Gradients against finite differences")
	fmt.Fprintln(&b)
	fmt.Fprintln(&b, "Largest difference between a gradient and fourth-order central differences of what ONNX Runtime computes, relative to the largest")
	fmt.Fprintln(&b, "element of the gradient. Operators without float64 kernels are tested in float32, where rounding alone makes about 1e-5.")
	fmt.Fprintln(&b, "Written by `go test ./internal/grad -run TestRules -update`.")
	fmt.Fprintln(&b)
	fmt.Fprintln(&b, "| operator | cases | f64 | f32 |")
	fmt.Fprintln(&b, "|---|---|---|---|")
	var names []string
	for name := range rules {
		names = append(names, name)
	}
	slices.Sort(names)
	cell := func(r *row, e graph.DType) string {
		if d, ok := r.worst[e]; ok {
			return fmt.Sprintf("%.0e", d)
		}
		return ""
	}
	for _, name := range names {
		r := rows[name]
		if r == nil || r.cases == 0 {
			t.Errorf("no case of the rule for %s was checked", name)
			continue
		}
		fmt.Fprintf(&b, "| %s | %d | %s | %s |\n", name, r.cases, cell(r, graph.Float64), cell(r, graph.Float32))
	}
	t.Log("\n" + b.String())
	if *update && !t.Failed() {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("testdata/rules.md", b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
