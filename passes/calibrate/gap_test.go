package calibrate_test

import (
	"maps"
	"testing"

	"nuwa/graph"
	"nuwa/passes/calibrate"
	"nuwa/passes/passtest"
)

// The gap to where a value should be is summed up beside another value.
func TestGap(t *testing.T) {
	load(t)
	m := doubled(graph.Float32, 17)
	gap := &calibrate.Gap{Tap: calibrate.Tap{Value: "y", Rank: 2, Axis: 1, Width: 2}, Should: "wanted", Type: graph.TensorType(graph.Float32, graph.Sym("batch"), graph.Fixed(2))}
	images, wanted := [][]float64{{1, 2, 3, -1}, {0, 1}}, [][]float64{{5, 1, -4, 2}, {3, 3}}
	feeds := func(yield func(map[string]*graph.Tensor, error) bool) {
		i := 0
		for feed := range given(graph.Float32, images...) {
			feed = maps.Clone(feed)
			var err error
			feed["wanted"], err = graph.FromFloats(graph.Float32, feed["x"].Dims, wanted[i])
			if i++; !yield(feed, err) {
				return
			}
		}
	}
	of, err := calibrate.Sense(t.Context(), passtest.Engine, m, calibrate.Ask{},
		[]calibrate.Watch{{Tap: calibrate.Tap{Value: "h", Rank: 2, Axis: 1, Width: 2}, Moments: true, Gap: gap}}, feeds)
	if err != nil {
		t.Fatal(err)
	}
	var sum [2]float64
	var products [2][2]float64
	for b := range images {
		for r := 0; r < len(images[b]); r += 2 {
			x, want := images[b][r:r+2], wanted[b][r:r+2]
			for c := range 2 {
				gap := want[c] + 2*x[c]
				sum[c] += gap
				for a := range 2 {
					products[a][c] += 2 * x[a] * gap
				}
			}
		}
	}
	got := of.Watched[0].Gap
	for c := range 2 {
		if got.Sum[c] != sum[c] {
			t.Errorf("sum %d is %g, want %g", c, got.Sum[c], sum[c])
		}
		for a := range 2 {
			if got.Gram.At(a, c) != products[a][c] {
				t.Errorf("product %d, %d is %g, want %g", a, c, got.Gram.At(a, c), products[a][c])
			}
		}
	}
	if of.Watched[0].Moments.Rows != 3 {
		t.Errorf("%d rows", of.Watched[0].Moments.Rows)
	}
}
