package calibrate_test

import (
	"math"
	"testing"

	"nuwa/graph"
	"nuwa/passes/calibrate"
	"nuwa/passes/passtest"
)

// What is gathered about an inner value equals what is worked out by hand: its
// moments with rows counted alike or by the gradient, the gradient's second
// moment, and the mean square of value times gradient.
func TestSense(t *testing.T) {
	load(t)
	m := graph.NewModel(graph.Opset{Version: 13})
	x := m.Graph.AddInput("x", graph.TensorType(graph.Float32, graph.Sym("batch"), graph.Fixed(2)))
	h := m.Graph.Add("Tanh", "h", []*graph.Value{x}).Output(0)
	ws := [][]float64{{0.5, -1, 2}, {1, 0.25, -0.75}}
	w := m.Graph.AddConst("w", graph.NewTensor([]int64{2, 3}, []float32{0.5, -1, 2, 1, 0.25, -0.75}))
	m.Graph.AddOutput(m.Graph.Add("MatMul", "logits", []*graph.Value{h, w}).Output(0))
	images := []float64{0.3, -0.8, 1.2, 0.1, -0.4, 0.9}
	labels := []int{2, 1, 0}
	tap := calibrate.Tap{Value: "h", Rank: 2, Axis: 1, Width: 2}
	for _, by := range []string{"", "h"} {
		of, err := calibrate.Sense(t.Context(), passtest.Engine, m, calibrate.Ask{Loss: "logits", Labels: calibrate.Labels{Class: labels}, Keep: "h"},
			[]calibrate.Watch{{Tap: tap, Moments: true, Felt: true, Taylor: true, By: by}, {Tap: tap, Moments: true, Groups: [][]int{{1}, {0}}}}, given(graph.Float32, images[:4], images[4:]))
		if err != nil {
			t.Fatal(err)
		}
		got, groups := of.Watched[0], of.Watched[1].Groups
		var second, felt [2][2]float64
		var sum, taylor, squares [2]float64
		weights := 0.0
		for i, label := range labels {
			v := [2]float64{math.Tanh(images[2*i]), math.Tanh(images[2*i+1])}
			var z [3]float64
			total := 0.0
			for k := range z {
				z[k] = math.Exp(v[0]*ws[0][k] + v[1]*ws[1][k])
				total += z[k]
			}
			var g [2]float64
			for c := range g {
				for k := range z {
					g[c] += z[k] / total * ws[c][k]
				}
				g[c] -= ws[c][label]
			}
			weight := 1.0
			if by != "" {
				weight = g[0]*g[0] + g[1]*g[1]
			}
			weights += weight
			for a := range 2 {
				sum[a] += weight * v[a]
				squares[a] += v[a] * v[a]
				taylor[a] += v[a] * g[a] * v[a] * g[a] / 3
				for b := range 2 {
					second[a][b] += weight * v[a] * v[b]
					felt[a][b] += g[a] * g[b] / 3
				}
			}
		}
		near := func(what string, got, want float64) {
			t.Helper()
			if math.Abs(got-want) > 1e-6 {
				t.Errorf("rows by %q, %s: %g, want %g", by, what, got, want)
			}
		}
		ms, f := got.Moments, got.Felt.Second(false)
		if ms.Rows != 3 {
			t.Errorf("%d rows", ms.Rows)
		}
		for a := range 2 {
			near("mean", ms.Mean()[a], sum[a]/weights)
			near("square within a group", groups[1-a].Gram.At(0, 0), squares[a])
			near("sum of a group", groups[1-a].Sum[0], of.Kept.At(0, a)+of.Kept.At(1, a)+of.Kept.At(2, a))
			near("value kept", of.Kept.At(2, a), math.Tanh(images[4+a]))
			near("taylor", got.Taylor[a], taylor[a])
			for b := range 2 {
				near("moment", ms.Second(false).At(a, b), second[a][b]/weights)
				near("gradients", f.At(a, b), felt[a][b])
			}
		}
	}
	if _, err := calibrate.Sense(t.Context(), passtest.Engine, m, calibrate.Ask{Loss: "logits"}, []calibrate.Watch{{Tap: tap, Felt: true}}, given(graph.Float32, images)); err == nil {
		t.Error("gradients without labels: no error")
	}
}

// Values come a row per sample, in the order of the feeds.
func TestValues(t *testing.T) {
	load(t)
	m := doubled(graph.Float32, 17)
	got, err := calibrate.Values(t.Context(), passtest.Engine, m, []string{"h"}, given(graph.Float32, []float64{1, 2, 3, 4}, []float64{5, 6}))
	if err != nil {
		t.Fatal(err)
	}
	if r, c := got["h"].Dims(); r != 3 || c != 2 || got["h"].At(0, 1) != 4 || got["h"].At(2, 0) != 10 {
		t.Errorf("%d rows of %d: %v", r, c, got["h"].RawMatrix().Data)
	}
	if _, err := calibrate.Values(t.Context(), passtest.Engine, m, []string{"h"}, given(graph.Float32)); err == nil {
		t.Error("no samples: no error")
	}
}
