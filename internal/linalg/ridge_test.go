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
		// solve returns the weights over the given samples, the intercept's last.
		solve := func(samples []int, lambda float64) *mat.Dense {
			wide, target := mat.NewDense(len(samples)+d, d+1, nil), mat.NewDense(len(samples)+d, c, nil)
			for i, s := range samples {
				for j := range d {
					wide.Set(i, j, x.At(s, j))
				}
				wide.Set(i, d, 1)
				target.SetRow(i, r.RawRowView(s))
			}
			for j := range d {
				wide.Set(len(samples)+j, j, math.Sqrt(lambda*float64(len(samples))*variance))
			}
			var w mat.Dense
			if err := w.Solve(wide, target); err != nil {
				t.Fatal(err)
			}
			return &w
		}
		all := rng.Perm(n)
		for _, lambda := range []float64{1e-3, 0.1, 10} {
			want := solve(all, lambda)
			held, err := f.CrossValidate(lambda, [][]int{all[:n/3], all[n/3 : n/2], all[n/2:]})
			if err != nil {
				t.Fatal(err)
			}
			for _, cut := range [][2]int{{0, n / 3}, {n / 3, n / 2}, {n / 2, n}} {
				w := solve(append(append([]int(nil), all[:cut[0]]...), all[cut[1]:]...), lambda)
				for _, s := range all[cut[0]:cut[1]] {
					for k := range c {
						sum := w.At(d, k)
						for j := range d {
							sum += x.At(s, j) * w.At(j, k)
						}
						if math.Abs(held.At(s, k)-sum) > 1e-8 {
							t.Errorf("seed %d, ridge %g: sample %d that was left out is %g, want %g", seed, lambda, s, held.At(s, k), sum)
						}
					}
				}
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
	f, err := linalg.NewFeatures(mat.NewDense(2, 3, []float64{1, 2, 3, 1, 2, 3})) // which say nothing
	if err != nil {
		t.Fatal(err)
	}
	still, err := f.Ridge(mat.NewDense(2, 1, []float64{4, 6}))
	if err != nil {
		t.Fatal(err)
	}
	held, err := still.CrossValidate(1, [][]int{{0}, {1}})
	if delta, shift := still.Fit(1); err != nil || mat.Norm(delta, 2) != 0 || shift[0] != 5 || math.Abs(held.At(0, 0)-6) > 1e-12 || math.Abs(held.At(1, 0)-4) > 1e-12 {
		t.Errorf("features that do not change: %v, %v, %v, %v", delta, shift, held, err)
	}
	if _, err := still.CrossValidate(1, [][]int{{0, 1}}); err == nil {
		t.Error("a fold of all samples: no error")
	}
	f, err = linalg.NewFeatures(mat.NewDense(2, 1, []float64{1, 2}))
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
