package modelfile

import (
	"context"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/measure"
	"nuwa/passes/cleanup"
	"nuwa/passes/expand"
)

// SizeOf counts what a model takes that is in the file at path, functions and
// fused operators as what they are made of, so that it compares with a model
// that has them written out.
func SizeOf(ctx context.Context, eng *engine.Engine, m *graph.Model, path string) (measure.Size, error) {
	if len(m.Functions) > 0 || expand.Needed(m) {
		m = m.Clone()
		m.Graph.Infos = nil
		if _, err := cleanup.Inline(m); err != nil {
			return measure.Size{}, err
		}
		cleanup.Constants(m)
		shapes, err := eng.Shapes(ctx, m)
		if err != nil {
			return measure.Size{}, err
		}
		expand.Expand(m, shapes)
	}
	return measure.SizeOf(ctx, eng, m, path)
}

// ImageDims returns the dimensions of one image, which open has settled.
func ImageDims(m *graph.Model) []int64 {
	if feeds := engine.Feeds(m); len(feeds) == 1 {
		if dims, ok := feeds[0].Type.Dims(); ok && len(dims) > 1 {
			return dims[1:]
		}
	}
	return nil
}
