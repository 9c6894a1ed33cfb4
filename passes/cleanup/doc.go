// Package cleanup makes the graphs that exporters write simple enough to be
// understood, without changing what they compute.
//
// Exporters leave behind constants that are computed at run time, functions,
// identities, and, above all, shape arithmetic: the target of a Reshape or the
// scale of a softmax is computed from Shape, Gather, Cast, Sqrt and Concat. As
// long as these read inner activations, no width can be changed. After
//
//	note, err := cleanup.Settle(ctx, eng, m, [2]int{})   // open image sizes
//	inlined, err := cleanup.Inline(m)                    // functions of the model
//	cleanup.InitializersAsInputs(m)
//	cleanup.Constants(m)
//	cleanup.Identities(m, nil)
//	cleanup.Casts(m, shapes.Elem)
//	folded, err := cleanup.Fold(ctx, eng, m)             // constant subgraphs
//	frozen, err := cleanup.Freeze(ctx, eng, m)           // shape arithmetic
//	folded, err := cleanup.BatchNorms(m, shapes)         // into the maps before them
//	apart, err := cleanup.Unpack(m, shapes)              // hidden layers from packed maps
//
// no Shape reads anything but a graph input, and what a Reshape reads as its
// target is a constant, as far as the values at three batch sizes prove that
// this is the same model.
//
// Every function edits the model in place and returns what it changed. Values
// are computed by ONNX Runtime, all those of one step in one session; operators
// and patterns that are not known stay as they are, and what was left for a
// reason is listed in Kept. The package may import graph, internal/engine and
// internal/fault; it knows nothing of the pass manager.
package cleanup
