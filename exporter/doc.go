// Package exporter writes graphs as ONNX models.
//
//	info, err := exporter.Write(m, "slim.onnx", exporter.Options{})
//
// The bytes are a function of the model alone. A model that was imported and
// not edited is written as it was read: every field, present or absent, and in
// the order of C++ and Python, so that a file written by those comes out byte
// for byte. Three things may differ: nodes come out sorted, producers first;
// a field that its writer put in an unusual order comes out in the usual one;
// and data that was external is in one file beside the new model.
//
// Weights are streamed from where the graph has them; no second copy of them is
// made in memory. A file gets its name only when all of it is written and the
// caller's validation passed; a failure leaves nothing behind.
//
// It imports graph, internal/onnxpb and internal/fault.
package exporter
