// Package onnxgo lets programs that decode models with
// github.com/owulveryck/onnx-go get nuwa's graph. Its Backend implements
// onnx-go's interface of that name:
//
//	b, err := onnxgo.New(data)     // refuses models that would come out as others
//	m := onnx.NewModel(b)
//	err = m.UnmarshalBinary(data)
//	g, err := b.Model(m)           // a *graph.Model
//
// A program that does not use onnx-go already should use package importer,
// which loses nothing.
//
// # What onnx-go v0.5.0 makes of a model
//
// Its decoder tells a backend of values, tensors, weighted edges and
// operations. Some things it never tells. Of these, the following would change
// what a model means, and New and Check refuse models that have them:
//
//   - dimensions that are not fixed are dropped, so that [N,3,224,224] becomes
//     [3,224,224], and an unknown rank becomes rank 0;
//   - operators lose their domain, and functions of the model are not seen;
//   - attributes without a type lose their value, as do all but the last of
//     those of the same name;
//   - constants of type bool are read as 8 bytes an element when they are
//     stored as raw bytes;
//   - operators without inputs are given one, which takes the place of another
//     value of the same name;
//   - operators whose results are all omitted lose their operands.
//
// Refused as well is what onnx-go itself fails on, sometimes by a panic:
// nested graphs, constants of other types than f32, f64, i32, i64 and bool,
// empty tensors, external and sparse data, 16-bit floats and values that are no
// tensors.
//
// The opsets, without which operators mean nothing, are not told either; New
// takes them, and the IR version, from the file. Operands that appear twice
// and omitted ones, which other backends lose, arrive well.
//
// Lost without changing what the model computes: names and doc strings of
// nodes, doc strings, metadata, the producer, the graph's name, the order of
// attributes, how constants were stored, and initializers that nothing reads.
// An initializer that is also an input, a default that callers may override,
// comes out as a constant.
package onnxgo
