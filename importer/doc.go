// Package importer turns ONNX files into graphs, without losing anything.
//
//	m, err := importer.Load("vit.onnx")
//
// Everything the file says is in the model that comes back, what nuwa gives no
// meaning to included: exporting it again writes the same model (see package
// exporter for what that means to the byte). Nodes may come in any order.
//
// Weights are not copied. The model file and the files of external data are
// mapped into memory and stay mapped for the life of the process; tensors point
// into the mapping. A file must therefore not be rewritten in place while a
// model from it is in use; replacing it by renaming, as exporter does, is safe.
//
// A file that is not a sound model is refused with a *fault.Error of kind
// Model that says what it is instead, or what is wrong and where. No file makes
// this package panic, and sizes that a file only claims are never allocated.
//
// It imports graph, internal/onnxpb and internal/fault.
package importer
