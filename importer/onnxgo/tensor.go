package onnxgo

import (
	"fmt"
	"reflect"

	"nuwa/graph"

	"gorgonia.org/tensor"
)

var elems = map[tensor.Dtype]graph.DType{
	tensor.Float32: graph.Float32, tensor.Float64: graph.Float64, tensor.Bool: graph.Bool, tensor.String: graph.String,
	tensor.Int8: graph.Int8, tensor.Int16: graph.Int16, tensor.Int32: graph.Int32, tensor.Int64: graph.Int64,
	tensor.Uint8: graph.Uint8, tensor.Uint16: graph.Uint16, tensor.Uint32: graph.Uint32, tensor.Uint64: graph.Uint64,
	tensor.Complex64: graph.Complex64, tensor.Complex128: graph.Complex128,
}

// Tensor converts a dense tensor, as onnx-go hands them out, to one of nuwa's.
// Views and column-major tensors are refused, as are element types that
// onnx-go reads no constants of.
func Tensor(x tensor.Tensor) (*graph.Tensor, error) {
	if x.RequiresIterator() || x.DataOrder().IsColMajor() {
		return nil, fmt.Errorf("a tensor of shape %v that is not stored row by row", x.Shape())
	}
	var dims []int64
	for _, d := range x.Shape() {
		dims = append(dims, int64(d))
	}
	data := x.Data()
	if v := reflect.ValueOf(data); v.Kind() != reflect.Slice { // gorgonia hands out a single element by itself
		s := reflect.MakeSlice(reflect.SliceOf(v.Type()), 1, 1)
		s.Index(0).Set(v)
		data = s.Interface()
	}
	var t *graph.Tensor
	switch xs := data.(type) {
	case []float32:
		t = graph.NewTensor(dims, xs)
	case []float64:
		t = graph.NewTensor(dims, xs)
	case []int32:
		t = graph.NewTensor(dims, xs)
	case []int64:
		t = graph.NewTensor(dims, xs)
	case []uint8:
		t = graph.NewTensor(dims, xs)
	case []int8:
		t = graph.NewTensor(dims, xs)
	case []bool:
		t = graph.NewTensor(dims, xs)
	default:
		return nil, fmt.Errorf("a tensor of %s, want one of float32, float64, int32, int64, uint8, int8 or bool", x.Dtype())
	}
	return t, t.Check()
}

// attribute converts the value that onnx-go made of an attribute.
func attribute(name string, x any) (*graph.Attr, error) {
	a := &graph.Attr{Name: name}
	switch x := x.(type) {
	case float32:
		a.Kind, a.F = graph.AttrFloat, x
	case int64:
		a.Kind, a.I = graph.AttrInt, x
	case string:
		a.Kind, a.S = graph.AttrString, []byte(x)
	case []float32:
		a.Kind, a.Floats = graph.AttrFloats, x
	case []int64:
		a.Kind, a.Ints = graph.AttrInts, x
	case []string:
		a.Kind = graph.AttrStrings
		for _, s := range x {
			a.Strings = append(a.Strings, []byte(s))
		}
	case tensor.Tensor:
		t, err := Tensor(x)
		if err != nil {
			return nil, err
		}
		a.Kind, a.Tensors = graph.AttrTensor, []*graph.Tensor{t}
	default: // onnx-go gives an empty struct where the file says no type
		return nil, fmt.Errorf("a value of Go type %T, want one that an attribute of ONNX may have", x)
	}
	return a, nil
}
