// Package opset moves a model to another version of ONNX's operator set, up or
// down, between 11 and the newest that ONNX Runtime runs.
//
//	err := opset.Convert(model, 13, shapes)
//
// Most operators only gain element types from one version to the next and move
// as they are. Those whose attributes, operands or meaning changed are rewritten
// by a rule, one per operator and version; those that an older set does not have
// are spelled in operators that it has. What a rule cannot express is an error
// that names the node. The rules follow the changelog of ONNX.
//
// The package may import graph, passes/expand, internal/engine and
// internal/fault.
package opset
