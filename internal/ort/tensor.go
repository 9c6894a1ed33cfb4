package ort

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	ort "github.com/yalue/onnxruntime_go"

	"nuwa/graph"
)

// typeCode returns ONNX Runtime's number for t, which is that of ONNX. Complex
// numbers have no kernels, and the types after FLOAT4E2M1 have different
// numbers in different releases, so that none of these can be moved.
func typeCode(t graph.DType) (ort.TensorElementDataType, bool) {
	if t < graph.Float32 || t > graph.Float4E2M1 || t == graph.Complex64 || t == graph.Complex128 {
		return 0, false
	}
	return ort.TensorElementDataType(t), true
}

// A codec moves elements of a type that the binding knows as a Go type. Only
// such types can be scalars, or come out in a shape not known beforehand.
type codec struct {
	scalar func(elem []byte) (ort.Value, error)
	bytes  func(v ort.Value) ([]byte, bool) // shares v's memory
}

var codecs = map[graph.DType]codec{
	graph.Float32: codecOf[float32](), graph.Float64: codecOf[float64](),
	graph.Int8: codecOf[int8](), graph.Int16: codecOf[int16](), graph.Int32: codecOf[int32](), graph.Int64: codecOf[int64](),
	graph.Uint8: codecOf[uint8](), graph.Uint16: codecOf[uint16](), graph.Uint32: codecOf[uint32](), graph.Uint64: codecOf[uint64](),
	graph.Bool: codecOf[bool](),
}

func codecOf[T ort.TensorData]() codec {
	return codec{
		scalar: func(elem []byte) (ort.Value, error) {
			return ort.NewScalar(*(*T)(unsafe.Pointer(unsafe.SliceData(elem))))
		},
		bytes: func(v ort.Value) ([]byte, bool) {
			switch v := v.(type) {
			case *ort.Tensor[T]:
				return memory(v.GetData()), true
			case *ort.Scalar[T]:
				return memory([]T{v.GetData()}), true
			}
			return nil, false
		},
	}
}

// memory views elements as bytes. Every machine that ONNX Runtime is fetched
// for is little-endian, which is also the order of graph.Tensor.
func memory[T any](elems []T) []byte {
	if len(elems) == 0 {
		return []byte{}
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(elems))), len(elems)*int(unsafe.Sizeof(elems[0])))
}

// arena owns the values of a run and the Go memory that they point into.
// Memory handed to ONNX Runtime stays pinned until free.
type arena struct {
	pins   runtime.Pinner
	values []ort.Value
}

func (a *arena) free() {
	for _, v := range a.values {
		_ = v.Destroy() // releasing cannot fail
	}
	a.values = nil
	a.pins.Unpin()
}

func (a *arena) keep(v ort.Value, err error) (ort.Value, error) {
	if err != nil {
		return nil, err
	}
	a.values = append(a.values, v)
	return v, nil
}

// input makes a value that shares t's elements. ONNX Runtime only reads them.
func (a *arena) input(t *graph.Tensor) (ort.Value, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	if t.Type == graph.String {
		return a.strings(t)
	}
	data := t.Data
	if len(data) > 0 && uintptr(unsafe.Pointer(&data[0]))%8 != 0 {
		data = bytes.Clone(data) // a view into a file may start anywhere
	}
	return a.numbers(t.Type, t.Dims, data)
}

// output makes a value of known shape for ONNX Runtime to fill.
func (a *arena) output(t graph.DType, dims []int64) (ort.Value, error) {
	if t == graph.String {
		return a.keep(ort.NewStringTensor(dims))
	}
	return a.numbers(t, dims, make([]byte, t.ByteLen(graph.Elements(dims))))
}

func (a *arena) numbers(t graph.DType, dims []int64, data []byte) (ort.Value, error) {
	code, ok := typeCode(t)
	if !ok {
		return nil, fmt.Errorf("ONNX Runtime cannot be passed elements of type %s", t)
	}
	if len(dims) == 0 {
		c, ok := codecs[t]
		if !ok {
			return nil, fmt.Errorf("the binding of ONNX Runtime cannot move a scalar of type %s, only a vector of one element", t)
		}
		return a.keep(c.scalar(data))
	}
	if len(data) == 0 {
		data = make([]byte, 8) // the binding wants an address even for no elements
	}
	a.pins.Pin(&data[0])
	return a.keep(ort.NewCustomDataTensor(slices.Clone(dims), data, code))
}

func (a *arena) strings(t *graph.Tensor) (ort.Value, error) {
	if len(t.Dims) == 0 {
		return nil, errors.New("the binding of ONNX Runtime cannot move a scalar string, only a vector of one")
	}
	elems := make([]string, len(t.Strings))
	for i, s := range t.Strings {
		elems[i] = string(s)
		if strings.Contains(elems[i], "\x00") {
			return nil, fmt.Errorf("the binding of ONNX Runtime cannot move string %d: it has a zero byte", i)
		}
	}
	v, err := ort.NewStringTensor(slices.Clone(t.Dims))
	if err != nil {
		return nil, err
	}
	if _, err := a.keep(v, nil); err != nil {
		return nil, err
	}
	return v, v.SetContents(elems)
}

// tensor reads a value. Numbers share the Go memory of v, which outlives it;
// dims are those of v.
func tensor(v ort.Value) (*graph.Tensor, error) {
	t := &graph.Tensor{Type: graph.DType(v.DataType()), Dims: append([]int64{}, v.GetShape()...)}
	switch v := v.(type) {
	case *ort.StringTensor:
		var err error
		t.Strings, err = stringElems(v)
		return t, err
	case *ort.CustomDataTensor:
		t.Data = v.GetData()[:t.Type.ByteLen(t.Len())]
		return t, nil
	}
	if c, ok := codecs[t.Type]; ok {
		if data, ok := c.bytes(v); ok {
			t.Data = data
			return t, nil
		}
	}
	return nil, fmt.Errorf("the binding of ONNX Runtime returned a %T", v)
}

func stringElems(v *ort.StringTensor) ([][]byte, error) {
	if len(v.GetShape()) == 0 {
		s, err := v.GetElement(0)
		return [][]byte{[]byte(s)}, err
	}
	elems, err := v.GetContents()
	out := make([][]byte, len(elems))
	for i, s := range elems {
		out[i] = []byte(s)
	}
	return out, err
}
