package calibrate_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"nuwa/graph"
	"nuwa/passes/calibrate"
	"nuwa/passes/passtest"
)

// The moments of many channels, computed in blocks, are those of all of them
// together, whether the width can be cut evenly or not.
func TestMomentsOfManyChannels(t *testing.T) {
	load(t)
	for _, opset := range []int64{11, 17} {
		for _, width := range []int{255, 256, 397, 513} {
			m := graph.NewModel(graph.Opset{Version: opset})
			x := m.Graph.AddInput("x", graph.TensorType(graph.Float32, graph.Sym("batch"), graph.Fixed(int64(width))))
			m.Graph.AddOutput(m.Graph.Add("Neg", "h", []*graph.Value{x}).Output(0))
			rng := rand.New(rand.NewPCG(uint64(width), 1))
			const rows = 5
			xs := make([]float64, rows*width)
			for i := range xs {
				xs[i] = math.Round(8 * rng.NormFloat64()) // sums of products are exact
			}
			in, err := graph.FromFloats(graph.Float32, []int64{rows, int64(width)}, xs)
			if err != nil {
				t.Fatal(err)
			}
			feeds := func(yield func(map[string]*graph.Tensor, error) bool) {
				_ = yield(map[string]*graph.Tensor{"x": in}, nil) && yield(map[string]*graph.Tensor{"x": in}, nil)
			}
			got, err := calibrate.Collect(t.Context(), passtest.Engine, m, []calibrate.Tap{{Value: "h", Rank: 2, Axis: 1, Width: width}}, feeds)
			if err != nil {
				t.Fatal(err)
			}
			for a := range width {
				for b := range width {
					want := 0.0
					for r := range rows {
						want += 2 * xs[r*width+a] * xs[r*width+b]
					}
					if got[0].Gram.At(a, b) != want {
						t.Fatalf("opset %d, %d channels: moment of %d and %d is %g, want %g", opset, width, a, b, got[0].Gram.At(a, b), want)
					}
				}
			}
		}
	}
}
