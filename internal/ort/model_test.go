package ort

import (
	"google.golang.org/protobuf/encoding/protowire"

	"nuwa/graph"
)

// testModel is a model written out by hand, so that these tests depend on no
// other package's idea of the format.
type testModel struct {
	ir, opset int
	nodes     []testNode
	inputs    []Info
	outputs   []Info
	inits     []*graph.Tensor
}

type testNode struct {
	op, domain, name string
	in, out          []string
	ints             map[string]int64
}

func (m testModel) bytes() []byte {
	var g []byte
	for _, n := range m.nodes {
		var b []byte
		for _, s := range n.in {
			b = field(b, nodeInput, []byte(s))
		}
		for _, s := range n.out {
			b = field(b, nodeOutput, []byte(s))
		}
		b = field(b, 3, []byte(n.name))
		b = field(b, nodeOp, []byte(n.op))
		b = field(b, 7, []byte(n.domain))
		for name, x := range n.ints {
			attr := field(nil, 1, []byte(name))
			attr = number(attr, 3, x)
			attr = number(attr, 20, 2) // type INT
			b = field(b, 5, attr)
		}
		g = field(g, graphNode, b)
	}
	g = field(g, 2, []byte("test"))
	for _, t := range m.inits {
		var b []byte
		for _, d := range t.Dims {
			b = number(b, 1, d)
		}
		b = number(b, 2, int64(t.Type))
		b = field(b, tensorName, []byte(t.Name))
		if t.Storage == graph.StoreExternal {
			for _, e := range t.External {
				b = field(b, 13, field(field(nil, 1, []byte(e.Key)), 2, []byte(e.Value)))
			}
			b = number(b, 14, 1) // data_location EXTERNAL
		} else {
			b = field(b, 9, t.Data)
		}
		g = field(g, graphInitializer, b)
	}
	for _, i := range m.inputs {
		g = field(g, graphInput, i.proto())
	}
	for _, o := range m.outputs {
		g = field(g, graphOutput, o.proto())
	}
	ir, opset := m.ir, m.opset
	if ir == 0 {
		ir = 10
	}
	if opset == 0 {
		opset = 21
	}
	b := number(nil, 1, int64(ir))
	b = field(b, modelGraph, g)
	for _, domain := range []string{"", "com.example"} {
		b = field(b, 8, number(field(nil, 1, []byte(domain)), 2, int64(opset)))
	}
	return b
}

// proto writes a ValueInfoProto. A name in params makes a dimension symbolic.
func (i Info) proto() []byte {
	v := field(nil, valueName, []byte(i.Name))
	tensor := []byte{}
	if i.Type != graph.Undefined {
		tensor = number(nil, tensorElem, int64(i.Type))
	}
	if i.Dims != nil {
		var shape []byte
		for k, d := range i.Dims {
			var dim []byte
			if k < len(i.params) && i.params[k] != "" {
				dim = field(nil, dimParam, []byte(i.params[k]))
			} else if d >= 0 {
				dim = number(nil, dimValue, d)
			}
			shape = field(shape, shapeDim, dim)
		}
		tensor = field(tensor, tensorDims, shape)
	}
	switch i.Kind {
	case TensorKind:
		return field(v, valueType, field(nil, typeTensor, tensor))
	case SequenceKind:
		elem := field(nil, typeTensor, number(nil, tensorElem, int64(i.Type)))
		return field(v, valueType, field(nil, 4, field(nil, 1, elem)))
	case OptionalKind:
		elem := field(nil, typeTensor, number(nil, tensorElem, int64(i.Type)))
		return field(v, valueType, field(nil, 9, field(nil, 1, elem)))
	}
	return v
}

func number(b []byte, n protowire.Number, x int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), uint64(x))
}

// vec declares a tensor; a dimension of -1 is dynamic and has no symbol.
func vec(name string, t graph.DType, dims ...int64) Info {
	return Info{Name: name, Kind: TensorKind, Type: t, Dims: append([]int64{}, dims...)}
}

// rankless declares a tensor of unknown rank.
func rankless(name string, t graph.DType) Info {
	return Info{Name: name, Kind: TensorKind, Type: t}
}

// identity is the model y = x.
func identity(t graph.DType, dims ...int64) testModel {
	return testModel{
		nodes:   []testNode{{op: "Identity", name: "copy", in: []string{"x"}, out: []string{"y"}}},
		inputs:  []Info{vec("x", t, dims...)},
		outputs: []Info{vec("y", t, dims...)},
	}
}
