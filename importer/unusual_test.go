package importer_test

import (
	"bytes"
	"slices"
	"testing"

	"nuwa/exporter"
	"nuwa/graph"
	"nuwa/importer"
	"nuwa/internal/onnxpb"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

func ptr[T any](x T) *T { return &x }

func serialize(t testing.TB, m proto.Message) []byte {
	t.Helper()
	pieces, _, err := onnxpb.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Join(pieces, nil)
}

// model wraps a graph into a model.
func model(g *onnxpb.GraphProto) *onnxpb.ModelProto {
	return &onnxpb.ModelProto{IrVersion: ptr(int64(8)), Graph: g, OpsetImport: []*onnxpb.OperatorSetIdProto{{Version: ptr(int64(17))}}}
}

func info(name string, dims ...int64) *onnxpb.ValueInfoProto {
	shape := &onnxpb.TensorShapeProto{}
	for _, d := range dims {
		shape.Dim = append(shape.Dim, &onnxpb.TensorShapeProto_Dimension{Value: &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: d}})
	}
	return &onnxpb.ValueInfoProto{Name: &name, Type: &onnxpb.TypeProto{Value: &onnxpb.TypeProto_TensorType{
		TensorType: &onnxpb.TypeProto_Tensor{ElemType: ptr(int32(1)), Shape: shape}}}}
}

func node(op string, in []string, out ...string) *onnxpb.NodeProto {
	return &onnxpb.NodeProto{Input: in, Output: out, OpType: &op}
}

func floats(name string, xs ...float32) *onnxpb.TensorProto {
	return &onnxpb.TensorProto{Name: &name, Dims: []int64{int64(len(xs))}, DataType: ptr(int32(1)), FloatData: xs}
}

// roundTrip imports p, checks the graph, and holds the export to the same
// bytes. It returns the graph.
func roundTrip(t *testing.T, p *onnxpb.ModelProto) *graph.Model {
	t.Helper()
	in := serialize(t, p)
	m, err := importer.Decode("test.onnx", in, "")
	if err != nil {
		t.Fatal(err)
	}
	for what, m := range map[string]*graph.Model{"the model": m, "its clone": m.Clone()} {
		if err := m.Check(); err != nil {
			t.Fatal(what, err)
		}
		q, err := exporter.Proto(m)
		if err != nil {
			t.Fatal(what, err)
		}
		if out := serialize(t, q); !bytes.Equal(in, out) {
			var a, b onnxpb.ModelProto
			if err := onnxpb.Unmarshal(in, &a); err != nil {
				t.Fatal(err)
			}
			if err := onnxpb.Unmarshal(out, &b); err != nil {
				t.Fatal(err)
			}
			for _, d := range onnxpb.Diff(&a, &b, onnxpb.DiffOptions{}) {
				t.Errorf("%s: %s", what, d)
			}
			t.Errorf("%s comes out as %d bytes, want the %d read", what, len(out), len(in))
		}
	}
	return m
}

func TestNodesInAnyOrderAndOmittedOperands(t *testing.T) {
	p := model(&onnxpb.GraphProto{
		Input: []*onnxpb.ValueInfoProto{info("x", 2)}, Output: []*onnxpb.ValueInfoProto{info("y", 2)},
		Node: []*onnxpb.NodeProto{node("Clip", []string{"h", "", "x", ""}, "y", "", "z"), node("Relu", []string{"x"}, "h")},
	})
	m, err := importer.Decode("test.onnx", serialize(t, p), "")
	if err != nil {
		t.Fatal(err)
	}
	n := m.Graph.Nodes()[1]
	if n.Op != "Clip" || len(n.Inputs()) != 4 || n.Input(1) != nil || n.Input(3) != nil || n.Output(1) != nil || n.Output(2).Name() != "z" {
		t.Errorf("got %s", m)
	}
	slices.Reverse(p.Graph.Node)
	roundTrip(t, p)
}

