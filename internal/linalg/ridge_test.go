package linalg_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"

	"nuwa/internal/linalg"
)

// A fit is the least squares over samples to which rows for the ridge were
// appended, with an intercept that no ridge holds back.
func TestRidgeIsAugmentedLeastSquares(t *testing.T) {
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 3))
		n, d, c := 5+rng.IntN(30), 2+rng.IntN(8), 1+rng.IntN(4)
		draw := func(r, c int) *mat.Dense {
			m := mat.NewDense(r, c, nil)
			m.Apply(func(_, j int, _ float64) float64 { return float64(j+1) + rng.NormFloat64() }, m)
			return m
		}
		x, r := draw(n, d), draw(n, c)
		variance := 0.0
		for j := range d {
			mean := mat.Sum(x.ColView(j)) / float64(n)
			for i := range n {
				variance += math.Pow(x.At(i, j)-mean, 2) / float64(n*d)
			}
		}
		features, err := linalg.NewFeatures(x)
		if err != nil {
			t.Fatal(err)
		}
		f, err := features.Ridge(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, lambda := range []float64{1e-3, 0.1, 10} {
			wide, target := mat.NewDense(n+d, d+1, nil), mat.NewDense(n+d, c, nil)
			for i := range n {
				for j := range d {
					wide.Set(i, j, x.At(i, j))
				}
				wide.Set(i, d, 1)
				target.SetRow(i, r.RawRowView(i))
			}
			for j := range d {
				wide.Set(n+j, j, math.Sqrt(lambda*float64(n)*variance))
			}
			var want mat.Dense
			if err := want.Solve(wide, target); err != nil {
				t.Fatal(err)
			}
			delta, shift := f.Fit(lambda)
			for k := range c {
				if math.Abs(shift[k]-want.At(d, k)) > 1e-8 {
					t.Errorf("seed %d, ridge %g: intercept %d is %g, want %g", seed, lambda, k, shift[k], want.At(d, k))
				}
				for j := range d {
					if math.Abs(delta.At(j, k)-want.At(j, k)) > 1e-8 {
						t.Errorf("seed %d, ridge %g: weight %d,%d is %g, want %g", seed, lambda, j, k, delta.At(j, k), want.At(j, k))
					}
				}
			}
		}
	}
	f, err := linalg.NewFeatures(mat.NewDense(2, 1, []float64{1, 2}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Ridge(mat.NewDense(3, 1, nil)); err == nil {
		t.Error("two samples and three targets: no error")
	}
	if _, err := f.Ridge(mat.NewDense(2, 1, []float64{0, math.NaN()})); err == nil {
		t.Error("NaN among targets: no error")
	}
	if _, err := linalg.NewFeatures(mat.NewDense(1, 1, []float64{math.NaN()})); err == nil {
		t.Error("NaN among features: no error")
	}
}
