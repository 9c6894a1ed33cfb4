package opset

import (
	"fmt"

	"nuwa/graph"
)

// introduced are the operators that are younger than opset 11.
var introduced = map[string]int64{
	"Celu": 12, "Einsum": 12, "GreaterOrEqual": 12, "LessOrEqual": 12, "NegativeLogLikelihoodLoss": 12, "SoftmaxCrossEntropyLoss": 12,
	"HardSwish": 14, "Trilu": 14,
	"Bernoulli": 15, "CastLike": 15, "Optional": 15, "OptionalGetElement": 15, "OptionalHasElement": 15,
	"GridSample":     16,
	"BlackmanWindow": 17, "DFT": 17, "HammingWindow": 17, "HannWindow": 17, "LayerNormalization": 17, "MelWeightMatrix": 17, "STFT": 17, "SequenceMap": 17,
	"BitwiseAnd": 18, "BitwiseNot": 18, "BitwiseOr": 18, "BitwiseXor": 18, "CenterCropPad": 18, "Col2Im": 18, "GroupNormalization": 18, "Mish": 18,
	"DeformConv": 19,
	"AffineGrid": 20, "Gelu": 20, "ImageDecoder": 20, "RegexFullMatch": 20, "StringConcat": 20, "StringSplit": 20,
	"Attention": 23, "RMSNormalization": 23, "RotaryEmbedding": 23,
	"Swish": 24, "TensorScatter": 24,
	"BitCast": 26, "CumProd": 26,
}

// changes are those that are more than new element types, oldest first.
var changes = []change{
	{"Slice", 10, sliceUp, nil},
	{"TopK", 10, topKUp, nil},
	{"Resize", 11, resizeUp, nil},
	{"Clip", 11, clipUp, nil},
	{"Pad", 11, padUp, nil},
	{"ArgMax", 12, nil, only("select_last_index", 0)},
	{"ArgMin", 12, nil, only("select_last_index", 0)},
	{"GatherND", 12, nil, only("batch_dims", 0)},
	{"Dropout", 12, dropoutUp, dropoutDown},
	{"Softmax", 13, softmaxUp, softmaxDown},
	{"LogSoftmax", 13, softmaxUp, softmaxDown},
	{"Hardmax", 13, softmaxUp, softmaxDown},
	{"Squeeze", 13, toOperand("axes"), toAttribute("axes")},
	{"Unsqueeze", 13, toOperand("axes"), toAttribute("axes")},
	{"Split", 13, toOperand("split"), toAttribute("split")},
	{"ReduceSum", 13, toOperand("axes"), toAttribute("axes")},
	{"Resize", 13, nil, resizeDown},
	{"Reshape", 14, nil, only("allowzero", 0)},
	{"BatchNormalization", 14, batchNorm, batchNorm},
	{"Shape", 15, nil, shapeDown},
	{"ScatterElements", 16, nil, named("reduction", "none")},
	{"ScatterND", 16, nil, named("reduction", "none")},
	{"ReduceL1", 18, toOperand("axes"), toAttribute("axes")},
	{"ReduceL2", 18, toOperand("axes"), toAttribute("axes")},
	{"ReduceLogSum", 18, toOperand("axes"), toAttribute("axes")},
	{"ReduceLogSumExp", 18, toOperand("axes"), toAttribute("axes")},
	{"ReduceMax", 18, toOperand("axes"), toAttribute("axes")},
	{"ReduceMean", 18, toOperand("axes"), toAttribute("axes")},
	{"ReduceMin", 18, toOperand("axes"), toAttribute("axes")},
	{"ReduceProd", 18, toOperand("axes"), toAttribute("axes")},
	{"ReduceSumSquare", 18, toOperand("axes"), toAttribute("axes")},
	{"Split", 18, splitUp, splitDown},
	{"Pad", 18, nil, padDown},
	{"Resize", 18, nil, all(only("antialias", 0), named("keep_aspect_ratio_policy", "stretch"), without("axes"))},
	{"ScatterElements", 18, nil, oneOf("reduction", "none", "add", "mul")},
	{"ScatterND", 18, nil, oneOf("reduction", "none", "add", "mul")},
	{"Cast", 19, nil, only("saturate", 1)},
	{"QuantizeLinear", 19, nil, only("saturate", 1)},
	{"AveragePool", 19, nil, without("dilations")},
	{"Pad", 19, nil, oneOf("mode", "constant", "reflect", "edge")},
	{"GridSample", 20, renamed("mode", "bilinear", "linear", "bicubic", "cubic"), renamed("mode", "linear", "bilinear", "cubic", "bicubic")},
	{"QuantizeLinear", 21, nil, all(only("block_size", 0), only("output_dtype", 0))},
	{"DequantizeLinear", 21, nil, only("block_size", 0)},
	{"GroupNormalization", 21, never("its scale is one per channel instead of one per group from opset 21 on"), never("its scale is one per group instead of one per channel before opset 21")},
	{"QuantizeLinear", 23, nil, only("precision", 0)},
	{"DequantizeLinear", 23, nil, only("output_dtype", 0)},
	{"Cast", 24, nil, without("round_mode")},
}

