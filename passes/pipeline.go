package passes

import "slices"

// Pipeline is everything that derives a slim model, in order. Its parts may run
// one after the other on the same State, or, from Fork on, on several.
var Pipeline = slices.Concat(Cleaning, Anchoring, Learning, Slimming, Finishing)

// Cleaning are the passes that make a model readable without changing what it
// computes.
var Cleaning = []Pass{
	{Name: "inline", Doc: "replace calls of the model's own functions by their bodies", Effect: Exact, Run: runInline},
	{Name: "inputs", Doc: "make initializers that are listed as inputs constants", Effect: Exact, Run: runInputs},
	{Name: "constants", Doc: "turn Constant nodes into initializers and bypass plain identities", Effect: Exact, Run: runConstants, After: []Order{
		{"inline", "the bodies of functions hold Constant nodes"}}},
	{Name: "finite", Doc: "refuse weights that hold NaN or infinity", Effect: Reads, Run: runFinite, After: []Order{
		{"constants", "a bad weight is named before it has spread by folding"}}},
	{Name: "fold", Doc: "compute what depends on constants only", Effect: Exact, Run: runFold, After: []Order{
		{"inputs", "a default that callers may override cannot be folded"},
		{"constants", "an operand is constant only as an initializer"},
		{"finite", "a weight is named by its own name, not by what is computed from it"}}},
	{Name: "freeze", Doc: "make constants of shape arithmetic, or compute it from the batch of an input", Effect: Exact, Run: runFreeze, After: []Order{
		{"fold", "what is mixed with shapes must be constants, not computed from them"}}},
	{Name: "expand", Doc: "spell fused operators in plain ones", Effect: Exact, Dispensable: true, Run: runExpand, After: []Order{
		{"freeze", "some forms are exact only for masks that are constant"}}},
	{Name: "maps", Doc: "fold batch norms into the linear maps before them, and give hidden layers maps of their own", Effect: Exact, Run: runMaps, After: []Order{
		{"freeze", "the shapes between the two must be constants"},
		{"expand", "a fused convolution is one to fold into as well"}}},
	{Name: "identities", Doc: "bypass operators that do nothing", Effect: Exact, Run: runIdentities, After: []Order{
		{"freeze", "a target that is computed is a reader of its own; frozen, its chain can be cut short"},
		{"expand", "what was fused may begin or end with an operator that does nothing"}}},
	{Name: "duplicates", Doc: "merge equal constants", Effect: Exact, Run: runDuplicates, After: []Order{
		{"freeze", "freezing makes many copies of the same target"}}},
	{Name: "structure", Doc: "find attention, hidden layers and classifier", Effect: Reads, Run: runStructure, After: []Order{
		{"freeze", "a layout can be followed only through constant targets"},
		{"expand", "attention can be followed only where it is spelled out"},
		{"identities", "a bypass in the way hides what reads a value"}}},
}

// Anchoring are the passes that only remove what hurts the wanted classes, once
// a model is clean.
var Anchoring = []Pass{
	{Name: "require", Doc: "refuse a model that is no Vision Transformer", Effect: Reads, Run: runRequire, After: []Order{
		{"structure", "attention is looked for there"}}},
	{Name: "purify", Doc: "remove hidden neurons that hurt the wanted classes", Effect: Approximate, Run: runPurify, After: []Order{
		{"structure", "hidden layers must be known"}}},
}

// Learning are the passes that find out about an anchored model what every size
// of the same task needs to know.
var Learning = []Pass{
	{Name: "others", Doc: "find out what a logit for all other classes should be", Effect: Reads, Run: runOthers, After: []Order{
		{"structure", "the classifier must be known"},
		{"purify", "the targets are those of the model that is slimmed"}}},
	{Name: "focus", Doc: "keep the wanted classes", Effect: Approximate, Signature: true, Run: runFocus, After: []Order{
		{"structure", "the classifier must be known"},
		{"others", "the logits of the other classes go"},
		{"purify", "a loss over all classes needs all logits"}}},
	{Name: "tokens", Doc: "compute the last block only for the tokens that the output reads", Effect: Exact, Run: runTokens, After: []Order{
		{"structure", "the rate counts from the base as it was"},
		{"purify", "the structure is found anew when neurons went"}}},
	{Name: "sense", Doc: "gather how activations are distributed and how much the loss feels errors", Effect: Reads, Run: runSense, After: []Order{
		{"structure", "heads and hidden layers must be known"},
		{"focus", "what counts is the loss over the wanted classes"}}},
	{Name: "decompose", Doc: "decompose the products of every head, and order the neurons of every hidden layer", Effect: Reads, Run: runDecompose, After: []Order{
		{"structure", "heads must be known"},
		{"purify", "the structure is found anew when neurons went"},
		{"sense", "what is truncated may be weighed by data"}}},
}

// Slimming are the passes that bring a learned model to one size.
var Slimming = []Pass{
	{Name: "plan", Doc: "choose the widths", Effect: Reads, Run: runPlan, After: []Order{
		{"purify", "neurons that hurt go first; the widths make up for what is missing"},
		{"decompose", "attention widths follow from singular values"},
		{"focus", "a narrower classifier counts towards the rate"}}},
	{Name: "attention", Doc: "shrink q/k and v/o by truncated SVD", Effect: Approximate, Run: runAttention, After: []Order{
		{"plan", "widths must be known"}}},
	{Name: "mlp", Doc: "choose hidden neurons, and refit what reads them", Effect: Approximate, Run: runMLP, After: []Order{
		{"attention", "where hidden statistics are those behind slim attention, the refit makes up for it"},
		{"plan", "widths must be known"}}},
	{Name: "sequence", Doc: "shrink attention and hidden layers block after block, where each shall know of those before", Effect: Approximate, Run: runSequence, After: []Order{
		{"plan", "widths must be known"},
		{"mlp", "either that pass slims, or this one"}}},
	{Name: "merge", Doc: "merge tokens that are alike", Effect: Approximate, Run: runMerge, After: []Order{
		{"plan", "what merging saves counts towards the rate"},
		{"mlp", "statistics and refits go by the base's tokens, one by one"},
		{"sequence", "statistics and refits go by the base's tokens, one by one"}}},
	{Name: "refit", Doc: "refit the classifier to slim features", Effect: Approximate, Run: runRefit, After: []Order{
		{"merge", "its features are those of merged tokens"},
		{"mlp", "its features are those of the slim model"},
		{"sequence", "its features are those of the slim model"}}},
	{Name: "other", Doc: "add a logit for all other classes", Effect: Approximate, Signature: true, Run: runOther, After: []Order{
		{"others", "its targets must be known"},
		{"refit", "it is fitted beside the slim classifier"}}},
}

// Finishing are the passes that spell a model of its size for what runs it.
var Finishing = []Pass{
	{Name: "norms", Doc: "spell layer norms in operators that ONNX Runtime is fastest at", Effect: Exact, Run: runNorms, After: []Order{
		{"mlp", "gradients and statistics are taken from the norms as the exporter wrote them"}}},
}