func TestSubgraphsSeeOuterValues(t *testing.T) {
	branch := func(name, uses string) *onnxpb.GraphProto {
		return &onnxpb.GraphProto{
			Name: &name, Initializer: []*onnxpb.TensorProto{floats("one", 1)},
			Node:   []*onnxpb.NodeProto{node("Add", []string{uses, "one"}, "sum")},
			Output: []*onnxpb.ValueInfoProto{{Name: ptr("sum")}}, ValueInfo: []*onnxpb.ValueInfoProto{info("sum", 1), info("nobody", 4)},
		}
	}
	cond := node("If", []string{"c"}, "y")
	cond.Attribute = []*onnxpb.AttributeProto{
		{Name: ptr("then_branch"), G: branch("then", "late"), Type: ptr(int32(5))},
		{Name: ptr("else_branch"), G: branch("else", "x"), Type: ptr(int32(5))},
		{Name: ptr("outer"), Type: ptr(int32(5)), G: &onnxpb.GraphProto{Name: ptr("passes on"), Output: []*onnxpb.ValueInfoProto{info("x", 3)}}},
	}
	p := model(&onnxpb.GraphProto{
		Input: []*onnxpb.ValueInfoProto{info("x", 1), info("c")}, Output: []*onnxpb.ValueInfoProto{info("y", 1)},
		Node: []*onnxpb.NodeProto{cond, node("Relu", []string{"x"}, "late")},
	})
	m, err := importer.Decode("test.onnx", serialize(t, p), "")
	if err != nil {
		t.Fatal(err)
	}
	if m.Graph.Nodes()[0].Op != "Relu" {
		t.Error("a node is not sorted before the one whose branch reads its result")
	}
	slices.Reverse(p.Graph.Node)
	m = roundTrip(t, p)
	x := m.Graph.Value("x")
	if len(x.Uses()) != 3 {
		t.Errorf("x has %d uses, want 3", len(x.Uses()))
	}
	sum := m.Graph.Nodes()[1].Subgraphs()[0].Value("sum")
	if sum.Type == nil {
		t.Error("a branch's result does not know the type stated in its list of types")
	}
}

func TestFunctions(t *testing.T) {
	scale := node("Mul", []string{"a", "k"}, "ab")
	constant := node("Constant", nil, "k")
	constant.Attribute = []*onnxpb.AttributeProto{{Name: ptr("value_float"), Type: ptr(int32(1)), RefAttrName: ptr("by")}}
	call := node("Scale", []string{"x"}, "y")
	call.Domain, call.Overload = ptr("local"), ptr("v2")
	p := model(&onnxpb.GraphProto{
		Input: []*onnxpb.ValueInfoProto{info("x", 2)}, Output: []*onnxpb.ValueInfoProto{info("y", 2)}, Node: []*onnxpb.NodeProto{call},
	})
	p.Functions = []*onnxpb.FunctionProto{{
		Name: ptr("Scale"), Domain: ptr("local"), Overload: ptr("v2"), Input: []string{"a", "unused"}, Output: []string{"ab", "a"},
		Attribute: []string{"must"}, AttributeProto: []*onnxpb.AttributeProto{{Name: ptr("by"), Type: ptr(int32(1)), F: ptr(float32(0))}},
		Node: []*onnxpb.NodeProto{constant, scale}, ValueInfo: []*onnxpb.ValueInfoProto{info("k"), info("a", 2), info("ab", 2)},
		OpsetImport:   []*onnxpb.OperatorSetIdProto{{Domain: ptr(""), Version: ptr(int64(17))}},
		MetadataProps: []*onnxpb.StringStringEntryProto{{Key: ptr("k"), Value: ptr("")}},
	}}
	m := roundTrip(t, p)
	body := m.Functions[0].Body
	if len(body.Inputs()) != 2 || len(body.Nodes()) != 2 || body.Inputs()[0].Type == nil || body.Outputs()[0].Type == nil {
		t.Errorf("got %s", m)
	}
}

