package linalg

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/lapack/lapack64"
	"gonum.org/v1/gonum/mat"

	"nuwa/internal/fault"
)

// MaxCond is the largest condition number a normal matrix is solved with: four
// of a float64's sixteen digits are left to the answer.
const MaxCond = 1e12

// Condition says how well a linear system was posed. It is a value to report,
// not an error: the answer it comes with is usable.
type Condition struct {
	Given  float64 // 1-norm condition number with the ridge asked for (estimate); +Inf if not positive definite
	Solved float64 // the same with the ridge used; at most MaxCond
	Ridge  float64 // the ridge used, as a fraction of the matrix's scale (see ridgeScale)
}

// Ill reports whether the system was too near to singular to be solved as
// given, so that its ridge was raised.
func (c Condition) Ill() bool { return !(c.Given <= MaxCond) }

// String renders the numbers for a report.
func (c Condition) String() string {
	if c.Ill() {
		return fmt.Sprintf("ill-conditioned (condition number %.2g): solved with a ridge of %.0e of its scale, condition number %.2g", c.Given, c.Ridge, c.Solved)
	}
	return fmt.Sprintf("condition number %.2g, ridge %.0e", c.Solved, c.Ridge)
}

// ridges are the ones tried when the ridge asked for is not enough.
var ridges = []float64{1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1, 100}

// factorize returns the Cholesky factor of c + λ·scale·I for the smallest λ of
// ridge and the larger of ridges that brings the condition number to MaxCond.
func factorize(c *mat.SymDense, ridge, scale float64) (*mat.Cholesky, Condition, error) {
	chol, shifted := new(mat.Cholesky), mat.NewSymDense(c.SymmetricDim(), nil)
	got, err := raise(c.SymmetricDim(), ridge, func(lambda float64) float64 {
		shifted.CopySym(c)
		shift(shifted, lambda*scale)
		if !chol.Factorize(shifted) {
			return math.Inf(1)
		}
		return chol.Cond()
	})
	return chol, got, err
}

// invert is factorize for the second moment of m, with a ridge in parts of its
// scale. It returns the inverse, and the diagonal of what was inverted, and needs
// memory for one matrix only.
func invert(m *Moments, centred bool, ridge float64) (inverse *mat.Dense, diagonal []float64, got Condition, err error) {
	n := m.Dim()
	var sym *mat.SymDense
	var tri blas64.Triangular
	diagonal = make([]float64, n)
	got, err = raise(n, ridge, func(lambda float64) float64 {
		sym = nil // before the next is made
		sym = m.Second(centred)
		shift(sym, lambda*m.ridgeScale(sym))
		for j := range diagonal {
			diagonal[j] = sym.At(j, j)
		}
		raw, work := sym.RawSymmetric(), make([]float64, 3*n)
		norm := lapack64.Lansy(mat.CondNorm, raw, work)
		var ok bool
		if tri, ok = lapack64.Potrf(raw); !ok {
			return math.Inf(1)
		}
		return 1 / lapack64.Pocon(raw, norm, work, make([]int, n))
	})
	if err != nil {
		return nil, nil, got, err
	}
	if _, ok := lapack64.Potri(tri); !ok {
		return nil, nil, got, mismatch("invert", "a singular factor", "what factorized")
	}
	full := sym.RawSymmetric().Data
	mirror(full, n)
	return mat.NewDense(n, n, full), diagonal, got, nil
}

// shift adds x to the diagonal of s.
func shift(s *mat.SymDense, x float64) {
	for j := range s.SymmetricDim() {
		s.SetSym(j, j, s.At(j, j)+x)
	}
}

// raise tries ridge and the larger of ridges on an n×n matrix until the
// condition number that try returns is at most MaxCond.
func raise(n int, ridge float64, try func(lambda float64) (cond float64)) (got Condition, err error) {
	for i, lambda := range append([]float64{ridge}, ridges...) {
		if i > 0 && lambda <= ridge {
			continue
		}
		cond := try(lambda)
		if i == 0 {
			got.Given = cond
		}
		if cond <= MaxCond {
			got.Solved, got.Ridge = cond, lambda
			return got, nil
		}
	}
	return got, &fault.Error{
		Kind: fault.Model, Where: "second moment of the hidden activations",
		Got: fmt.Sprintf("a %d×%d matrix that no ridge makes positive definite", n, n), Want: "a positive semidefinite matrix",
		Remedy: "the calibration sums are wrong or overflowed; calibrate in float32 and with other images",
	}
}
