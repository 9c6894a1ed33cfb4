package passes

// Cleaning are the passes that make a model readable without changing what it
// computes.
var Cleaning = []Pass{
	{Name: "inputs", Doc: "make initializers that are listed as inputs constants", Effect: Exact, Run: runInputs},
	{Name: "constants", Doc: "turn Constant nodes into initializers", Effect: Exact, Run: runConstants},
	{Name: "fold", Doc: "replace what depends on constants and shapes only", Effect: Exact, Run: runFold, After: []Order{
		{"inputs", "a default that callers may override cannot be folded"},
		{"constants", "targets and axes must be seen as constants"}}},
	{Name: "identities", Doc: "bypass operators that do nothing", Effect: Exact, Run: runIdentities, After: []Order{
		{"fold", "shapes tell which reshapes do nothing only once targets are known"}}},
	{Name: "duplicates", Doc: "merge equal small initializers", Effect: Exact, Run: runDuplicates, After: []Order{
		{"fold", "folding makes many copies of the same shape"}}},
	{Name: "structure", Doc: "find attention, hidden layers and classifier", Effect: Reads, Run: runStructure, After: []Order{
		{"fold", "a layout can be followed only through constant targets"},
		{"identities", "a bypass in the way hides what reads a value"}}},
}

// Pipeline is everything that derives a slim model, in order.
var Pipeline = append(Cleaning[:len(Cleaning):len(Cleaning)], []Pass{
	{Name: "decompose", Doc: "decompose the products of every head", Effect: Reads, Run: runDecompose, After: []Order{
		{"structure", "heads must be known"}}},
	{Name: "focus", Doc: "keep the wanted classes", Effect: Approximate, Signature: true, Run: runFocus, After: []Order{
		{"structure", "the classifier must be known"}}},
	{Name: "plan", Doc: "choose the widths", Effect: Reads, Run: runPlan, After: []Order{
		{"decompose", "attention widths follow from singular values"},
		{"focus", "a narrower classifier counts towards the rate"}}},
	{Name: "attention", Doc: "shrink q/k and v/o by truncated SVD", Effect: Approximate, Run: runAttention, After: []Order{
		{"plan", "widths must be known"}}},
	{Name: "mlp", Doc: "choose hidden neurons and refit by least squares", Effect: Approximate, Run: runMLP, After: []Order{
		{"attention", "hidden statistics are those of the slim attention, so that the refit makes up for it"},
		{"plan", "widths must be known"}}},
}...)
