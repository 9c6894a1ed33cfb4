// Package engine runs graphs. It is how everything in nuwa computes on
// tensors: a graph.Model is encoded, handed to ONNX Runtime, and its values
// read back. Passes never look inside a tensor operation; they ask the engine
// to run it.
//
//	e := &engine.Engine{Threads: 2}
//	shapes, err := e.Shapes(ctx, model)           // every value's size at every batch
//	out, err := e.Run(ctx, engine.Tap(model, v), inputs)
//
// It may import graph, exporter (to encode) and internal/ort (to run).
package engine
