package ranking

import (
	"math"
	"math/rand/v2"
	"testing"
)

// All pairs, one by one.
func TestAUROCByBruteForce(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		n := 1 + r.IntN(12)
		scores, positive := make([]float64, n), make([]bool, n)
		for i := range n {
			scores[i], positive[i] = float64(r.IntN(5)), r.IntN(2) == 0
		}
		won, pairs := 0.0, 0.0
		for i := range n {
			for j := range n {
				if positive[i] && !positive[j] {
					pairs++
					switch {
					case scores[i] > scores[j]:
						won++
					case scores[i] == scores[j]:
						won += 0.5
					}
				}
			}
		}
		got, ok := AUROC(scores, positive)
		if ok != (pairs > 0) || ok && math.Abs(got-won/pairs) > 1e-12 {
			t.Fatalf("%v %v: %g %v, want %g of %g pairs", scores, positive, got, ok, won, pairs)
		}
	}
}