func TestInitializers(t *testing.T) {
	p := model(&onnxpb.GraphProto{
		Input:       []*onnxpb.ValueInfoProto{info("x", 2), info("w", 2), info("s", 4)},
		Output:      []*onnxpb.ValueInfoProto{info("y", 2), info("k", 1), info("x", 2)},
		Initializer: []*onnxpb.TensorProto{floats("w", 1, 2), floats("k", 3)},
		SparseInitializer: []*onnxpb.SparseTensorProto{
			{Values: floats("s", 5), Indices: &onnxpb.TensorProto{Dims: []int64{1}, DataType: ptr(int32(7)), Int64Data: []int64{2}}, Dims: []int64{4}},
			{Values: floats("only sparse", 5), Indices: &onnxpb.TensorProto{Dims: []int64{1}, DataType: ptr(int32(7)), Int64Data: []int64{2}}, Dims: []int64{4}},
		},
		Node: []*onnxpb.NodeProto{node("Add", []string{"x", "w"}, "y")},
	})
	m := roundTrip(t, p)
	if w := m.Graph.Value("w"); w.Const() != nil || w.Default() == nil {
		t.Error("an initializer that is an input counts as a constant")
	}
	if k := m.Graph.Value("k"); k.Const() == nil || !k.IsOutput() {
		t.Error("an initializer that is an output is none of both")
	}
}

// TestElementTypes holds every element type to surviving in each storage.
func TestElementTypes(t *testing.T) {
	fill := func(p *onnxpb.TensorProto, typ graph.DType) {
		switch typ {
		case graph.Float32, graph.Complex64:
			p.FloatData = []float32{-1.5, 3e38, 0, 1e-40}
		case graph.Float64, graph.Complex128:
			p.DoubleData = []float64{-1.5, 3e300, 0, 1e-310}
		case graph.Int64:
			p.Int64Data = []int64{-1, 1 << 62, 0, -1 << 63}
		case graph.Uint64:
			p.Uint64Data = []uint64{1<<64 - 1, 0, 5, 7}
		case graph.Uint32:
			p.Uint64Data = []uint64{1<<32 - 1, 0, 5, 7}
		case graph.Int32:
			p.Int32Data = []int32{-1 << 31, -1, 1<<31 - 1, 0}
		case graph.Int16:
			p.Int32Data = []int32{-1 << 15, -1, 1<<15 - 1, 0}
		case graph.Uint16, graph.Float16, graph.BFloat16:
			p.Int32Data = []int32{1<<16 - 1, 0, 0x7c00, 1}
		case graph.Int8:
			p.Int32Data = []int32{-128, -1, 127, 0}
		case graph.String:
			p.StringData = [][]byte{[]byte("a"), {}, {0xff}, []byte("é")}
		default:
			p.Int32Data = []int32{255, 0, 128, 1}
		}
	}
	for typ := graph.Float32; typ <= graph.Int2; typ++ {
		typed := &onnxpb.TensorProto{Name: ptr("typed"), DataType: ptr(int32(typ)), Dims: []int64{4}}
		fill(typed, typ)
		switch n := typ.Bits(); {
		case typ == graph.Complex64 || typ == graph.Complex128:
			typed.Dims = []int64{2}
		case n > 0 && n < 8:
			typed.Dims = []int64{int64(32 / n)}
		}
		empty := &onnxpb.TensorProto{Name: ptr("empty"), DataType: ptr(int32(typ)), Dims: []int64{3, 0}}
		tensors := []*onnxpb.TensorProto{typed, empty}
		if typ != graph.String {
			tensors = append(tensors,
				&onnxpb.TensorProto{Name: ptr("raw"), DataType: ptr(int32(typ)), Dims: []int64{8}, RawData: make([]byte, typ.ByteLen(8))},
				&onnxpb.TensorProto{Name: ptr("empty raw"), DataType: ptr(int32(typ)), Dims: []int64{0}, RawData: []byte{}})
		}
		m := roundTrip(t, model(&onnxpb.GraphProto{Initializer: tensors}))
		if typ.Bits() == 0 {
			continue
		}
		v := m.Graph.Value("typed").Const()
		if int64(len(v.Data)) != typ.ByteLen(v.Len()) {
			t.Errorf("%s: %d bytes for %s", typ, len(v.Data), v.Shape())
		}
	}
}

