package ranking

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestAveragePrecisionByHand(t *testing.T) {
	for _, c := range []struct {
		scores   []float64
		positive []bool
		want     float64
	}{
		{[]float64{3, 2, 1}, []bool{true, true, false}, 1},
		{[]float64{1, 2, 3}, []bool{true, false, false}, 1.0 / 3},
		{[]float64{0.1, 0.4, 0.35, 0.8}, []bool{false, false, true, true}, 0.5*1 + 0.5*2.0/3}, // the example of scikit-learn's manual
		{[]float64{5, 5, 5, 5}, []bool{true, false, false, false}, 0.25},
		{[]float64{5, 5, 1}, []bool{true, false, true}, 0.5*0.5 + 0.5*2.0/3},
		{[]float64{-1}, []bool{true}, 1},
	} {
		if got, ok := AveragePrecision(c.scores, c.positive); !ok || math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%v %v: %g, want %g", c.scores, c.positive, got, c.want)
		}
	}
	if _, ok := AveragePrecision([]float64{1, 2}, []bool{false, false}); ok {
		t.Error("a precision without positives")
	}
}

// The same by going through all thresholds.
func TestAveragePrecisionByBruteForce(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		n := 1 + r.IntN(12)
		scores, positive := make([]float64, n), make([]bool, n)
		for i := range n {
			scores[i], positive[i] = float64(r.IntN(6)), r.IntN(2) == 0
		}
		want, recall, total := 0.0, 0.0, 0.0
		for _, p := range positive {
			if p {
				total++
			}
		}
		for threshold := 5.0; threshold >= 0; threshold-- {
			hits, above := 0.0, 0.0
			for i := range n {
				if scores[i] >= threshold {
					above++
					if positive[i] {
						hits++
					}
				}
			}
			if above > 0 && total > 0 {
				want += (hits/total - recall) * hits / above
				recall = hits / total
			}
		}
		got, ok := AveragePrecision(scores, positive)
		if ok != (total > 0) || math.Abs(got-want) > 1e-12 {
			t.Fatalf("%v %v: %g, want %g", scores, positive, got, want)
		}
	}
}
