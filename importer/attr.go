package importer

import (
	"slices"

	"nuwa/graph"
	"nuwa/internal/onnxpb"

	"google.golang.org/protobuf/proto"
)

// attr converts an attribute. Its tensors and graphs are read by fill, which is
// to be called once the attribute belongs to its node, so that nested graphs
// see the values around them.
func (d *decoder) attr(where string, p *onnxpb.AttributeProto) (a *graph.Attr, fill func() error) {
	a = &graph.Attr{Wire: wireOf(p)}
	w := &a.Wire
	a.Name, a.Doc, a.Ref = take(w, 1, p.Name), take(w, 13, p.DocString), take(w, 21, p.RefAttrName)
	a.Kind = graph.AttrKind(always(w, 20, p.Type))
	if p.Type == nil {
		a.Kind = kindOf(p)
	}
	where += ": attribute " + quote(a.Name)

	rest := &onnxpb.AttributeProto{ // what a.Kind does not account for
		F: p.F, I: p.I, S: p.S, T: p.T, G: p.G, Tp: p.Tp, SparseTensor: p.SparseTensor,
		Floats: p.Floats, Ints: p.Ints, Strings: p.Strings, Tensors: p.Tensors, Graphs: p.Graphs,
		TypeProtos: p.TypeProtos, SparseTensors: p.SparseTensors,
	}
	var tensors []*onnxpb.TensorProto
	var graphs []*onnxpb.GraphProto
	var sparses []*onnxpb.SparseTensorProto
	ref := a.Ref != "" // a reference holds no value
	switch a.Kind {
	case graph.AttrFloat:
		a.F, rest.F = value(w, 2, p.F, ref), nil
	case graph.AttrInt:
		a.I, rest.I = value(w, 3, p.I, ref), nil
	case graph.AttrString:
		a.S, rest.S = p.S, nil
		if p.S == nil && !ref {
			w.Omitted |= 1 << 4
		}
	case graph.AttrFloats:
		a.Floats, rest.Floats = p.Floats, nil
	case graph.AttrInts:
		a.Ints, rest.Ints = p.Ints, nil
	case graph.AttrStrings:
		a.Strings, rest.Strings = p.Strings, nil
	case graph.AttrTensor:
		tensors, rest.T = single(p.T), nil
	case graph.AttrTensors:
		tensors, rest.Tensors = p.Tensors, nil
	case graph.AttrGraph:
		graphs, rest.G = single(p.G), nil
	case graph.AttrGraphs:
		graphs, rest.Graphs = p.Graphs, nil
	case graph.AttrSparse:
		sparses, rest.SparseTensor = single(p.SparseTensor), nil
	case graph.AttrSparses:
		sparses, rest.SparseTensors = p.SparseTensors, nil
	case graph.AttrType:
		a.Types, rest.Tp = typesOf(single(p.Tp)), nil
	case graph.AttrTypes:
		a.Types, rest.TypeProtos = typesOf(p.TypeProtos), nil
	}
	for range graphs {
		a.Graphs = append(a.Graphs, graph.NewGraph(""))
	}
	return a, func() error {
		if proto.Size(rest) > 0 {
			b, err := proto.Marshal(rest)
			if err != nil {
				return d.bad(where, err.Error(), "fields that can be written again", exportAgain)
			}
			a.Wire.Unknown = slices.Concat(b, a.Wire.Unknown)
		}
		for _, pt := range tensors {
			t, err := d.tensor(where, pt)
			if err != nil {
				return err
			}
			a.Tensors = append(a.Tensors, t)
		}
		for _, ps := range sparses {
			s, err := d.sparse(where, ps)
			if err != nil {
				return err
			}
			a.Sparses = append(a.Sparses, s)
		}
		for i, pg := range graphs {
			if err := d.graph(a.Graphs[i], pg); err != nil {
				return err
			}
		}
		return nil
	}
}

// value is always, except that a reference to another attribute is not
// expected to hold a value of its own.
func value[T comparable](w *graph.Wire, n int, p *T, ref bool) T {
	if ref {
		return take(w, n, p)
	}
	return always(w, n, p)
}

func single[T any](p *T) []*T {
	if p == nil {
		return nil
	}
	return []*T{p}
}

func typesOf(ps []*onnxpb.TypeProto) []*graph.Type {
	var ts []*graph.Type
	for _, p := range ps {
		ts = append(ts, typeOf(p))
	}
	return ts
}

// kindOf tells the kind of an attribute without a type, as files of the first
// IR version have them, from the one field that is set.
func kindOf(p *onnxpb.AttributeProto) graph.AttrKind {
	kind := graph.AttrUndefined
	for _, c := range []struct {
		set  bool
		kind graph.AttrKind
	}{
		{p.F != nil, graph.AttrFloat}, {p.I != nil, graph.AttrInt}, {p.S != nil, graph.AttrString},
		{p.T != nil, graph.AttrTensor}, {p.G != nil, graph.AttrGraph}, {p.SparseTensor != nil, graph.AttrSparse},
		{p.Tp != nil, graph.AttrType}, {len(p.Floats) > 0, graph.AttrFloats}, {len(p.Ints) > 0, graph.AttrInts},
		{len(p.Strings) > 0, graph.AttrStrings}, {len(p.Tensors) > 0, graph.AttrTensors},
		{len(p.Graphs) > 0, graph.AttrGraphs}, {len(p.SparseTensors) > 0, graph.AttrSparses},
		{len(p.TypeProtos) > 0, graph.AttrTypes},
	} {
		if !c.set {
			continue
		}
		if kind != graph.AttrUndefined {
			return graph.AttrUndefined
		}
		kind = c.kind
	}
	return kind
}
