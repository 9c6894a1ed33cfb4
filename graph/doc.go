// Package graph is nuwa's intermediate representation: an ONNX model as
// linked values and nodes, edited only through methods that keep every link
// exact.
//
// A Value knows the node that produces it and everything that uses it; a Node
// holds its operands as values, not names. Names are labels for people and for
// the file format; no meaning is ever read from them.
//
//	m := graph.NewModel(graph.Opset{Version: 17})
//	x := m.Graph.AddInput("x", graph.TensorType(graph.Float32, graph.Sym("batch"), graph.Fixed(4)))
//	w := m.Graph.AddConst("w", graph.NewTensor([]int64{4, 2}, weights))
//	y := m.Graph.Add("MatMul", "fc", []*graph.Value{x, w}).Output(0)
//	m.Graph.AddOutput(y)
//
// The package knows no operator semantics and no protobuf: what MatMul means
// is the business of passes, how a model is written that of importer and
// exporter. It imports only the standard library.
package graph