// TestEveryFieldSurvives fills every field of every message, with values and
// with written-out defaults, and adds unknown ones.
func TestEveryFieldSurvives(t *testing.T) {
	unknown := func(m proto.Message) {
		m.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 500, protowire.BytesType), "newer than nuwa"))
	}
	entries := func() []*onnxpb.StringStringEntryProto {
		es := []*onnxpb.StringStringEntryProto{{Key: ptr("k"), Value: ptr("v")}, {Key: ptr(""), Value: ptr("")}, {Key: ptr("k")}, {}, {Key: ptr("u")}}
		unknown(es[4])
		return es
	}
	for _, s := range []string{"text", ""} {
		full := floats("w", 1, 2)
		full.DocString, full.ExternalData, full.DataLocation, full.MetadataProps = &s, entries(), ptr(int32(0)), entries()
		unknown(full)
		typ := func(v any) *onnxpb.TypeProto {
			p := &onnxpb.TypeProto{Denotation: &s}
			switch v := v.(type) {
			case *onnxpb.TypeProto_Tensor:
				unknown(v)
				p.Value = &onnxpb.TypeProto_TensorType{TensorType: v}
			case *onnxpb.TypeProto_SparseTensor:
				unknown(v)
				p.Value = &onnxpb.TypeProto_SparseTensorType{SparseTensorType: v}
			case *onnxpb.TypeProto_Sequence:
				unknown(v)
				p.Value = &onnxpb.TypeProto_SequenceType{SequenceType: v}
			case *onnxpb.TypeProto_Optional:
				unknown(v)
				p.Value = &onnxpb.TypeProto_OptionalType{OptionalType: v}
			case *onnxpb.TypeProto_Map:
				unknown(v)
				p.Value = &onnxpb.TypeProto_MapType{MapType: v}
			}
			unknown(p)
			return p
		}
		dims := []*onnxpb.TensorShapeProto_Dimension{
			{Value: &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: 0}, Denotation: &s},
			{Value: &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: -1}},
			{Value: &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: s}}, {},
		}
		unknown(dims[3])
		shape := &onnxpb.TensorShapeProto{Dim: dims}
		unknown(shape)
		types := []*onnxpb.TypeProto{
			{}, typ(nil), typ(&onnxpb.TypeProto_Tensor{ElemType: ptr(int32(0)), Shape: shape}), typ(&onnxpb.TypeProto_Tensor{}),
			typ(&onnxpb.TypeProto_Tensor{Shape: &onnxpb.TensorShapeProto{}}),
			typ(&onnxpb.TypeProto_SparseTensor{ElemType: ptr(int32(1)), Shape: shape}), typ(&onnxpb.TypeProto_Sequence{}),
			typ(&onnxpb.TypeProto_Sequence{ElemType: typ(&onnxpb.TypeProto_Map{KeyType: ptr(int32(7)), ValueType: typ(nil)})}),
			typ(&onnxpb.TypeProto_Optional{ElemType: typ(&onnxpb.TypeProto_Tensor{})}), typ(&onnxpb.TypeProto_Map{}),
		}
		sparse := &onnxpb.SparseTensorProto{Values: full, Indices: &onnxpb.TensorProto{Name: &s, Dims: []int64{0}, DataType: ptr(int32(7))}, Dims: []int64{9}}
		unknown(sparse)
		sub := &onnxpb.GraphProto{Name: &s, DocString: &s, MetadataProps: entries()}
		var attrs []*onnxpb.AttributeProto
		for kind, a := range []*onnxpb.AttributeProto{
			{}, {F: ptr(float32(0))}, {I: ptr(int64(0))}, {S: []byte(s)}, {T: full}, {G: sub}, {Floats: []float32{0, 1}}, {Ints: []int64{0, 1}},
			{Strings: [][]byte{[]byte(s), {0xff}}}, {Tensors: []*onnxpb.TensorProto{full, full}}, {Graphs: []*onnxpb.GraphProto{sub, sub}},
			{SparseTensor: sparse}, {SparseTensors: []*onnxpb.SparseTensorProto{sparse}}, {Tp: types[2]}, {TypeProtos: types},
		} {
			typed := proto.CloneOf(a) // with a type
			typed.Name, typed.Type, typed.DocString = ptr("a"), ptr(int32(kind)), &s
			unknown(typed)
			untyped := proto.CloneOf(a) // as in files of the first IR version
			untyped.Name = ptr("b")
			bare := &onnxpb.AttributeProto{Name: ptr("c"), Type: ptr(int32(kind))} // a default that is left out
			ref := &onnxpb.AttributeProto{Name: ptr("d"), Type: ptr(int32(kind)), RefAttrName: ptr("r")}
			attrs = append(attrs, typed, untyped, bare, ref)
		}
		attrs = append(attrs, &onnxpb.AttributeProto{Name: ptr("newer"), Type: ptr(int32(99))})
		for _, a := range attrs {
			if a.Type != nil && *a.Type == 0 {
				a.F = nil
			}
		}
		n := node("Op", []string{"x"}, "y")
		n.Name, n.DocString, n.Domain, n.Overload, n.Attribute, n.MetadataProps = &s, &s, &s, &s, attrs, entries()
		unknown(n)
		infos := []*onnxpb.ValueInfoProto{info("y", 7), {Name: ptr("y")}, {}, {Name: ptr("z"), Type: types[1]}, info("y", 3)}
		x := &onnxpb.ValueInfoProto{Name: ptr("x"), Type: types[2], DocString: &s, MetadataProps: entries()}
		unknown(x)
		quant := &onnxpb.TensorAnnotation{TensorName: &s, QuantParameterTensorNames: entries()}
		unknown(quant)
		g := &onnxpb.GraphProto{
			Name: &s, DocString: &s, MetadataProps: entries(), Node: []*onnxpb.NodeProto{n}, Initializer: []*onnxpb.TensorProto{full},
			Input: []*onnxpb.ValueInfoProto{x}, Output: []*onnxpb.ValueInfoProto{info("y", 7), {Name: ptr("x")}, info("y", 8)}, ValueInfo: infos,
			QuantizationAnnotation: []*onnxpb.TensorAnnotation{quant, {}},
		}
		unknown(g)
		op := &onnxpb.OperatorSetIdProto{Domain: &s, Version: ptr(int64(0))}
		unknown(op)
		f := &onnxpb.FunctionProto{Name: &s, DocString: &s, Domain: &s, Overload: &s}
		unknown(f)
		p := &onnxpb.ModelProto{
			IrVersion: ptr(int64(0)), ProducerName: &s, ProducerVersion: &s, Domain: &s, ModelVersion: ptr(int64(0)), DocString: &s,
			Graph: g, OpsetImport: []*onnxpb.OperatorSetIdProto{op, {}}, MetadataProps: entries(), Functions: []*onnxpb.FunctionProto{f, {}},
		}
		unknown(p)
		roundTrip(t, p)
	}
}

