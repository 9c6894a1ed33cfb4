package exporter

import (
	"fmt"
	"math"

	"nuwa/graph"
	"nuwa/internal/fault"
	"nuwa/internal/onnxpb"
)

// maxProto is the size in bytes that no serialized model may exceed. Only tests
// change it.
var maxProto int64 = math.MaxInt32

// Encode returns m as one self-contained ONNX file: weights that were external
// are inside. A model of 2 GB or more has no such form; Write it instead.
func Encode(m *graph.Model) ([]byte, error) {
	p, err := convert(m, inside)
	if err != nil {
		return nil, err
	}
	pieces, size, err := onnxpb.Marshal(p)
	if err != nil {
		return nil, err
	}
	if size > maxProto {
		return nil, &fault.Error{Kind: fault.Model, Got: fmt.Sprintf("a model of %d bytes", size), Want: "at most 2 GB in one piece",
			Remedy: "write it to a file, with the weights in a second one beside it"}
	}
	out := make([]byte, 0, size)
	for _, piece := range pieces {
		out = append(out, piece...)
	}
	return out, nil
}

// Proto returns m as a protobuf message that shares the weights with m. What
// was external data stays so, under the location it was read from.
func Proto(m *graph.Model) (*onnxpb.ModelProto, error) { return convert(m, stay) }

// encoder converts one model.
type encoder struct {
	place placement
	err   error // the first failure
}

func (e *encoder) fail(err error) {
	if e.err == nil {
		e.err = &fault.Error{Kind: fault.Internal, Where: "writing the model", Err: err}
	}
}

func convert(m *graph.Model, place placement) (*onnxpb.ModelProto, error) {
	e := &encoder{place: place}
	w := m.Wire
	p := &onnxpb.ModelProto{
		IrVersion: give(w, 1, m.IRVersion), ProducerName: give(w, 2, m.ProducerName),
		ProducerVersion: give(w, 3, m.ProducerVersion), Domain: give(w, 4, m.Domain),
		ModelVersion: give(w, 5, m.ModelVersion), DocString: give(w, 6, m.Doc),
		Graph: e.graph(m.Graph), OpsetImport: list(m.Opsets, opset),
		MetadataProps: list(m.Metadata, entry), Functions: list(m.Functions, e.function),
	}
	return finish(p, w), e.err
}

func (e *encoder) function(f *graph.Function) *onnxpb.FunctionProto {
	w := f.Wire
	name := func(v *graph.Value) string { return v.Name() }
	p := &onnxpb.FunctionProto{
		Name: give(w, 1, f.Name), Input: list(f.Body.Inputs(), name), Output: list(f.Body.Outputs(), name),
		Attribute: f.AttrNames, Node: e.nodes(f.Body), DocString: give(w, 8, f.Doc), OpsetImport: list(f.Opsets, opset),
		Domain: give(w, 10, f.Domain), AttributeProto: list(f.AttrDefaults, e.attr), ValueInfo: infos(f.Body),
		Overload: give(w, 13, f.Overload), MetadataProps: list(f.Metadata, entry),
	}
	return finish(p, w)
}

func (e *encoder) graph(g *graph.Graph) *onnxpb.GraphProto {
	w := g.Wire
	p := &onnxpb.GraphProto{
		Node: e.nodes(g), Name: give(w, 2, g.Name), DocString: give(w, 10, g.Doc), Input: list(g.Inputs(), valueInfo),
		ValueInfo: infos(g), QuantizationAnnotation: list(g.Quantization, annotation), MetadataProps: list(g.Metadata, entry),
	}
	for i := range g.Outputs() {
		p.Output = append(p.Output, valueInfo(g.OutputDecl(i)))
	}
	for _, v := range g.Consts() {
		name := v.Name()
		if s := v.Sparse(); s != nil {
			p.SparseInitializer = append(p.SparseInitializer, e.sparse(s, &name))
		} else {
			p.Initializer = append(p.Initializer, e.tensor(v.Default(), &name))
		}
	}
	return finish(p, w)
}

// infos lists the types that the file states beside those of inputs and
// outputs.
func infos(g *graph.Graph) []*onnxpb.ValueInfoProto {
	var ps []*onnxpb.ValueInfoProto
	for _, v := range g.Infos {
		if v.Current() {
			ps = append(ps, valueInfo(v))
		}
	}
	return ps
}

func valueInfo(v *graph.Value) *onnxpb.ValueInfoProto {
	return finish(&onnxpb.ValueInfoProto{
		Name: always(v.Wire, 1, v.Name()), Type: typeProto(v.Type),
		DocString: give(v.Wire, 3, v.Doc), MetadataProps: list(v.Metadata, entry),
	}, v.Wire)
}

func (e *encoder) nodes(g *graph.Graph) []*onnxpb.NodeProto {
	nodes, err := g.Order()
	if err != nil {
		e.fail(err)
	}
	return list(nodes, e.node)
}

func (e *encoder) node(n *graph.Node) *onnxpb.NodeProto {
	w := n.Wire
	name := func(v *graph.Value) string {
		if v == nil {
			return ""
		}
		return v.Name()
	}
	p := &onnxpb.NodeProto{
		Input: list(n.Inputs(), name), Output: list(n.Outputs(), name), Name: give(w, 3, n.Name), OpType: give(w, 4, n.Op),
		Attribute: list(n.Attrs(), e.attr), DocString: give(w, 6, n.Doc), Domain: give(w, 7, n.Domain),
		Overload: give(w, 8, n.Overload), MetadataProps: list(n.Metadata, entry),
	}
	return finish(p, w)
}
