package linalg_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"

	"nuwa/internal/linalg"
)

// A correction is the least squares that the rows themselves give, in two
// batches, with and without an intercept.
func TestCorrectIsLeastSquares(t *testing.T) {
	const rows, e, d = 40, 5, 3
	rng := rand.New(rand.NewPCG(1, 2))
	for _, affine := range []bool{false, true} {
		m, c := linalg.NewMoments(e), linalg.NewCross(e, d)
		columns := e
		if affine {
			columns++
		}
		h, target := mat.NewDense(rows, columns, nil), mat.NewDense(rows, d, nil)
		for i := range rows {
			for j := range columns {
				h.Set(i, j, math.Round(4*rng.NormFloat64()))
			}
			if affine {
				h.Set(i, e, 1)
			}
			for j := range d {
				target.Set(i, j, math.Round(4*rng.NormFloat64())+2)
			}
		}
		for _, at := range []int{0, rows / 2} {
			x, y := h.Slice(at, at+rows/2, 0, e).(*mat.Dense), target.Slice(at, at+rows/2, 0, d).(*mat.Dense)
			if err := m.Add(rows/2, sums(x), product(x, x)); err != nil {
				t.Fatal(err)
			}
			if err := c.Add(sums(y), product(x, y)); err != nil {
				t.Fatal(err)
			}
		}
		delta, shift, cond, err := linalg.Correct(m, c, linalg.Options{Affine: affine})
		if err != nil || cond.Ill() {
			t.Fatal(cond, err)
		}
		var want mat.Dense
		if err := want.Solve(h, target); err != nil {
			t.Fatal(err)
		}
		if !mat.EqualApprox(delta, want.Slice(0, e, 0, d), 1e-9) {
			t.Errorf("affine %t: got %v, want %v", affine, mat.Formatted(delta), mat.Formatted(&want))
		}
		for j := range shift {
			if math.Abs(shift[j]-want.At(e, j)) > 1e-9 {
				t.Errorf("shift %d is %g, want %g", j, shift[j], want.At(e, j))
			}
		}
		if affine != (shift != nil) {
			t.Errorf("affine %t, shift %v", affine, shift)
		}
		if err := c.Add(make([]float32, d), append(make([]float32, e*d-1), float32(math.NaN()))); err == nil {
			t.Error("NaN is added")
		}
		if err := c.Add(make([]float32, d), make([]float32, e*d-1)); err == nil {
			t.Error("too few products are added")
		}
	}
}

func sums(x *mat.Dense) []float32 {
	_, n := x.Dims()
	out := make([]float32, n)
	for j := range out {
		out[j] = float32(mat.Sum(x.ColView(j)))
	}
	return out
}

func product(x, y *mat.Dense) []float32 {
	var p mat.Dense
	p.Mul(x.T(), y)
	r, c := p.Dims()
	out := make([]float32, 0, r*c)
	for i := range r {
		for j := range c {
			out = append(out, float32(p.At(i, j)))
		}
	}
	return out
}
