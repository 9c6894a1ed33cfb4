package linalg

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"

	"nuwa/internal/fault"
)

// momentsOf sums h (n×e) in float64.
func momentsOf(h *mat.Dense) *Moments {
	n, e := h.Dims()
	m := NewMoments(e)
	m.Rows = n
	m.Gram.SymOuterK(1, h.T())
	for i := range n {
		axpy(1, h.RawRowView(i), m.Sum)
	}
	return m
}

// activations draws n rows of e correlated hidden activations with a mean.
func activations(rng *rand.Rand, n, e int) *mat.Dense {
	var h mat.Dense
	h.Mul(random(rng, n, e), random(rng, e, e))
	h.Apply(func(_, j int, v float64) float64 { return v/math.Sqrt(float64(e)) + 0.3*float64(j%5) }, &h)
	return &h
}

// someOf returns k of n ascending indices.
func someOf(rng *rand.Rand, n, k int) []int {
	keep := make([]bool, n)
	for _, i := range rng.Perm(n)[:k] {
		keep[i] = true
	}
	var out []int
	for i, ok := range keep {
		if ok {
			out = append(out, i)
		}
	}
	return out
}

// bruteForce solves the least squares on H itself by QR: with a column of
// ones if affine, with rows √(nλ)·I that pull towards w if there is a ridge.
func bruteForce(t *testing.T, h, w *mat.Dense, keep []int, affine bool, lambda float64) (wr *mat.Dense, shift []float64) {
	t.Helper()
	n, _ := h.Dims()
	_, d := w.Dims()
	r, ones := len(keep), 0
	if affine {
		ones = 1
	}
	hr := mat.DenseCopyOf(rows(mat.DenseCopyOf(h.T()), keep).T())
	x, y := mat.NewDense(n+r, r+ones, nil), mat.NewDense(n+r, d, nil)
	var out mat.Dense
	out.Mul(h, w)
	x.Slice(0, n, 0, r).(*mat.Dense).Copy(hr)
	y.Slice(0, n, 0, d).(*mat.Dense).Copy(&out)
	pull := math.Sqrt(lambda * float64(n))
	for i := range r {
		x.Set(n+i, i, pull)
		for c := range d {
			y.Set(n+i, c, pull*w.At(keep[i], c))
		}
	}
	for i := range n * ones {
		x.Set(i, r, 1)
	}
	var sol mat.Dense
	if err := sol.Solve(x, y); err != nil {
		t.Fatalf("reference least squares: %v", err)
	}
	if affine {
		shift = mat.Row(nil, r, &sol)
	}
	return mat.DenseCopyOf(sol.Slice(0, r, 0, d)), shift
}

// errorOf returns the squared error per row of H, summed over the output channels,
// each with its weight, of the fit and of dropping neurons without one.
func errorOf(m *Moments, w *mat.Dense, keep []int, fit *Fit, o Options) (left, dropped float64) {
	of := func(instead *mat.Dense) float64 {
		d := mat.DenseCopyOf(w)
		for i, j := range keep {
			axpy(-1, instead.RawRowView(i), d.RawRowView(j))
		}
		var x mat.Dense
		x.Mul(m.Second(o.Affine), d)
		return dot(d, &x, o.Weight)
	}
	return of(fit.W), of(rows(w, keep))
}

func TestReconstructIsLeastSquares(t *testing.T) {
	rng := source(11)
	for trial := range 200 {
		e, d := 2+rng.IntN(14), 1+rng.IntN(8)
		h, w := activations(rng, 3*e+5, e), random(rng, e, d)
		keep := someOf(rng, e, 1+rng.IntN(e))
		o := Options{Affine: trial%2 == 0}
		if trial%3 == 0 {
			o.Ridge = 0.01
		}
		m := momentsOf(h)
		fit, err := Reconstruct(m, w, keep, o)
		if err != nil {
			t.Fatal(err)
		}
		lambda := o.Ridge * meanDiagonal(m.Second(o.Affine))
		wr, shift := bruteForce(t, h, w, keep, o.Affine, lambda)
		tol := 1e-9 * fit.Cond.Solved
		if dist := distance(fit.W, wr); dist > tol {
			t.Errorf("e=%d r=%d %+v: W' is off by %g (condition %g)", e, len(keep), o, dist, fit.Cond.Solved)
		}
		if (fit.Shift != nil) != o.Affine {
			t.Errorf("%+v: shift %v", o, fit.Shift)
		}
		for c := range shift {
			if math.Abs(fit.Shift[c]-shift[c]) > tol {
				t.Errorf("%+v: Shift[%d] = %g, want %g", o, c, fit.Shift[c], shift[c])
			}
		}
	}
}

