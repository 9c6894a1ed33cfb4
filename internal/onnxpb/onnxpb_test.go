package onnxpb

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

func ptr[T any](x T) *T { return &x }

// sample is a model with large and small tensors at every place that may hold
// one, and with unknown fields between known ones.
func sample() *ModelProto {
	big := make([]byte, 3*shareFrom)
	for i := range big {
		big[i] = byte(i * 7)
	}
	tensor := func(name string) *TensorProto {
		return &TensorProto{Name: &name, Dims: []int64{3, shareFrom / 4}, DataType: ptr(int32(1)), RawData: slices.Clone(big), DocString: ptr("after the bytes")}
	}
	sub := &GraphProto{Name: ptr("sub"), Initializer: []*TensorProto{tensor("s")}}
	node := &NodeProto{
		Input: []string{"x", "", "w"}, Output: []string{"y"}, OpType: ptr("If"),
		Attribute: []*AttributeProto{
			{Name: ptr("t"), T: tensor("t"), Floats: make([]float32, 2000)},
			{Name: ptr("ts"), Tensors: []*TensorProto{tensor("a"), tensor("b")}},
			{Name: ptr("g"), G: sub}, {Name: ptr("gs"), Graphs: []*GraphProto{sub, sub}},
			{Name: ptr("sp"), SparseTensor: &SparseTensorProto{Values: tensor("v"), Indices: tensor("i"), Dims: []int64{9}}},
			{Name: ptr("sps"), SparseTensors: []*SparseTensorProto{{Values: tensor("v")}}},
		},
	}
	m := &ModelProto{
		IrVersion: ptr(int64(9)), ProducerName: ptr(""), Graph: &GraphProto{
			Node: []*NodeProto{node, {Input: []string{"y"}, Output: []string{"z"}}}, Name: ptr("g"),
			Initializer:       []*TensorProto{tensor("w"), {Name: ptr("f"), FloatData: make([]float32, 3000), Int64Data: []int64{-1, 5}}},
			SparseInitializer: []*SparseTensorProto{{Values: tensor("sv")}},
			ValueInfo: []*ValueInfoProto{{Name: ptr("y"), Type: &TypeProto{Denotation: ptr("IMAGE"), Value: &TypeProto_OptionalType{
				OptionalType: &TypeProto_Optional{ElemType: &TypeProto{}}}}}},
		},
		Functions: []*FunctionProto{{Name: ptr("f"), Node: []*NodeProto{node}, AttributeProto: node.Attribute}},
	}
	unknown := protowire.AppendVarint(protowire.AppendTag(nil, 77, protowire.VarintType), 5)
	m.ProtoReflect().SetUnknown(unknown)
	node.ProtoReflect().SetUnknown(unknown)
	return m
}

func serialize(t *testing.T, m proto.Message) []byte {
	t.Helper()
	pieces, size, err := Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	b := bytes.Join(pieces, nil)
	if int64(len(b)) != size {
		t.Fatalf("Marshal says %d bytes and gives %d", size, len(b))
	}
	return b
}

func TestAgreesWithTheRuntime(t *testing.T) {
	m := sample()
	b := serialize(t, m)
	var ours, theirs ModelProto
	if err := Unmarshal(b, &ours); err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(b, &theirs); err != nil {
		t.Fatal(err)
	}
	for _, other := range []*ModelProto{&ours, &theirs} {
		if !proto.Equal(m, other) {
			t.Error("what was written is not what is read")
		}
		if d := Diff(m, other, DiffOptions{}); d != nil {
			t.Error(d)
		}
	}
	std, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if len(std) != len(b) {
		t.Errorf("the runtime needs %d bytes, Marshal %d", len(std), len(b))
	}
}

func TestLargeBytesAreShared(t *testing.T) {
	b := serialize(t, sample())
	var m ModelProto
	if err := Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	raw := m.Graph.Initializer[0].RawData
	shared := false
	for i := range b {
		shared = shared || &b[i] == &raw[0]
	}
	if !shared {
		t.Error("a large tensor was copied from the input")
	}
	pieces, _, err := Marshal(&m)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(pieces, func(p []byte) bool { return &p[0] == &raw[0] }) {
		t.Error("a large tensor was copied to the output")
	}
}

