package onnxgo

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/importer"
	"nuwa/internal/fault"
	"nuwa/internal/onnxpb"

	"github.com/owulveryck/onnx-go"
)

func ptr[T any](x T) *T { return &x }

func serialize(t *testing.T, g *onnxpb.GraphProto) []byte {
	t.Helper()
	p := &onnxpb.ModelProto{IrVersion: ptr(int64(7)), Graph: g, OpsetImport: []*onnxpb.OperatorSetIdProto{{Version: ptr(int64(12))}}}
	pieces, _, err := onnxpb.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Join(pieces, nil)
}

func node(op string, in []string, out ...string) *onnxpb.NodeProto {
	return &onnxpb.NodeProto{Input: in, Output: out, OpType: &op}
}

func with(n *onnxpb.NodeProto, attrs ...*onnxpb.AttributeProto) *onnxpb.NodeProto {
	n.Attribute = attrs
	return n
}

// info declares an f32 tensor; a dimension of 0 is called N.
func info(name string, dims ...int64) *onnxpb.ValueInfoProto {
	shape := &onnxpb.TensorShapeProto{}
	for _, d := range dims {
		dim := &onnxpb.TensorShapeProto_Dimension{Value: &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: d}}
		if d == 0 {
			dim.Value = &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: "N"}
		}
		shape.Dim = append(shape.Dim, dim)
	}
	return typed(name, &onnxpb.TypeProto_Tensor{ElemType: ptr(int32(1)), Shape: shape})
}

func typed(name string, typ *onnxpb.TypeProto_Tensor) *onnxpb.ValueInfoProto {
	return &onnxpb.ValueInfoProto{Name: &name, Type: &onnxpb.TypeProto{Value: &onnxpb.TypeProto_TensorType{TensorType: typ}}}
}

func floats(name string, xs ...float32) *onnxpb.TensorProto {
	return &onnxpb.TensorProto{Name: &name, Dims: []int64{int64(len(xs))}, DataType: ptr(int32(1)), FloatData: xs}
}

// relu is a graph of one node, to be changed in one respect.
func relu(change func(*onnxpb.GraphProto)) *onnxpb.GraphProto {
	g := &onnxpb.GraphProto{
		Input: []*onnxpb.ValueInfoProto{info("x", 2, 3)}, Output: []*onnxpb.ValueInfoProto{info("y", 2, 3)},
		Node: []*onnxpb.NodeProto{node("Relu", []string{"x"}, "y")},
	}
	change(g)
	return g
}

