package exporter

import (
	"nuwa/graph"
	"nuwa/internal/onnxpb"

	"google.golang.org/protobuf/proto"
)

// give returns optional field n: absent for a default, unless w says that the
// file had it.
func give[T comparable](w graph.Wire, n int, x T) *T {
	var zero T
	if x == zero && w.Present>>n&1 == 0 {
		return nil
	}
	return &x
}

// always returns optional field n, present unless w says that the file left it
// out and it still holds the default.
func always[T comparable](w graph.Wire, n int, x T) *T {
	var zero T
	if x == zero && w.Omitted>>n&1 == 1 {
		return nil
	}
	return &x
}

// finish adds the fields that the graph has no place for.
func finish[M proto.Message](m M, w graph.Wire) M {
	if len(w.Unknown) > 0 {
		m.ProtoReflect().SetUnknown(w.Unknown)
	}
	return m
}

func list[T, P any](xs []T, convert func(T) P) []P {
	if len(xs) == 0 {
		return nil
	}
	ps := make([]P, len(xs))
	for i, x := range xs {
		ps[i] = convert(x)
	}
	return ps
}

func entry(e graph.Entry) *onnxpb.StringStringEntryProto {
	var w graph.Wire
	if e.Wire != nil {
		w = *e.Wire
	}
	return finish(&onnxpb.StringStringEntryProto{Key: always(w, 1, e.Key), Value: always(w, 2, e.Value)}, w)
}

func opset(o graph.Opset) *onnxpb.OperatorSetIdProto {
	return finish(&onnxpb.OperatorSetIdProto{Domain: give(o.Wire, 1, o.Domain), Version: always(o.Wire, 2, o.Version)}, o.Wire)
}

func annotation(a graph.Annotation) *onnxpb.TensorAnnotation {
	return finish(&onnxpb.TensorAnnotation{
		TensorName: give(a.Wire, 1, a.Tensor), QuantParameterTensorNames: list(a.Params, entry),
	}, a.Wire)
}
