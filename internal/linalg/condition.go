package linalg

import (
	"fmt"
	"math"

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
	Ridge  float64 // the ridge used, as a fraction of the matrix's mean diagonal element
}

// Ill reports whether the system was too near to singular to be solved as
// given, so that its ridge was raised.
func (c Condition) Ill() bool { return !(c.Given <= MaxCond) }

// String renders the numbers for a report.
func (c Condition) String() string {
	if c.Ill() {
		return fmt.Sprintf("ill-conditioned (condition number %.2g): solved with a ridge of %.0e of the mean diagonal, condition number %.2g", c.Given, c.Ridge, c.Solved)
	}
	return fmt.Sprintf("condition number %.2g, ridge %.0e", c.Solved, c.Ridge)
}

// ridges are the ones tried when the ridge asked for is not enough.
var ridges = []float64{1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1}

// factorize returns the Cholesky factor of c + λ·scale·I for the smallest λ of
// ridge and the larger of ridges that brings the condition number to MaxCond.
func factorize(c *mat.SymDense, ridge, scale float64) (*mat.Cholesky, Condition, error) {
	n := c.SymmetricDim()
	shifted := mat.NewSymDense(n, nil)
	var got Condition
	for i, lambda := range append([]float64{ridge}, ridges...) {
		if i > 0 && lambda <= ridge {
			continue
		}
		shifted.CopySym(c)
		for j := range n {
			shifted.SetSym(j, j, c.At(j, j)+lambda*scale)
		}
		chol, cond := new(mat.Cholesky), math.Inf(1)
		if chol.Factorize(shifted) {
			cond = chol.Cond()
		}
		if i == 0 {
			got.Given = cond
		}
		if cond <= MaxCond {
			got.Solved, got.Ridge = cond, lambda
			return chol, got, nil
		}
	}
	return nil, got, &fault.Error{
		Kind: fault.Model, Where: "second moment of the hidden activations",
		Got: fmt.Sprintf("a %d×%d matrix that no ridge makes positive definite", n, n), Want: "a positive semidefinite matrix",
		Remedy: "the calibration sums are wrong or overflowed; calibrate in float32 and with other images",
	}
}
