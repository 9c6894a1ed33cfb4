package importer

import (
	"slices"

	"nuwa/graph"
	"nuwa/internal/onnxpb"

	"google.golang.org/protobuf/proto"
)

// wireOf starts the record of what message m says beyond its meaning.
func wireOf(m proto.Message) graph.Wire {
	return graph.Wire{Unknown: slices.Clip([]byte(m.ProtoReflect().GetUnknown()))}
}

// take returns the value of optional field n, noting in w where a default was
// written out.
func take[T comparable](w *graph.Wire, n int, p *T) T {
	var zero T
	if p == nil {
		return zero
	}
	if *p == zero {
		w.Present |= 1 << n
	}
	return *p
}

// always returns the value of optional field n, which is normally written
// whatever it holds, noting in w where it was not.
func always[T any](w *graph.Wire, n int, p *T) T {
	if p == nil {
		w.Omitted |= 1 << n
		var zero T
		return zero
	}
	return *p
}

func entries(ps []*onnxpb.StringStringEntryProto) []graph.Entry {
	if len(ps) == 0 {
		return nil
	}
	es := make([]graph.Entry, len(ps))
	for i, p := range ps {
		w := wireOf(p)
		es[i].Key, es[i].Value = always(&w, 1, p.Key), always(&w, 2, p.Value)
		if w.Omitted != 0 || len(w.Unknown) > 0 {
			es[i].Wire = &w
		}
	}
	return es
}

func opsets(ps []*onnxpb.OperatorSetIdProto) []graph.Opset {
	if len(ps) == 0 {
		return nil
	}
	os := make([]graph.Opset, len(ps))
	for i, p := range ps {
		w := wireOf(p)
		os[i].Domain, os[i].Version = take(&w, 1, p.Domain), always(&w, 2, p.Version)
		os[i].Wire = w
	}
	return os
}

func annotations(ps []*onnxpb.TensorAnnotation) []graph.Annotation {
	if len(ps) == 0 {
		return nil
	}
	as := make([]graph.Annotation, len(ps))
	for i, p := range ps {
		w := wireOf(p)
		as[i].Tensor, as[i].Params = take(&w, 1, p.TensorName), entries(p.QuantParameterTensorNames)
		as[i].Wire = w
	}
	return as
}
