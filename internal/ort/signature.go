package ort

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"nuwa/graph"
)

// Kind is the sort of value that an input or output holds. ONNX Runtime's
// binding moves tensors; the other kinds are named so that they can be refused.
type Kind string

// The kinds of ONNX values.
const (
	TensorKind   Kind = "tensor"
	SequenceKind Kind = "sequence"
	MapKind      Kind = "map"
	OpaqueKind   Kind = "opaque"
	SparseKind   Kind = "sparse tensor"
	OptionalKind Kind = "optional"
	UnknownKind  Kind = "undeclared"
)

// Info describes an input or output as the model declares it.
type Info struct {
	Name string
	Kind Kind
	Type graph.DType // graph.Undefined when the model does not say
	Dims []int64     // -1 where dynamic; empty for a scalar, nil when even the rank is undeclared

	params []string // the symbol of each dynamic dimension, "" where it has none
}

// String returns the printed form, such as "x f32[-1,3,224,224]".
func (i Info) String() string {
	if i.Kind != TensorKind {
		return i.Name + " " + string(i.Kind)
	}
	if i.Dims == nil {
		return i.Name + " " + i.Type.String()
	}
	return i.Name + " " + (&graph.Tensor{Type: i.Type, Dims: i.Dims}).Shape()
}

// signature is what a serialized ModelProto says about its own interface.
type signature struct {
	inputs, outputs []Info // inputs without those that an initializer stands for
}

// Field numbers of onnx.proto.
const (
	modelGraph = 7

	graphNode        = 1
	graphInitializer = 5
	graphInput       = 11
	graphOutput      = 12
	graphSparse      = 15

	tensorName   = 8
	sparseValues = 1

	valueName = 1
	valueType = 2

	typeTensor = 1
	tensorElem = 1
	tensorDims = 2

	shapeDim = 1
	dimValue = 1
	dimParam = 2

	nodeInput  = 1
	nodeOutput = 2
	nodeOp     = 4
)

var kinds = map[protowire.Number]Kind{
	1: TensorKind, 4: SequenceKind, 5: MapKind, 7: OpaqueKind, 8: SparseKind, 9: OptionalKind,
}

// readSignature walks the top of a model, skipping nodes and weights.
func readSignature(model []byte) (*signature, error) {
	var s signature
	var initialized []string
	found := false
	err := fields(model, func(n protowire.Number, _ uint64, g []byte) error {
		if n != modelGraph {
			return nil
		}
		found = true
		return fields(g, func(n protowire.Number, _ uint64, b []byte) error {
			switch n {
			case graphInput, graphOutput:
				info, err := readInfo(b)
				if err != nil {
					return err
				}
				if n == graphInput {
					s.inputs = append(s.inputs, info)
				} else {
					s.outputs = append(s.outputs, info)
				}
			case graphInitializer:
				name, err := stringField(b, tensorName)
				initialized = append(initialized, name)
				return err
			case graphSparse:
				return fields(b, func(n protowire.Number, _ uint64, v []byte) error {
					if n != sparseValues {
						return nil
					}
					name, err := stringField(v, tensorName)
					initialized = append(initialized, name)
					return err
				})
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errors.New("no graph in it")
	}
	if len(s.outputs) == 0 {
		return nil, errors.New("its graph has no outputs")
	}
	slices.Sort(initialized)
	s.inputs = slices.DeleteFunc(s.inputs, func(i Info) bool {
		_, ok := slices.BinarySearch(initialized, i.Name)
		return ok
	})
	return &s, nil
}

func readInfo(b []byte) (Info, error) {
	info := Info{Kind: UnknownKind}
	err := fields(b, func(n protowire.Number, _ uint64, v []byte) error {
		switch n {
		case valueName:
			info.Name = string(v)
		case valueType:
			return fields(v, func(n protowire.Number, _ uint64, v []byte) error {
				if kind, ok := kinds[n]; ok {
					info.Kind = kind
				}
				if n != typeTensor {
					return nil
				}
				return readTensorType(v, &info)
			})
		}
		return nil
	})
	return info, err
}

func readTensorType(b []byte, info *Info) error {
	return fields(b, func(n protowire.Number, x uint64, v []byte) error {
		switch n {
		case tensorElem:
			info.Type = graph.DType(x)
		case tensorDims:
			info.Dims = []int64{}
			return fields(v, func(n protowire.Number, _ uint64, v []byte) error {
				if n != shapeDim {
					return nil
				}
				dim, param := int64(-1), ""
				err := fields(v, func(n protowire.Number, x uint64, v []byte) error {
					switch n {
					case dimValue:
						dim = max(int64(x), -1)
					case dimParam:
						param = string(v)
					}
					return nil
				})
				info.Dims, info.params = append(info.Dims, dim), append(info.params, param)
				return err
			})
		}
		return nil
	})
}

// fields calls f for each field of a message: x is the value of a varint,
// b the content of a length-delimited field.
func fields(msg []byte, f func(n protowire.Number, x uint64, b []byte) error) error {
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return fmt.Errorf("not protobuf: %w", protowire.ParseError(n))
		}
		msg = msg[n:]
		var x uint64
		var b []byte
		switch typ {
		case protowire.VarintType:
			x, n = protowire.ConsumeVarint(msg)
		case protowire.BytesType:
			b, n = protowire.ConsumeBytes(msg)
		default:
			n = protowire.ConsumeFieldValue(num, typ, msg)
		}
		if n < 0 {
			return fmt.Errorf("not protobuf: %w", protowire.ParseError(n))
		}
		msg = msg[n:]
		if err := f(num, x, b); err != nil {
			return err
		}
	}
	return nil
}

func stringField(msg []byte, want protowire.Number) (s string, err error) {
	err = fields(msg, func(n protowire.Number, _ uint64, b []byte) error {
		if n == want {
			s = string(b)
		}
		return nil
	})
	return s, err
}

// The binding cannot run a model without inputs, and cannot receive some
// tensors unless it knows their shapes beforehand. Both are solved by adding
// to the model: a serialized message followed by another is the two merged,
// with repeated fields joined, so the additions are plain appended bytes.

// unusedInput is the addition of one f32[1] input that nothing reads.
func unusedInput(name string) []byte {
	return field(nil, modelGraph, field(nil, graphInput, valueInfo(name, graph.Float32, 1)))
}

// shapeOutput is the addition of an i64 output that holds the shape of value.
func shapeOutput(value, name string) []byte {
	node := field(nil, nodeInput, []byte(value))
	node = field(node, nodeOutput, []byte(name))
	node = field(node, nodeOp, []byte("Shape"))
	g := field(nil, graphNode, node)
	g = field(g, graphOutput, valueInfo(name, graph.Int64, -1))
	return field(nil, modelGraph, g)
}

// valueInfo is a vector of the given length; -1 leaves the length open.
func valueInfo(name string, t graph.DType, length int64) []byte {
	var dim []byte
	if length >= 0 {
		dim = protowire.AppendVarint(protowire.AppendTag(nil, dimValue, protowire.VarintType), uint64(length))
	}
	tensor := protowire.AppendVarint(protowire.AppendTag(nil, tensorElem, protowire.VarintType), uint64(t))
	tensor = field(tensor, tensorDims, field(nil, shapeDim, dim))
	return field(field(nil, valueName, []byte(name)), valueType, field(nil, typeTensor, tensor))
}

func field(b []byte, n protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), content)
}
