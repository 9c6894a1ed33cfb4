// Package onnxpb is the serialized form of ONNX models: generated message
// types, and reading and writing them without a second copy of the weights.
//
// The schema is nuwa_onnx.proto, our own under its own proto package, so that
// a program may also link another library's onnx.proto. Unmarshal lets large
// tensors share memory with the input; Marshal returns pieces that share
// memory with the messages, in the field order that C++ and Python write:
//
//	var m onnxpb.ModelProto
//	err := onnxpb.Unmarshal(data, &m)
//	pieces, size, err := onnxpb.Marshal(&m)
//	diffs := onnxpb.Diff(&m, &other, onnxpb.DiffOptions{})
//
// Nothing outside importer, exporter and tests needs this package. It imports
// only the protobuf runtime.
package onnxpb

//go:generate go build -o ../../.cache/protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go
//go:generate protoc --plugin=../../.cache/protoc-gen-go --go_out=. --go_opt=paths=source_relative nuwa_onnx.proto