// all applies several rules.
func all(rules ...rule) rule {
	return func(c *converter, n *graph.Node) string {
		for _, f := range rules {
			if reason := f(c, n); reason != "" {
				return reason
			}
		}
		return ""
	}
}

func never(reason string) rule { return func(*converter, *graph.Node) string { return reason } }

// only drops an integer attribute that may have no other value.
func only(attr string, value int64) rule {
	return func(_ *converter, n *graph.Node) string {
		if x := n.IntAttr(attr, value); x != value {
			return fmt.Sprintf("%s is %d", attr, x)
		}
		n.RemoveAttr(attr)
		return ""
	}
}

// named drops an attribute that may have no other value.
func named(attr, value string) rule {
	return func(_ *converter, n *graph.Node) string {
		if x := n.StringAttr(attr, value); x != value {
			return fmt.Sprintf("%s is %q", attr, x)
		}
		n.RemoveAttr(attr)
		return ""
	}
}

// oneOf keeps an attribute that may have some values, the first by default.
func oneOf(attr string, values ...string) rule {
	return func(_ *converter, n *graph.Node) string {
		x := n.StringAttr(attr, values[0])
		for _, v := range values {
			if x == v {
				return ""
			}
		}
		return fmt.Sprintf("%s is %q", attr, x)
	}
}

func without(attr string) rule {
	return func(_ *converter, n *graph.Node) string {
		if n.Attr(attr) != nil {
			return "it has " + attr
		}
		return ""
	}
}

// renamed gives a value of an attribute its other name, from pairs of old and
// new.
func renamed(attr string, pairs ...string) rule {
	return func(_ *converter, n *graph.Node) string {
		for i := 0; i < len(pairs); i += 2 {
			if n.StringAttr(attr, "") == pairs[i] {
				n.SetAttr(graph.Str(attr, pairs[i+1]))
				break
			}
		}
		return ""
	}
}

// toOperand makes the last operand of a list attribute.
func toOperand(attr string) rule {
	return func(c *converter, n *graph.Node) string {
		if xs, ok := n.IntsAttr(attr); ok {
			n.RemoveAttr(attr)
			n.SetInput(1, c.ints(n.Output(0).Name()+"_"+attr, xs...))
		}
		return ""
	}
}

// toAttribute makes an attribute of the last operand, a constant list. An empty
// one means the same as none, unless noop_with_empty_axes says that nothing is
// reduced then.
func toAttribute(attr string) rule {
	return func(c *converter, n *graph.Node) string {
		xs, ok := constInts(n, 1)
		if n.Input(1) != nil && !ok {
			return attr + " is computed"
		}
		noop := n.IntAttr("noop_with_empty_axes", 0) != 0
		if noop && len(xs) == 0 {
			return "it reduces nothing where axes is empty"
		}
		n.RemoveAttr("noop_with_empty_axes")
		drop(n, 1)
		if len(xs) > 0 {
			n.SetAttr(graph.Ints(attr, xs...))
		}
		return ""
	}
}
