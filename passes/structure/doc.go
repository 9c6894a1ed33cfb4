// Package structure finds what a Vision Transformer is made of in a graph that
// anything may have exported: attention from each Softmax outward, hidden
// layers backward from each second linear map, and the classifier backward
// from the outputs.
//
// Nothing is matched against templates and no name is read. To learn which
// output channel of a weight lands in which head and position, the numbers of
// its elements are sent through the layout operators in between (Reshape,
// Transpose, Split, Slice, Gather, ...) in ONNX Runtime, and the places where
// they arrive are decomposed into axes. So packed qkv, three linear maps,
// chunks and nn.MultiheadAttention are one case.
//
//	vit, err := structure.Find(ctx, eng, model)
//	for _, a := range vit.Attentions {
//		fmt.Println(a.Heads, a.QKDim, a.VODim, a.QKReason)
//	}
//
// What is found can be rebuilt at another width: Operand.Rebuild,
// Output.Rebuild and MLP.Rebuild write the slim block as plain ONNX. Anything
// that is not a plain map of channels is declined with its reason.
//
// The graph should have been cleaned first: constants folded, shape
// arithmetic frozen. The package may import graph and internal/engine.
package structure