// TestFieldOrder holds Marshal to the order of field numbers even where a
// oneof comes before a field with a lower number, as C++ and Python write.
func TestFieldOrder(t *testing.T) {
	typ := &TypeProto{Denotation: ptr("d"), Value: &TypeProto_TensorType{TensorType: &TypeProto_Tensor{Shape: &TensorShapeProto{
		Dim: []*TensorShapeProto_Dimension{{Denotation: ptr("e"), Value: &TensorShapeProto_Dimension_DimValue{DimValue: 0}}},
	}}}}
	want := []byte{0x0a, 0x09, 0x12, 0x07, 0x0a, 0x05, 0x08, 0x00, 0x1a, 0x01, 'e', 0x32, 0x01, 'd'}
	if got := serialize(t, typ); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestUnmarshalRefusesDeepNesting(t *testing.T) {
	for _, pad := range []int{0, shareFrom} { // read by the runtime, and by parse
		g := &GraphProto{DocString: ptr(strings.Repeat("x", pad))}
		for range 40 {
			g = &GraphProto{Node: []*NodeProto{{Attribute: []*AttributeProto{{G: g}}}}}
		}
		b, err := proto.Marshal(&ModelProto{Graph: g})
		if err != nil {
			t.Fatal(err)
		}
		if err := Unmarshal(b, &ModelProto{}); err == nil {
			t.Errorf("120 levels of %d bytes pass", len(b))
		}
	}
}

func TestUnmarshalDamaged(t *testing.T) {
	b := serialize(t, sample())
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		c := slices.Clone(b)
		for range 1 + rng.IntN(4) {
			c[rng.IntN(len(c))] = byte(rng.Uint32())
		}
		c = c[:rng.IntN(len(c)+1)]
		var ours, theirs ModelProto
		errOurs := Unmarshal(c, &ours)
		errTheirs := proto.UnmarshalOptions{RecursionLimit: maxDepth}.Unmarshal(c, &theirs)
		if (errOurs == nil) != (errTheirs == nil) {
			t.Fatalf("we say %v, the runtime %v", errOurs, errTheirs)
		}
		if errOurs == nil && !proto.Equal(&ours, &theirs) {
			t.Fatal("we and the runtime read different messages", Diff(&ours, &theirs, DiffOptions{}))
		}
	}
}

func TestDiffListsEverything(t *testing.T) {
	a, b := sample(), sample()
	b.IrVersion = ptr(int64(8))
	b.ProducerName = nil
	b.Graph.Initializer[0].RawData[100]++
	b.Graph.Initializer[1].FloatData[7] = 1
	b.Graph.Node[0].Input[1] = "q"
	b.Graph.Node[0].Attribute[5].SparseTensors = nil
	b.Graph.Node = append(b.Graph.Node, &NodeProto{OpType: ptr("Relu"), Output: []string{"r"}})
	b.Functions[0].ProtoReflect().SetUnknown([]byte{0xe8, 0x04, 0x01})
	want := []string{
		"ir_version: 9, then 8",
		`producer_name: "", then absent`,
		`graph.node[0 If ""].input[1]: "", then "q"`,
		`graph.node[0 If ""].attribute[5 "sps"].sparse_tensors[0]: SparseTensorProto of 12321 bytes, then absent`,
		`graph.node[2 Relu ""]: absent, then NodeProto of 9 bytes`,
		`graph.initializer[0 "w"].raw_data: 1 of 12288 bytes differ, the first at 100`,
		`graph.initializer[1 "f"].float_data: 1 of 3000 elements differ, the first at 7: 0, then 1`,
		`functions[0 "f"].node[0 If ""].input[1]: "", then "q"`,
		`functions[0 "f"].node[0 If ""].attribute[5 "sps"].sparse_tensors[0]: SparseTensorProto of 12321 bytes, then absent`,
		`functions[0 "f"].attribute_proto[5 "sps"].sparse_tensors[0]: SparseTensorProto of 12321 bytes, then absent`,
		`functions[0 "f"].unknown fields: 0 bytes , then 3 bytes e80401`,
	}
	for _, opt := range []DiffOptions{{}, {AnyNodeOrder: true}} {
		if got := Diff(a, b, opt); !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	c := sample()
	slices.Reverse(c.Graph.Node)
	if d := Diff(a, c, DiffOptions{AnyNodeOrder: true}); d != nil {
		t.Error(d)
	}
	if d := Diff(a, c, DiffOptions{}); d == nil {
		t.Error("another order of nodes passes unseen")
	}
}