func TestCarried(t *testing.T) {
	for name, g := range map[string]*onnxpb.GraphProto{
		"operand twice": relu(func(g *onnxpb.GraphProto) { g.Node[0] = node("Add", []string{"x", "x"}, "y") }),
		"omitted operands": relu(func(g *onnxpb.GraphProto) {
			g.Initializer = []*onnxpb.TensorProto{floats("max", 1)}
			g.Node[0] = node("Clip", []string{"x", "", "max"}, "y")
		}),
		"omitted results": relu(func(g *onnxpb.GraphProto) {
			g.Node = []*onnxpb.NodeProto{node("Op", []string{"x", ""}, "", "h", "", "z"), node("Op", []string{"", "h", "h"}, "y", "")}
		}),
		"unnamed nodes without inputs": relu(func(g *onnxpb.GraphProto) {
			c := &onnxpb.AttributeProto{Name: ptr("value"), Type: ptr(int32(4)), T: floats("", 1, 2, 3)}
			g.Node = []*onnxpb.NodeProto{with(node("Constant", nil, "a"), c), with(node("Constant", nil, "b"), c), node("Add", []string{"a", "b"}, "y")}
		}),
		"nodes in any order": relu(func(g *onnxpb.GraphProto) {
			g.Node = []*onnxpb.NodeProto{node("Relu", []string{"h"}, "y"), node("Tanh", []string{"x"}, "h")}
		}),
		"declarations twice": relu(func(g *onnxpb.GraphProto) {
			g.Node = []*onnxpb.NodeProto{node("Tanh", []string{"x"}, "h"), node("Relu", []string{"h"}, "y")}
			g.ValueInfo = []*onnxpb.ValueInfoProto{info("h", 2, 3), info("y", 2, 3), info("x", 2, 3), info("nobody", 4)}
		}),
		"initializers": relu(func(g *onnxpb.GraphProto) {
			g.Input = append(g.Input, info("w", 2))
			g.Output = append(g.Output, info("k", 1), info("x", 2, 3))
			g.ValueInfo = []*onnxpb.ValueInfoProto{info("v", 1)}
			g.Initializer = []*onnxpb.TensorProto{floats("w", 1, 2), floats("k", 3), floats("v", 4), floats("unused", 5)}
			scalar := floats("scalar", 6)
			scalar.Dims = nil
			g.Initializer = append(g.Initializer, scalar)
			g.Node[0] = node("Op", []string{"x", "w", "v", "scalar"}, "y")
		}),
		"attributes": relu(func(g *onnxpb.GraphProto) {
			with(g.Node[0], &onnxpb.AttributeProto{Name: ptr("f"), Type: ptr(int32(1)), F: ptr(float32(-0.5))},
				&onnxpb.AttributeProto{Name: ptr("e"), Type: ptr(int32(2)), I: ptr(int64(-7))},
				&onnxpb.AttributeProto{Name: ptr("s"), Type: ptr(int32(3)), S: []byte("text")},
				&onnxpb.AttributeProto{Name: ptr("fs"), Type: ptr(int32(6)), Floats: []float32{1, 2}},
				&onnxpb.AttributeProto{Name: ptr("is"), Type: ptr(int32(7)), Ints: []int64{3, -4}},
				&onnxpb.AttributeProto{Name: ptr("ss"), Type: ptr(int32(8)), Strings: [][]byte{[]byte("a"), {}}},
				&onnxpb.AttributeProto{Name: ptr("none"), Type: ptr(int32(7))})
		}),
		"a name that an invented operand could have": relu(func(g *onnxpb.GraphProto) {
			g.Input = []*onnxpb.ValueInfoProto{info("n/input", 2)}
			g.Node[0].Input[0] = "n/input"
		}),
	} {
		data := serialize(t, g)
		got, err := decode(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want, err := importer.Decode(name, data, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := got.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if g, w := normal(got), normal(want); g != w {
			t.Errorf("%s: onnx-go gives another graph:\n%s\nthan importer:\n%s", name, g, w)
		}
	}
}

// TestRefused has one model for each reason to refuse. That the reason is one
// is shown by decoding all the same: onnx-go fails, or what comes out is
// another graph.
func TestRefused(t *testing.T) {
	int4 := &onnxpb.TypeProto_Tensor{ElemType: ptr(int32(22)), Shape: &onnxpb.TensorShapeProto{}}
	attr := func(a *onnxpb.AttributeProto) *onnxpb.GraphProto {
		return relu(func(g *onnxpb.GraphProto) {
			if a.Name == nil {
				a.Name = ptr("a")
			}
			with(g.Node[0], a)
		})
	}
	constant := func(typ int32, raw int, dims ...int64) *onnxpb.GraphProto {
		return relu(func(g *onnxpb.GraphProto) {
			g.Initializer = []*onnxpb.TensorProto{{Name: ptr("w"), DataType: &typ, Dims: dims, RawData: make([]byte, raw)}}
			g.Node[0] = node("Add", []string{"x", "w"}, "y")
		})
	}
	for _, c := range []struct {
		says string
		g    *onnxpb.GraphProto
	}{
		{`value "x" has the dimension "N", which is not fixed`, relu(func(g *onnxpb.GraphProto) { g.Input[0] = info("x", 0, 3) })},
		{`value "y" has the dimension "N", which is not fixed`, relu(func(g *onnxpb.GraphProto) { g.Output[0] = info("y", 2, 0) })},
		{`value "h" has a dimension that is not fixed`, relu(func(g *onnxpb.GraphProto) {
			g.Node = []*onnxpb.NodeProto{node("Tanh", []string{"x"}, "h"), node("Relu", []string{"h"}, "y")}
			g.ValueInfo = []*onnxpb.ValueInfoProto{info("h", 5, 2)}
			g.ValueInfo[0].Type.GetTensorType().Shape.Dim[0].Value = nil
		})},
		{`value "x" is of unknown rank`, relu(func(g *onnxpb.GraphProto) { g.Input[0] = typed("x", &onnxpb.TypeProto_Tensor{ElemType: ptr(int32(1))}) })},
		{`value "x" has the dimension -1`, relu(func(g *onnxpb.GraphProto) { g.Input[0] = info("x", -1) })},
		{`value "x" has elements of type i4`, relu(func(g *onnxpb.GraphProto) { g.Input[0] = typed("x", int4) })},
		{`value "x" is no tensor`, relu(func(g *onnxpb.GraphProto) {
			g.Input[0].Type = &onnxpb.TypeProto{Value: &onnxpb.TypeProto_SequenceType{SequenceType: &onnxpb.TypeProto_Sequence{}}}
		})},
		{`initializer "w" has elements of type f16`, constant(10, 4, 2)},
		{`initializer "w" has elements of type u8`, constant(2, 2, 2)},
		{`initializer "w" is of type bool, stored as raw bytes`, constant(9, 2, 2)},
		{`initializer "w" is empty`, constant(1, 0, 0)},
		{`initializer "s" is sparse`, relu(func(g *onnxpb.GraphProto) {
			g.SparseInitializer = []*onnxpb.SparseTensorProto{{Values: floats("s", 1), Indices: floats("", 1), Dims: []int64{3}}}
			g.Node[0] = node("Add", []string{"x", "s"}, "y")
		})},
		{`its domain "com.microsoft"`, relu(func(g *onnxpb.GraphProto) { g.Node[0].Domain = ptr("com.microsoft") })},
		{`no results`, relu(func(g *onnxpb.GraphProto) { g.Node = append(g.Node, node("Op", []string{"x"})) })},
		{`no results`, relu(func(g *onnxpb.GraphProto) { g.Node = append(g.Node, node("Op", []string{"x"}, "")) })},
		{`a value "n/input", the name that onnx-go gives`, relu(func(g *onnxpb.GraphProto) {
			c := with(node("Constant", nil, "c"), &onnxpb.AttributeProto{Name: ptr("value_float"), Type: ptr(int32(1)), F: ptr(float32(1))})
			c.Name = ptr("n")
			g.Input[0] = info("n/input", 2, 3)
			g.Node = []*onnxpb.NodeProto{c, node("Add", []string{"n/input", "c"}, "y")}
		})},
		{`attribute "a" has no type`, attr(&onnxpb.AttributeProto{I: ptr(int64(3))})},
		{`attribute "a" has no value`, attr(&onnxpb.AttributeProto{Type: ptr(int32(4))})},
		{`attribute "a" has elements of type f16`, attr(&onnxpb.AttributeProto{Type: ptr(int32(4)), T: &onnxpb.TensorProto{
			DataType: ptr(int32(10)), Dims: []int64{1}, RawData: make([]byte, 2)}})},
		{`attribute "a" holds a graph`, attr(&onnxpb.AttributeProto{Type: ptr(int32(5)), G: &onnxpb.GraphProto{}})},
		{`attribute "a" is of kind 13`, attr(&onnxpb.AttributeProto{Type: ptr(int32(13)), Tp: &onnxpb.TypeProto{}})},
		{`attribute "a" is there twice`, relu(func(g *onnxpb.GraphProto) {
			with(g.Node[0], &onnxpb.AttributeProto{Name: ptr("a"), Type: ptr(int32(2)), I: ptr(int64(1))},
				&onnxpb.AttributeProto{Name: ptr("a"), Type: ptr(int32(2)), I: ptr(int64(2))})
		})},
		{`a graph without nodes or outputs`, relu(func(g *onnxpb.GraphProto) { g.Node, g.Output = nil, nil })},
	} {
		data := serialize(t, c.g)
		err := Check(data)
		var e *fault.Error
		if !errors.As(err, &e) || e.Kind != fault.Model || e.Remedy == "" || !strings.Contains(err.Error(), c.says) {
			t.Errorf("got %v, want a refusal that says %s", err, c.says)
		}
		if _, err := New(data); err == nil {
			t.Errorf("New takes a model of which Check says: %s", c.says)
		}
		want, err := importer.Decode("model", data, "")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := unchecked(want, data); err == nil && normal(got) == exact(want) {
			t.Errorf("refused without need: %s", c.says)
		}
	}
	p := &onnxpb.ModelProto{Graph: relu(func(*onnxpb.GraphProto) {}), Functions: []*onnxpb.FunctionProto{{Name: ptr("Relu")}}}
	pieces, _, err := onnxpb.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(bytes.Join(pieces, nil)); err == nil || !strings.Contains(err.Error(), "1 functions") {
		t.Errorf("got %v for a model with a function", err)
	}
}

// unchecked decodes data, the model m, without the check of New.
func unchecked(m *graph.Model, data []byte) (g *graph.Model, err error) {
	defer func() {
		if r := recover(); r != nil { // onnx-go and gorgonia panic on some models
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	b := newBackend(m)
	o := onnx.NewModel(b)
	if err := o.UnmarshalBinary(data); err != nil {
		return nil, err
	}
	return b.Model(o)
}

// exact is normal of m with what normal leaves out because New refuses it.
func exact(m *graph.Model) string {
	s := normal(m)
	for _, n := range m.Graph.Nodes() {
		if n.Domain != "" {
			s += n.Domain
		}
		if len(n.Inputs()) > 0 && !slices.ContainsFunc(n.Outputs(), func(v *graph.Value) bool { return v != nil }) {
			s += "operands"
		}
	}
	return s
}

func TestModelOfOtherBytes(t *testing.T) {
	one := serialize(t, relu(func(*onnxpb.GraphProto) {}))
	two := serialize(t, relu(func(g *onnxpb.GraphProto) {
		g.Node = []*onnxpb.NodeProto{node("Tanh", []string{"x"}, "h"), node("Relu", []string{"h"}, "y")}
	}))
	b, err := New(one)
	if err != nil {
		t.Fatal(err)
	}
	m := onnx.NewModel(b)
	if err := m.UnmarshalBinary(two); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Model(m); fault.KindOf(err) != fault.Usage {
		t.Errorf("got %v", err)
	}
	if _, err := b.Model(onnx.NewModel(b)); fault.KindOf(err) != fault.Usage {
		t.Errorf("got %v", err)
	}
}

// TestQueries reads the backend as the gonum graph that it also is.
func TestQueries(t *testing.T) {
	data := serialize(t, relu(func(g *onnxpb.GraphProto) { g.Node[0] = node("Sub", []string{"x", "x"}, "y") }))
	b, err := New(data)
	if err != nil {
		t.Fatal(err)
	}
	m := onnx.NewModel(b)
	if err := m.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	x, y := m.Input[0], m.Output[0]
	if b.Nodes().Len() != 2 || b.From(y).Len() != 1 || b.To(x).Len() != 1 || b.From(x).Len() != 0 || !b.HasEdgeBetween(x, y) || b.Edge(x, y) != nil {
		t.Error("the graph is not the one edge from result to operand")
	}
	if w, ok := b.Weight(y, x); !ok || w != 0 || b.Node(7) != nil {
		t.Errorf("the first edge has weight %v, %v", w, ok)
	}
}
