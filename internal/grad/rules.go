package grad

import "nuwa/graph"

// rules is the table of everything that can be differentiated: operator, with
// its domain where that is not ONNX's own, to rule.
var rules = map[string]rule{
	// Element by element, with broadcasting.
	"Add": addRule, "Sum": addRule, "Sub": subRule, "Mul": mulRule, "Div": divRule, "Pow": powRule, "Mean": meanRule,
	"Max": extremeRule("Less"), "Min": extremeRule("Greater"), "Where": whereRule, "Mod": modRule, "PRelu": preluRule, "Clip": clipRule,

	// Element by element, one operand.
	"Neg": negRule, "Abs": absRule, "Sqrt": sqrtRule, "Reciprocal": reciprocalRule, "Exp": expRule, "Log": logRule, "Erf": erfRule,
	"Sin": sinRule, "Cos": cosRule, "Tanh": tanhRule, "Sigmoid": sigmoidRule, "Softplus": softplusRule, "Softsign": softsignRule,
	"Relu": reluRule, "LeakyRelu": leakyReluRule, "Elu": eluRule, "Celu": celuRule, "Selu": seluRule, "ThresholdedRelu": thresholdedReluRule,
	"HardSigmoid": hardSigmoidRule, "HardSwish": hardSwishRule, "Mish": mishRule, "Swish": swishRule(1), "Gelu": geluRule,
	"Sign": zeroRule, "Floor": zeroRule, "Ceil": zeroRule, "Round": zeroRule,

	// Reductions.
	"ReduceSum": reduceSumRule, "ReduceMean": reduceMeanRule, "ReduceMax": extremumRule("Less"), "ReduceMin": extremumRule("Greater"),
	"ReduceL1": reduceL1Rule, "ReduceL2": reduceL2Rule, "ReduceSumSquare": reduceSumSquareRule, "ReduceLogSum": reduceLogSumRule,
	"ReduceLogSumExp": reduceLogSumExpRule, "ReduceProd": reduceProdRule, "Softmax": softmaxRule, "LogSoftmax": logSoftmaxRule,

	// Normalizations.
	"LayerNormalization": layerNormRule(true), "RMSNormalization": layerNormRule(false), "SimplifiedLayerNormalization": layerNormRule(false),
	"InstanceNormalization": instanceNormRule, "GroupNormalization": groupNormRule, "BatchNormalization": batchNormRule,
	"LpNormalization": lpNormRule, "MeanVarianceNormalization": meanVarianceRule,

	// Products.
	"MatMul": matMulRule, "Gemm": gemmRule, "Einsum": einsumRule,

	// Images.
	"Conv": convRule, "ConvTranspose": convTransposeRule, "AveragePool": averagePoolRule, "MaxPool": maxPoolRule,
	"GlobalAveragePool": globalAverageRule, "GlobalMaxPool": globalMaxRule, "Col2Im": col2ImRule,

	// Layout.
	"Identity": identityRule, "Dropout": dropoutRule, "Cast": castRule, "Reshape": backShape, "Squeeze": backShape, "Unsqueeze": backShape,
	"Flatten": backShape, "Transpose": transposeRule, "Expand": expandRule, "Tile": tileRule, "Concat": concatRule, "Split": splitRule,
	"Pad": padRule, "Slice": sliceRule, "Gather": gatherRule, "GatherElements": gatherElementsRule, "GatherND": gatherNDRule,
	"ScatterElements": scatterRule("GatherElements"), "ScatterND": scatterRule("GatherND"), "TopK": topKRule, "Trilu": triluRule, "CumSum": cumSumRule,
	"CastLike": castLikeRule, "SpaceToDepth": spaceToDepthRule, "DepthToSpace": depthToSpaceRule, "Resize": resizeRule,

	// ONNX Runtime's own.
	"com.microsoft.FusedMatMul": fusedMatMulRule, "com.microsoft.Gelu": geluRule, "com.microsoft.BiasGelu": biasGeluRule,
	"com.microsoft.FastGelu": fastGeluRule, "com.microsoft.QuickGelu": swishRule(1.702),
	"com.microsoft.SkipLayerNormalization": skipLayerNormRule(true), "com.microsoft.SkipSimplifiedLayerNormalization": skipLayerNormRule(false),
}

// opName is how rules names the operator of n.
func opName(n *graph.Node) string {
	if n.Domain == "" || n.Domain == "ai.onnx" {
		return n.Op
	}
	return n.Domain + "." + n.Op
}
