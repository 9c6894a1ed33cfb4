package exporter

import (
	"nuwa/graph"
	"nuwa/internal/onnxpb"
)

func (e *encoder) attr(a *graph.Attr) *onnxpb.AttributeProto {
	w := a.Wire
	p := &onnxpb.AttributeProto{
		Name: give(w, 1, a.Name), DocString: give(w, 13, a.Doc), Type: new(int32), RefAttrName: give(w, 21, a.Ref),
	}
	*p.Type = int32(a.Kind)
	if w.Omitted>>20&1 == 1 {
		p.Type = nil
	}
	ref := a.Ref != "" // a reference holds no value
	switch a.Kind {
	case graph.AttrFloat:
		p.F = value(w, 2, a.F, ref)
	case graph.AttrInt:
		p.I = value(w, 3, a.I, ref)
	case graph.AttrString:
		if p.S = a.S; len(a.S) == 0 {
			p.S = nil
			if w.Omitted>>4&1 == 0 && !ref {
				p.S = []byte{}
			}
		}
	case graph.AttrFloats:
		p.Floats = a.Floats
	case graph.AttrInts:
		p.Ints = a.Ints
	case graph.AttrStrings:
		p.Strings = a.Strings
	case graph.AttrTensor:
		p.T = first(e.tensors(a))
	case graph.AttrTensors:
		p.Tensors = e.tensors(a)
	case graph.AttrGraph:
		p.G = first(list(a.Graphs, e.graph))
	case graph.AttrGraphs:
		p.Graphs = list(a.Graphs, e.graph)
	case graph.AttrSparse:
		p.SparseTensor = first(e.sparses(a))
	case graph.AttrSparses:
		p.SparseTensors = e.sparses(a)
	case graph.AttrType:
		p.Tp = first(list(a.Types, typeProto))
	case graph.AttrTypes:
		p.TypeProtos = list(a.Types, typeProto)
	}
	return finish(p, w)
}

// value is always, except that a reference to another attribute is not
// expected to hold a value of its own.
func value[T comparable](w graph.Wire, n int, x T, ref bool) *T {
	if ref {
		return give(w, n, x)
	}
	return always(w, n, x)
}

func (e *encoder) tensors(a *graph.Attr) []*onnxpb.TensorProto {
	return list(a.Tensors, func(t *graph.Tensor) *onnxpb.TensorProto { return e.tensor(t, give(t.Wire, 8, t.Name)) })
}

func (e *encoder) sparses(a *graph.Attr) []*onnxpb.SparseTensorProto {
	return list(a.Sparses, func(s *graph.SparseTensor) *onnxpb.SparseTensorProto {
		if s.Values == nil {
			return e.sparse(s, nil)
		}
		return e.sparse(s, give(s.Values.Wire, 8, s.Values.Name))
	})
}

func first[T any](xs []*T) *T {
	if len(xs) == 0 {
		return nil
	}
	return xs[0]
}
