package measure

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// The values are those of the usual worked examples.
func TestWilson(t *testing.T) {
	for _, c := range []struct {
		k, n      int
		low, high float64
	}{{8, 10, 0.4902, 0.9433}, {0, 10, 0, 0.2775}, {10, 10, 0.7225, 1}, {50, 100, 0.4038, 0.5962}, {0, 0, 0, 1}} {
		got := wilson(c.k, c.n)
		near(t, "low", got.Low, c.low, 1e-4)
		near(t, "high", got.High, c.high, 1e-4)
	}
}

// The intervals hold the true value about as often as they say.
func TestIntervalsCover(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const trials = 4000
	share, median, paired := 0, 0, 0
	for range trials {
		k, onlyFirst, onlySecond := 0, 0, 0
		xs := make([]float64, 25)
		for range 200 {
			if rng.Float64() < 0.85 {
				k++
			}
			switch u := rng.Float64(); {
			case u < 0.08:
				onlyFirst++
			case u < 0.13:
				onlySecond++
			}
		}
		for i := range xs {
			xs[i] = math.Exp(rng.NormFloat64()) // median 1, long tail
		}
		if i := wilson(k, 200); i.Low <= 0.85 && 0.85 <= i.High {
			share++
		}
		if i := medianInterval(sorted(xs)); i.Low <= 1 && 1 <= i.High {
			median++
		}
		if i := newPaired(200, onlyFirst, onlySecond).Interval; i.Low <= -0.03 && -0.03 <= i.High {
			paired++
		}
	}
	for what, n := range map[string]int{"wilson": share, "median": median, "paired": paired} {
		if got := float64(n) / trials; got < 0.93 || got > 0.985 {
			t.Errorf("%s: covered in %.3f of the trials, want about 0.95", what, got)
		}
	}
}

func TestQuantile(t *testing.T) {
	xs := sorted([]float64{5, 1, 3, 2, 4})
	for q, want := range map[float64]float64{0: 1, 0.25: 2, 0.5: 3, 0.9: 4.6, 1: 5} {
		near(t, "quantile", quantile(xs, q), want, 1e-12)
	}
	if got := quantile([]float64{7}, 0.9); got != 7 {
		t.Errorf("of one number: %v", got)
	}
	if !slices.IsSorted(xs) || relativeSpread(xs) != 2./3 {
		t.Errorf("spread %v", relativeSpread(xs))
	}
	if got := medianInterval([]float64{1, 2, 3}); got != (Interval{1, 3}) {
		t.Errorf("interval of three: %v", got)
	}
}
