// Package purify finds hidden neurons that hurt the wanted classes and removes
// them: self-knowledge purification. All weights stay as they are; what is
// learned is which neurons to keep.
//
// Every hidden layer gets a score M for each of its e neurons and one number
// β. A binary mask keeps the ⌊e·σ(β)⌋ neurons of highest score and multiplies
// the hidden activations just before the second linear map. The loss is the
// task's own cross-entropy, without a term for sparsity, and both are learned
// as if the mask were M itself (straight-through). The gradient with respect
// to the masks is a graph that ONNX Runtime runs; the optimizer is
// bookkeeping over vectors of numbers.
//
//	res, err := purify.Learn(ctx, eng, model, vit, purify.Options{Train: train, Validate: held, Wanted: []int{2, 8}})
//	err = purify.Remove(model, vit, res)
//
// Of all masks on the way, that of the best accuracy on held-out images is
// kept, the smaller one of equals; the model with all its neurons is among
// them. Learning can be interrupted at any moment and goes on from a
// checkpoint file to the same result, bit for bit.
//
// Removing what a mask keeps out is exact: the model gives what the masked one
// gave. The package may import graph, exporter, passes/structure,
// internal/engine, internal/grad, internal/ort, internal/ranking and internal/fault; it knows
// nothing of passes, files of images or class names.
package purify
