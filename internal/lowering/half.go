package lowering

import (
	"context"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/passes/half"
)

// Half takes m to half precision, inputs and outputs excepted, and tells how
// many nodes compute in it and how many stay in single precision.
func Half(ctx context.Context, eng *engine.Engine, m *graph.Model) (halves, singles int, err error) {
	shapes, err := eng.Shapes(ctx, m)
	if err != nil {
		return 0, 0, err
	}
	feeds, err := engine.Inputs(m, 2, 3)
	if err != nil {
		return 0, 0, err
	}
	peak, err := half.Measure(ctx, eng, m, shapes, feeds)
	if err != nil {
		return 0, 0, err
	}
	if halves, singles, err = half.Convert(m, shapes, peak); err != nil {
		return 0, 0, err
	}
	return halves, singles, m.Graph.Sort()
}
