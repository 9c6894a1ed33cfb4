package importer_test

import (
	"testing"

	"nuwa/exporter"
	"nuwa/importer"
	"nuwa/internal/onnxpb"
)

// FuzzDecode holds any input to being refused, or to giving a sound graph that
// is written as a model which is read as the same one again.
func FuzzDecode(f *testing.F) {
	branch := node("If", []string{"c"}, "y")
	branch.Attribute = []*onnxpb.AttributeProto{{Name: ptr("then_branch"), Type: ptr(int32(5)), G: &onnxpb.GraphProto{
		Node: []*onnxpb.NodeProto{node("Relu", []string{"x"}, "b")}, Output: []*onnxpb.ValueInfoProto{info("b", 2)}}}}
	p := model(&onnxpb.GraphProto{
		Input: []*onnxpb.ValueInfoProto{info("x", 2), info("c")}, Output: []*onnxpb.ValueInfoProto{info("y", 2)},
		Initializer:       []*onnxpb.TensorProto{floats("w", 1, 2), {Name: ptr("r"), DataType: ptr(int32(10)), Dims: []int64{1, 2}, RawData: []byte("abcd")}},
		SparseInitializer: []*onnxpb.SparseTensorProto{{Values: floats("s", 5), Dims: []int64{4}}},
		Node:              []*onnxpb.NodeProto{branch, node("Add", []string{"w", "", "r"}, "z", "")},
		ValueInfo:         []*onnxpb.ValueInfoProto{info("z", 2), info("y", 3)},
	})
	p.Functions = []*onnxpb.FunctionProto{{Name: ptr("F"), Input: []string{"a"}, Output: []string{"a"}}}
	f.Add(serialize(f, p))
	f.Add(serialize(f, model(&onnxpb.GraphProto{Node: []*onnxpb.NodeProto{node("Relu", []string{"b"}, "a"), node("Relu", nil, "b")}})))
	f.Add(serialize(f, floats("t", 1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := importer.Decode("fuzz.onnx", data, "")
		if err != nil {
			return
		}
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
		a, err := exporter.Proto(m)
		if err != nil {
			t.Fatal(err)
		}
		var in, out onnxpb.ModelProto
		written := serialize(t, a)
		if err := onnxpb.Unmarshal(data, &in); err != nil {
			t.Fatal(err)
		}
		if err := onnxpb.Unmarshal(written, &out); err != nil {
			t.Fatal(err)
		}
		for _, d := range onnxpb.Diff(&in, &out, onnxpb.DiffOptions{AnyNodeOrder: true}) {
			t.Error(d)
		}
		if _, err := importer.Decode("fuzz.onnx", written, ""); err != nil {
			t.Fatal(err)
		}
	})
}