func TestOldFilesHaveUntypedAttributes(t *testing.T) {
	n := node("Conv", []string{"x"}, "y")
	n.Attribute = []*onnxpb.AttributeProto{{Name: ptr("pads"), Ints: []int64{1, 1}}, {Name: ptr("group"), I: ptr(int64(2))}}
	m := roundTrip(t, model(&onnxpb.GraphProto{Input: []*onnxpb.ValueInfoProto{info("x", 1)}, Node: []*onnxpb.NodeProto{n}}))
	got := m.Graph.Nodes()[0]
	if pads, ok := got.IntsAttr("pads"); !ok || len(pads) != 2 || got.IntAttr("group", 1) != 2 {
		t.Errorf("got %s", m)
	}
}

// TestContradictoryAttribute has an attribute say more than its type: what
// does not belong to the type is carried along.
func TestContradictoryAttribute(t *testing.T) {
	n := node("Op", []string{"x"}, "y")
	n.Attribute = []*onnxpb.AttributeProto{{Name: ptr("a"), Type: ptr(int32(2)), I: ptr(int64(3)), F: ptr(float32(4)), T: floats("t", 1)}}
	p := model(&onnxpb.GraphProto{Input: []*onnxpb.ValueInfoProto{info("x", 1)}, Node: []*onnxpb.NodeProto{n}})
	in := serialize(t, p)
	m, err := importer.Decode("test.onnx", in, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Graph.Nodes()[0].IntAttr("a", 0); got != 3 {
		t.Errorf("the attribute is %d, want 3", got)
	}
	out, err := exporter.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	var q onnxpb.ModelProto
	if err := onnxpb.Unmarshal(out, &q); err != nil {
		t.Fatal(err)
	}
	for _, d := range onnxpb.Diff(p, &q, onnxpb.DiffOptions{}) {
		t.Error(d)
	}
}
