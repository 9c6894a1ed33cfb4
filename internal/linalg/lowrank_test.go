package linalg

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"

	"nuwa/internal/fault"
)

func source(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func random(rng *rand.Rand, r, c int) *mat.Dense {
	m := mat.NewDense(r, c, nil)
	for i := range r {
		for j := range c {
			m.Set(i, j, rng.NormFloat64())
		}
	}
	return m
}

// randomOfRank returns an r×c matrix of rank at most k; k = 0 gives zeros.
func randomOfRank(rng *rand.Rand, r, c, k int) *mat.Dense {
	out := mat.NewDense(r, c, nil)
	if k > 0 {
		out.Mul(random(rng, r, k), random(rng, k, c))
	}
	return out
}

func product(a, b *mat.Dense) *mat.Dense {
	var p mat.Dense
	p.Mul(a.T(), b)
	return &p
}

// distance is ‖a−b‖_F.
func distance(a, b mat.Matrix) float64 {
	var d mat.Dense
	d.Sub(a, b)
	return mat.Norm(&d, 2)
}

// truncated is the brute force: the full SVD of p, cut at rank k.
func truncated(t *testing.T, p mat.Matrix, k int) (*mat.Dense, []float64) {
	t.Helper()
	var svd mat.SVD
	if !svd.Factorize(p, mat.SVDThin) {
		t.Fatal("reference SVD did not converge")
	}
	var u, v mat.Dense
	svd.UTo(&u)
	svd.VTo(&v)
	s := svd.Values(nil)
	m, n := p.Dims()
	out := mat.NewDense(m, n, nil)
	for i := range min(k, len(s)) {
		out.RankOne(out, s[i], u.ColView(i), v.ColView(i))
	}
	return out, s
}

func TestFactorIsTheTruncatedSVD(t *testing.T) {
	rng := source(1)
	for trial := range 200 {
		r, m, n := 1+rng.IntN(12), 1+rng.IntN(16), 1+rng.IntN(16)
		a := randomOfRank(rng, r, m, rng.IntN(r+1))
		b := random(rng, r, n)
		if trial%3 == 0 {
			a = random(rng, r, m)
		}
		f, err := Factor(a, b)
		if err != nil {
			t.Fatal(err)
		}
		p := product(a, b)
		scale := 1 + mat.Norm(p, 2)
		_, want := truncated(t, p, 0)
		for i := range max(len(want), len(f.S)) { // len(want) is min(m,n), len(f.S) min(m,n,r)
			var x, y float64
			if i < len(want) {
				x = want[i]
			}
			if i < len(f.S) {
				y = f.S[i]
			}
			if math.Abs(x-y) > 1e-12*scale {
				t.Fatalf("r=%d m=%d n=%d: S[%d] = %g, want %g", r, m, n, i, y, x)
			}
		}
		for k := 1; k <= r+2; k++ {
			ak, bk := f.Truncate(k)
			if rows, cols := ak.Dims(); rows != k || cols != m {
				t.Fatalf("A' is %d×%d, want %d×%d", rows, cols, k, m)
			}
			if rows, cols := bk.Dims(); rows != k || cols != n {
				t.Fatalf("B' is %d×%d, want %d×%d", rows, cols, k, n)
			}
			// Equal singular values leave the best approximation open; its
			// error is not.
			best, _ := truncated(t, p, k)
			got := distance(p, product(ak, bk))
			if wanted := distance(p, best); math.Abs(got-wanted) > 1e-11*scale {
				t.Fatalf("r=%d m=%d n=%d k=%d: error %g, want %g", r, m, n, k, got, wanted)
			}
			for i := range k {
				if na, nb := mat.Norm(ak.RowView(i), 2), mat.Norm(bk.RowView(i), 2); math.Abs(na-nb) > 1e-9*scale {
					t.Fatalf("row %d: norms %g and %g, want them equal", i, na, nb)
				}
			}
		}
	}
}

// spd returns a random n×n matrix of rank k, symmetric and positive semidefinite.
func spd(rng *rand.Rand, n, k int) *mat.SymDense {
	s := mat.NewSymDense(n, nil)
	s.SymOuterK(1/float64(k), random(rng, n, k))
	return s
}

// root returns the symmetric square root of s, the brute force.
func root(t *testing.T, s mat.Symmetric) *mat.Dense {
	t.Helper()
	var eig mat.EigenSym
	if !eig.Factorize(s, true) {
		t.Fatal("reference eigenvalues did not converge")
	}
	var v, out mat.Dense
	eig.VectorsTo(&v)
	d := mat.NewDiagDense(s.SymmetricDim(), nil)
	for i, l := range eig.Values(nil) {
		d.SetDiag(i, math.Sqrt(math.Max(0, l)))
	}
	out.Product(&v, d, v.T())
	return &out
}

func TestFactorWeightedIsTheWhitenedSVD(t *testing.T) {
	rng := source(2)
	for trial := range 200 {
		r, m, n := 1+rng.IntN(8), 1+rng.IntN(12), 1+rng.IntN(12)
		a, b := random(rng, r, m), random(rng, r, n)
		wm, wn := spd(rng, m, 1+rng.IntN(2*m)), mat.Symmetric(spd(rng, n, 1+rng.IntN(2*n)))
		if trial%3 == 0 { // gradient weights: a diagonal
			d := mat.NewDiagDense(n, nil)
			for i := range n {
				d.SetDiag(i, rng.Float64())
			}
			wn = d
		}
		f, err := FactorWeighted(a, b, wm, wn)
		if err != nil {
			t.Fatal(err)
		}
		rm, rn := root(t, wm), root(t, wn)
		whiten := func(p *mat.Dense) *mat.Dense {
			var out mat.Dense
			out.Product(rm, p, rn)
			return &out
		}
		p := whiten(product(a, b))
		scale := 1 + mat.Norm(p, 2)
		_, want := truncated(t, p, 0)
		for i, s := range f.S {
			if math.Abs(s-want[i]) > 1e-6*scale {
				t.Fatalf("S[%d] = %g, want %g", i, s, want[i])
			}
		}
		for k := 1; k <= r; k++ {
			best, _ := truncated(t, p, k)
			ak, bk := f.Truncate(k)
			got := distance(p, whiten(product(ak, bk)))
			if wanted := distance(p, best); math.Abs(got-wanted) > 1e-6*scale {
				t.Fatalf("r=%d m=%d n=%d k=%d: weighted error %g, want %g", r, m, n, k, got, wanted)
			}
		}
	}
}

func TestFactorWeightedByNothingIsFactor(t *testing.T) {
	rng := source(3)
	a, b := random(rng, 6, 20), random(rng, 6, 15)
	plain, err := Factor(a, b)
	if err != nil {
		t.Fatal(err)
	}
	weighted, err := FactorWeighted(a, b, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k := 1; k <= 6; k++ {
		a1, b1 := plain.Truncate(k)
		a2, b2 := weighted.Truncate(k)
		if d := distance(product(a1, b1), product(a2, b2)); d > 1e-10 {
			t.Errorf("k=%d: products differ by %g", k, d)
		}
	}
}

// At full rank nothing is lost, in any direction, even where the data never goes.
func TestFactorWeightedKeepsAFullRankProduct(t *testing.T) {
	rng := source(4)
	a, b := random(rng, 5, 30), random(rng, 5, 30)
	f, err := FactorWeighted(a, b, spd(rng, 30, 12), spd(rng, 30, 9))
	if err != nil {
		t.Fatal(err)
	}
	ak, bk := f.Truncate(5)
	if d := distance(product(a, b), product(ak, bk)); d > 1e-7 {
		t.Errorf("differs by %g", d)
	}
}

// What the data says nothing about must not come out as noise blown up by a
// division: here it has rank 2, and all five are asked for.
func TestFactorWeightedByFewSamplesStaysTame(t *testing.T) {
	rng := source(7)
	for range 20 {
		a, b := random(rng, 5, 30), random(rng, 5, 30)
		f, err := FactorWeighted(a, b, spd(rng, 30, 2), spd(rng, 30, 3))
		if err != nil {
			t.Fatal(err)
		}
		two, _ := f.Truncate(2)
		five, _ := f.Truncate(5)
		if extra := distance(five.Slice(2, 5, 0, 30), mat.NewDense(3, 30, nil)); extra != 0 {
			t.Errorf("parts without data have norm %g, those with %g", extra, mat.Norm(two, 2))
		}
	}
}

func TestFactorOfZero(t *testing.T) {
	for name, factor := range map[string]func(a, b *mat.Dense) (*LowRank, error){
		"plain":    Factor,
		"weighted": func(a, b *mat.Dense) (*LowRank, error) { return FactorWeighted(a, b, nil, nil) },
	} {
		f, err := factor(mat.NewDense(3, 5, nil), mat.NewDense(3, 4, nil))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		a, b := f.Truncate(2)
		if mat.Norm(a, 2) != 0 || mat.Norm(b, 2) != 0 {
			t.Errorf("%s: factors of zero are not zero", name)
		}
		if got := Retained(f.Energies()); got[0] != 1 {
			t.Errorf("%s: retained %v, want all of nothing", name, got)
		}
	}
}

func TestFactorErrors(t *testing.T) {
	bad := mat.NewDense(2, 3, nil)
	bad.Set(1, 2, math.NaN())
	good := mat.NewDense(2, 3, nil)
	inf := mat.NewSymDense(3, nil)
	inf.SetSym(0, 2, math.Inf(1))
	negative := mat.NewSymDense(3, []float64{1, 0, 0, 0, -1, 0, 0, 0, 1})
	eye := mat.NewDense(2, 3, []float64{1, 0, 0, 0, 1, 0})
	for _, c := range []struct {
		name string
		call func() (*LowRank, error)
		want string
		kind fault.Kind
	}{
		{"NaN in A", func() (*LowRank, error) { return Factor(bad, good) }, "A[1,2]", fault.Model},
		{"NaN in B", func() (*LowRank, error) { return Factor(good, bad) }, "B[1,2]", fault.Model},
		{"rows", func() (*LowRank, error) { return Factor(good, mat.NewDense(3, 3, nil)) }, "A 2×3 and B 3×3", fault.Internal},
		{"infinite weight", func() (*LowRank, error) { return FactorWeighted(good, good, inf, nil) }, "M[0,2]", fault.Model},
		{"weight of another size", func() (*LowRank, error) { return FactorWeighted(good, good, nil, mat.NewSymDense(4, nil)) }, "N 4×4", fault.Internal},
		{"negative weight", func() (*LowRank, error) { return FactorWeighted(eye, eye, negative, nil) }, "weight M", fault.Model},
	} {
		_, err := c.call()
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != c.kind || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want a %v error naming %q", c.name, err, c.kind, c.want)
		}
	}
}

func TestRetained(t *testing.T) {
	got := Retained([]float64{9, 4, 2, 1})
	want := []float64{0, 9. / 16, 13. / 16, 15. / 16, 1}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := Retained(nil); !slices.Equal(got, []float64{1}) {
		t.Errorf("of nothing: got %v", got)
	}
}

// Equal input gives equal bits, on one thread as on several.
func TestDeterminism(t *testing.T) {
	rng := source(5)
	a, b := random(rng, 64, 385), random(rng, 64, 385)
	h, w := activations(rng, 600, 300), random(rng, 300, 70)
	run := func() []*mat.Dense {
		f, err := Factor(a, b)
		if err != nil {
			t.Fatal(err)
		}
		left, right := f.Truncate(32)
		m := momentsOf(h)
		el, err := NewEliminator(m, w, Options{Affine: true})
		if err != nil {
			t.Fatal(err)
		}
		for range 150 {
			j, _ := el.Cheapest()
			if err := el.Drop(j); err != nil {
				t.Fatal(err)
			}
		}
		fit, err := Reconstruct(m, w, el.Kept(), Options{Affine: true})
		if err != nil {
			t.Fatal(err)
		}
		return []*mat.Dense{left, right, el.Weights(), fit.W}
	}
	first := run()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, threads := range []int{1, 2, 7} {
		runtime.GOMAXPROCS(threads)
		for i, m := range run() {
			if !mat.Equal(m, first[i]) {
				t.Errorf("result %d has other bits on %d threads", i, threads)
			}
		}
	}
}

func BenchmarkFactor(b *testing.B) {
	for _, d := range []int{384, 768} {
		b.Run(fmt.Sprintf("d=%d,r=64", d), func(b *testing.B) {
			rng := source(6)
			x, y := random(rng, 64, d+1), random(rng, 64, d+1)
			for b.Loop() {
				if _, err := Factor(x, y); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("weighted,d=%d,r=64", d), func(b *testing.B) {
			rng := source(6)
			x, y := random(rng, 64, d+1), random(rng, 64, d+1)
			m := spd(rng, d+1, d+1)
			for b.Loop() {
				if _, err := FactorWeighted(x, y, m, m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Moments that are summed in single precision may have eigenvalues a little below
// zero; those far below tell of an error.
func TestRootOfRoundedMoments(t *testing.T) {
	for low, fine := range map[float64]bool{-5e-5: true, -5e-4: false} {
		root, err := Root(mat.NewSymDense(2, []float64{1, 0, 0, low}))
		if (err == nil) != fine {
			t.Errorf("eigenvalue %g beside 1: %v", low, err)
		}
		if fine && math.Abs(mat.Norm(root, 2)-1) > 1e-12 {
			t.Errorf("the root is %v", mat.Formatted(root))
		}
	}
}
