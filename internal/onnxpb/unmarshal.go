package onnxpb

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// maxDepth is how deep messages may nest. It is the limit of protobuf's C++
// runtime, so ONNX Runtime reads nothing deeper either.
const maxDepth = 100

// shareFrom is the size in bytes from which on elements are shared instead of
// copied; below, the runtime's own parser is faster.
const shareFrom = 4096

// Unmarshal parses b into m, which may be any message of this package. Large
// raw_data fields of the result share memory with b, which must stay as it is
// for as long as m is used.
func Unmarshal(b []byte, m proto.Message) error {
	proto.Reset(m)
	return parse(b, m, 0)
}

// parse merges b into m. The messages that lead to tensors are taken apart
// here; every run of other fields goes to the runtime's parser.
func parse(b []byte, m proto.Message, depth int) error {
	if depth >= maxDepth {
		return fmt.Errorf("messages nest deeper than %d levels", maxDepth)
	}
	if len(b) < shareFrom {
		return merge(b, m, depth)
	}
	run := 0 // start of the fields not yet given to the runtime
	for pos := 0; pos < len(b); {
		num, typ, n := protowire.ConsumeField(b[pos:])
		if n < 0 {
			return protowire.ParseError(n)
		}
		field := b[pos : pos+n]
		start := pos
		pos += n
		if typ != protowire.BytesType {
			continue
		}
		_, _, tag := protowire.ConsumeTag(field)
		body, _ := protowire.ConsumeBytes(field[tag:])
		into := child(m, num)
		raw, isTensor := m.(*TensorProto)
		isTensor = isTensor && num == 9
		if into == nil && !isTensor {
			continue
		}
		if err := merge(b[run:start], m, depth); err != nil {
			return err
		}
		run = pos
		if isTensor {
			raw.RawData = body[:len(body):len(body)]
		} else if err := parse(body, into, depth+1); err != nil {
			return err
		}
	}
	return merge(b[run:], m, depth)
}

func merge(b []byte, m proto.Message, depth int) error {
	if len(b) == 0 {
		return nil
	}
	return proto.UnmarshalOptions{Merge: true, RecursionLimit: maxDepth - depth}.Unmarshal(b, m)
}

// child returns where field num of m is to be parsed into, nil for a field
// that leads to no tensor.
func child(m proto.Message, num protowire.Number) proto.Message {
	switch m := m.(type) {
	case *ModelProto:
		switch num {
		case 7:
			return one(&m.Graph)
		case 25:
			return another(&m.Functions)
		}
	case *GraphProto:
		switch num {
		case 1:
			return another(&m.Node)
		case 5:
			return another(&m.Initializer)
		case 15:
			return another(&m.SparseInitializer)
		}
	case *FunctionProto:
		switch num {
		case 7:
			return another(&m.Node)
		case 11:
			return another(&m.AttributeProto)
		}
	case *NodeProto:
		if num == 5 {
			return another(&m.Attribute)
		}
	case *AttributeProto:
		switch num {
		case 5:
			return one(&m.T)
		case 6:
			return one(&m.G)
		case 10:
			return another(&m.Tensors)
		case 11:
			return another(&m.Graphs)
		case 22:
			return one(&m.SparseTensor)
		case 23:
			return another(&m.SparseTensors)
		}
	case *SparseTensorProto:
		switch num {
		case 1:
			return one(&m.Values)
		case 2:
			return one(&m.Indices)
		}
	}
	return nil
}

type message[T any] interface {
	*T
	proto.Message
}

func one[T any, P message[T]](field *P) proto.Message {
	if *field == nil {
		*field = new(T)
	}
	return *field
}

func another[T any, P message[T]](field *[]P) proto.Message {
	m := P(new(T))
	*field = append(*field, m)
	return m
}
