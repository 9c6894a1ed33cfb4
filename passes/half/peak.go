package half

import (
	"context"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// Measure returns the largest magnitude of every value in single precision, over
// runs of m on the given feeds. The maxima are taken by ONNX Runtime.
func Measure(ctx context.Context, eng *engine.Engine, m *graph.Model, s *engine.Shapes, feeds ...map[string]*graph.Tensor) (func(*graph.Value) float64, error) {
	probe := m.Clone()
	of := map[string]string{} // the output that holds a value's peak
	var names []string
	for _, n := range slices.Clone(probe.Graph.Nodes()) {
		for _, v := range n.Outputs() {
			if v == nil || s.Elem(m.Graph.Value(v.Name())) != graph.Float32 {
				continue
			}
			a := probe.Graph.Add("Abs", v.Name()+"_abs", []*graph.Value{v}).Output(0)
			top := probe.Graph.Add("ReduceMax", v.Name()+"_peak", []*graph.Value{a}, graph.Int("keepdims", 0)).Output(0)
			of[top.Name()] = v.Name()
			names = append(names, top.Name())
		}
	}
	runs, err := eng.Compute(ctx, probe, names, feeds...)
	if err != nil {
		return nil, err
	}
	peaks := map[string]float64{}
	for _, run := range runs {
		for top, t := range run {
			xs, err := t.Floats()
			if err != nil {
				return nil, err
			}
			for _, x := range xs {
				peaks[of[top]] = max(peaks[of[top]], x)
			}
		}
	}
	return func(v *graph.Value) float64 { return peaks[v.Name()] }, nil
}
