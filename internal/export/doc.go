// Package export writes a model again, unchanged or for another consumer, and
// proves it beside the original.
//
//	r, err := export.Export(ctx, export.Options{Model: "vit.onnx", Output: "out.onnx", Opset: 13})
package export
