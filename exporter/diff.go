package exporter

import (
	"fmt"

	"nuwa/internal/onnxpb"
)

// Diff lists every difference between two serialized models, each with the
// path of the field. The nodes of a graph may stand in another order; anything
// else counts, down to a default value that only one of them writes out.
func Diff(a, b []byte) ([]string, error) {
	var pa, pb onnxpb.ModelProto
	if err := onnxpb.Unmarshal(a, &pa); err != nil {
		return nil, fmt.Errorf("the first model: %w", err)
	}
	if err := onnxpb.Unmarshal(b, &pb); err != nil {
		return nil, fmt.Errorf("the second model: %w", err)
	}
	return onnxpb.Diff(&pa, &pb, onnxpb.DiffOptions{AnyNodeOrder: true}), nil
}