// A layer whose dropped neurons are copies, multiples and sums of kept ones
// loses nothing.
func TestReconstructOfRedundantNeuronsIsExact(t *testing.T) {
	rng := source(13)
	h, w := activations(rng, 100, 12), random(rng, 12, 5)
	for i := range 100 {
		h.Set(i, 7, h.At(i, 1))
		h.Set(i, 8, -2*h.At(i, 2))
		h.Set(i, 9, h.At(i, 3)+h.At(i, 4))
	}
	fit, err := Reconstruct(momentsOf(h), w, []int{0, 1, 2, 3, 4, 5, 6, 10, 11}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	left, dropped := errorOf(momentsOf(h), w, []int{0, 1, 2, 3, 4, 5, 6, 10, 11}, fit, Options{})
	if left > 1e-10*dropped || fit.Cond.Ill() {
		t.Errorf("error %g of %g, %v", left, dropped, fit.Cond)
	}
}

func TestReconstructKeepingAllChangesNothing(t *testing.T) {
	rng := source(14)
	h, w := activations(rng, 3, 6), random(rng, 6, 4) // three rows: singular moments
	fit, err := Reconstruct(momentsOf(h), w, []int{0, 1, 2, 3, 4, 5}, Options{Affine: true})
	if err != nil {
		t.Fatal(err)
	}
	if !mat.Equal(fit.W, w) {
		t.Errorf("W changed by %g", distance(fit.W, w))
	}
}

func TestIllConditioningIsReportedAndUsable(t *testing.T) {
	rng := source(15)
	h, w := activations(rng, 200, 10), random(rng, 10, 4)
	for i := range 200 {
		h.Set(i, 3, h.At(i, 2)) // both kept: the normal matrix is singular
		h.Set(i, 9, h.At(i, 2)) // dropped: an exact answer exists
		h.Set(i, 5, 0)          // a neuron that never fires
	}
	fit, err := Reconstruct(momentsOf(h), w, []int{0, 1, 2, 3, 4, 5, 6, 7, 8}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := fit.Cond
	if !c.Ill() || c.Given <= MaxCond || c.Solved > MaxCond || c.Ridge <= 0 || !strings.Contains(c.String(), "ill-conditioned") {
		t.Errorf("condition %+v (%v), want it ill", c, c)
	}
	if err := finite("W'", fit.W); err != nil {
		t.Fatal(err)
	}
	if left, dropped := errorOf(momentsOf(h), w, []int{0, 1, 2, 3, 4, 5, 6, 7, 8}, fit, Options{}); left > 1e-6*dropped {
		t.Errorf("error %g of %g", left, dropped)
	}
	for c := range 4 {
		if fit.W.At(5, c) != w.At(5, c) {
			t.Error("the weight of a neuron that never fires moved")
		}
	}
}

// Where activations hardly differ from their mean, sums of single precision leave
// a covariance that is rounding, and not positive semidefinite.
func TestRoundingAloneIsUsable(t *testing.T) {
	rng := source(16)
	h := random(rng, 500, 20)
	h.Apply(func(_, j int, x float64) float64 { return float64(j%3) + 1 + 1e-8*x }, h)
	m := momentsOf(h)
	for i := range 20 {
		for j := i; j < 20; j++ {
			m.Gram.SetSym(i, j, m.Gram.At(i, j)*(1+2e-7*rng.NormFloat64()))
		}
	}
	w := random(rng, 20, 4)
	fit, err := Reconstruct(m, w, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, Options{Affine: true})
	if err != nil {
		t.Fatal(err)
	}
	if !fit.Cond.Ill() {
		t.Errorf("condition %v, want it ill", fit.Cond)
	}
	if _, _, _, err := invert(m, true, 0); err != nil {
		t.Error(err)
	}
	for c := range 4 { // the bias takes over
		want, got := 0.0, fit.Shift[c]
		for j := range 20 {
			want += float64(j%3+1) * w.At(j, c)
		}
		for j := range 10 {
			got += float64(j%3+1) * fit.W.At(j, c)
		}
		if math.Abs(got-want) > 1e-3 {
			t.Errorf("output %d: got %g at the mean, want %g", c, got, want)
		}
	}
}

// The condition number reported is that of the matrix that was solved.
func TestConditionNumber(t *testing.T) {
	for _, want := range []float64{1, 1e3, 1e9} {
		m := NewMoments(3)
		m.Rows = 1
		for i, v := range []float64{1, 1 / want, 1} {
			m.Gram.SetSym(i, i, v)
		}
		fit, err := Reconstruct(m, mat.NewDense(3, 1, []float64{1, 2, 3}), []int{0, 1}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if c := fit.Cond; c.Ill() || c.Given != c.Solved || math.Abs(c.Solved-want) > 1e-6*want {
			t.Errorf("condition %+v, want %g", c, want)
		}
	}
}

func TestReconstructErrors(t *testing.T) {
	rng := source(16)
	h, w := activations(rng, 20, 4), random(rng, 4, 2)
	good := momentsOf(h)
	nan := momentsOf(h)
	nan.Gram.SetSym(1, 3, math.NaN())
	negative := momentsOf(h)
	negative.Gram.SetSym(0, 0, -1e9)
	nanW := mat.DenseCopyOf(w)
	nanW.Set(2, 1, math.Inf(-1))
	for _, c := range []struct {
		name string
		m    *Moments
		w    *mat.Dense
		keep []int
		o    Options
		want string
		kind fault.Kind
	}{
		{"NaN moment", nan, w, []int{0}, Options{}, "neurons 1 and 3", fault.Model},
		{"infinite weight", good, nanW, []int{0}, Options{}, "W[2,1]", fault.Model},
		{"not positive semidefinite", negative, w, []int{0, 1}, Options{}, "no ridge", fault.Model},
		{"no rows", NewMoments(4), w, []int{0}, Options{}, "0 rows", fault.Internal},
		{"sizes", NewMoments(5), w, []int{0}, Options{}, "5 neurons", fault.Internal},
		{"nothing kept", good, w, nil, Options{}, "no neuron kept", fault.Internal},
		{"descending", good, w, []int{2, 1}, Options{}, "keep[1]", fault.Internal},
		{"twice", good, w, []int{2, 2}, Options{}, "keep[1]", fault.Internal},
		{"out of range", good, w, []int{4}, Options{}, "keep[0]", fault.Internal},
		{"weights", good, w, []int{0}, Options{Weight: []float64{1}}, "1 channel weights", fault.Internal},
		{"negative channel weight", good, w, []int{0}, Options{Weight: []float64{1, -1}}, "output channel 1", fault.Model},
		{"ridge", good, w, []int{0}, Options{Ridge: math.NaN()}, "ridge NaN", fault.Internal},
	} {
		_, err := Reconstruct(c.m, c.w, c.keep, c.o)
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != c.kind || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want a %v error naming %q", c.name, err, c.kind, c.want)
		}
	}
}

func TestMomentsAdd(t *testing.T) {
	rng := source(17)
	h := activations(rng, 30, 5)
	m := NewMoments(5)
	for at := 0; at < 30; at += 10 {
		part := momentsOf(mat.DenseCopyOf(h.Slice(at, at+10, 0, 5)))
		sum, gram := make([]float32, 5), make([]float32, 25)
		for i := range 5 {
			sum[i] = float32(part.Sum[i])
			for j := range 5 {
				gram[i*5+j] = float32(part.Gram.At(i, j))
			}
		}
		if err := m.Add(10, sum, gram); err != nil {
			t.Fatal(err)
		}
	}
	want := momentsOf(h)
	for _, centred := range []bool{false, true} {
		if d := distance(m.Second(centred), want.Second(centred)); m.Rows != 30 || d > 1e-5 {
			t.Errorf("centred %v: second moment off by %g over %d rows", centred, d, m.Rows)
		}
	}
	var cov mat.Dense
	mu := want.Mean()
	centred := mat.DenseCopyOf(h)
	for i := range 30 {
		axpy(-1, mu, centred.RawRowView(i))
	}
	cov.Mul(centred.T(), centred)
	cov.Scale(1./30, &cov)
	if d := distance(&cov, want.Second(true)); d > 1e-10 {
		t.Errorf("covariance off by %g", d)
	}

	bad := make([]float32, 25)
	bad[1] = float32(math.Inf(1))
	before := mat.DenseCopyOf(m.Gram)
	if err := m.Add(1, make([]float32, 5), bad); err == nil || !strings.Contains(err.Error(), "neurons 0 and 1") {
		t.Errorf("infinite sum: got %v", err)
	}
	if err := m.Add(1, make([]float32, 4), make([]float32, 16)); err == nil {
		t.Error("sums of another width were added")
	}
	if !mat.Equal(before, m.Gram) || m.Rows != 30 {
		t.Error("a refused batch left its mark")
	}
}

func BenchmarkReconstruct(b *testing.B) {
	for _, s := range []struct{ e, d int }{{768, 192}, {1536, 384}, {3072, 768}} {
		b.Run(fmt.Sprintf("e=%d,d=%d,half", s.e, s.d), func(b *testing.B) {
			rng := source(18)
			m, w := wideMoments(rng, s.e), random(rng, s.e, s.d)
			keep := someOf(rng, s.e, s.e/2)
			for b.Loop() {
				if _, err := Reconstruct(m, w, keep, Options{Affine: true}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// wideMoments draws moments of e neurons without the cost of their activations.
func wideMoments(rng *rand.Rand, e int) *Moments {
	m := momentsOf(random(rng, e/8, e))
	for i := range e {
		m.Gram.SetSym(i, i, m.Gram.At(i, i)+float64(m.Rows)*(0.1+rng.Float64()))
	}
	return m
}
