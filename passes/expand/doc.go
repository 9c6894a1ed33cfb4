// Package expand spells fused operators in plain ones. Optimizers put several
// steps of a network into one operator: com.microsoft's Attention,
// SkipLayerNormalization and BiasGelu, ONNX's own Attention, and more. Written
// out as MatMul, Softmax, Add and so on, in the spelling of the model's
// operator set, all of them are the one language that structure, gradients,
// costs and norms are told in.
//
//	shapes, err := eng.Shapes(ctx, m)
//	done := expand.Expand(m, shapes)
//	fmt.Println(done.Nodes, done.Kept)
//
// An operator is either replaced by something equal up to rounding, for all
// inputs, or stays as it is, and Kept says why. What it means is taken from the
// CPU kernels of ONNX Runtime, which tests compare with. Operators in nested
// graphs stay. The graph should have been cleaned of computed constants first,
// as some forms are exact only for masks that are known; afterwards the
// constants that are left behind transposed or sliced want folding.
//
// The package may import graph and internal/engine.
package expand
