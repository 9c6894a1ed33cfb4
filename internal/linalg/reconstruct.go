package linalg

import (
	"fmt"

	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/mat"
)

// Fit is an output weight for the kept neurons of a hidden layer.
type Fit struct {
	W     *mat.Dense // r×d, one row per kept neuron, in the order of keep
	Shift []float64  // length d, to be added to the output bias; nil unless affine
	Cond  Condition
}

// Reconstruct finds the weight W′ of the kept neurons that stands in best for
// the full layer's output H·W, W being e×d with one row per neuron:
//
//	min over W′ of ‖H_r·W′ − H·W‖² + λ‖W′ − W_r‖²
//
// H_r being the columns of H in keep (ascending). Without ridge this is the
// method's W₂′ = W₂·HᵀH_r·(H_rᵀH_r)† with W = W₂ᵀ, for any H_r of full rank.
// The affine variant (as CORP, arXiv 2602.05243) fits an intercept as well:
// moments are centred, and Shift = μ·W − μ_r·W′.
//
// Only the correction to W_r is solved for, (H_rᵀH_r + λ)⁻¹·H_rᵀH_s·W_s over
// the dropped neurons s, so a fit that drops nothing changes nothing.
// A kept set that is nearly dependent raises the ridge; see Fit.Cond.
func Reconstruct(m *Moments, w *mat.Dense, keep []int, o Options) (*Fit, error) {
	if err := m.check("Reconstruct", w, o); err != nil {
		return nil, err
	}
	e, d := w.Dims()
	drop, err := complement(keep, e)
	if err != nil {
		return nil, err
	}
	c := m.Second(o.Affine)
	chol, cond, err := factorize(pick(c, keep), o.Ridge, m.ridgeScale(c))
	if err != nil {
		return nil, err
	}
	fit := &Fit{W: rows(w, keep), Cond: cond}
	if len(drop) > 0 {
		var cross, x mat.Dense
		cross.Mul(cut(c, keep, drop), rows(w, drop))
		if err := chol.SolveTo(&x, &cross); err != nil {
			return nil, fmt.Errorf("least squares over %d kept neurons: %w", len(keep), err)
		}
		fit.W.Add(fit.W, &x)
	}
	if o.Affine {
		fit.Shift = make([]float64, d)
		mu := m.Mean()
		for i, j := range keep {
			axpy(-mu[j], fit.W.RawRowView(i), fit.Shift)
		}
		for j := range e {
			axpy(mu[j], w.RawRowView(j), fit.Shift)
		}
	}
	return fit, nil
}

// complement returns the neurons of 0 … e−1 that are not in keep.
func complement(keep []int, e int) ([]int, error) {
	if len(keep) == 0 {
		return nil, mismatch("Reconstruct", "no neuron kept", "at least one")
	}
	drop := make([]int, 0, e)
	next := 0
	for i, j := range keep {
		if j < next || j >= e {
			return nil, mismatch("Reconstruct", fmt.Sprintf("keep[%d] = %d", i, j), fmt.Sprintf("ascending neurons below %d", e))
		}
		for ; next < j; next++ {
			drop = append(drop, next)
		}
		next = j + 1
	}
	for ; next < e; next++ {
		drop = append(drop, next)
	}
	return drop, nil
}

// pick returns the rows and columns of c in idx (ascending).
func pick(c *mat.SymDense, idx []int) *mat.SymDense {
	out := mat.NewSymDense(len(idx), nil)
	src, dst := c.RawSymmetric(), out.RawSymmetric()
	for a, i := range idx {
		row, to := src.Data[i*src.Stride:], dst.Data[a*dst.Stride:]
		for b := a; b < len(idx); b++ {
			to[b] = row[idx[b]]
		}
	}
	return out
}

// cut returns the rows of c in r and its columns in s.
func cut(c *mat.SymDense, r, s []int) *mat.Dense {
	out := mat.NewDense(len(r), len(s), nil)
	src := c.RawSymmetric()
	for a, i := range r {
		to := out.RawRowView(a)
		for b, j := range s {
			to[b] = src.Data[min(i, j)*src.Stride+max(i, j)]
		}
	}
	return out
}

// rows returns a copy of the rows of w in idx.
func rows(w *mat.Dense, idx []int) *mat.Dense {
	_, d := w.Dims()
	out := mat.NewDense(len(idx), d, nil)
	for a, i := range idx {
		out.SetRow(a, w.RawRowView(i))
	}
	return out
}

// meanDiagonal is the mean diagonal element of c, or one where no neuron ever
// fires.
func meanDiagonal(c *mat.SymDense) float64 {
	n := c.SymmetricDim()
	sum := 0.0
	for i := range n {
		sum += c.At(i, i)
	}
	if sum <= 0 {
		return 1
	}
	return sum / float64(n)
}

// rounding is how exact sums of single precision are, as a part of the trace of
// what is summed.
const rounding = 1e-6

// ridgeScale is what ridges are a fraction of: the mean diagonal element of c, the
// second moment of m or its covariance, but no less than the sums of m can tell
// apart. Where activations hardly differ from their mean, what is left of the
// diagonal is rounding.
func (m *Moments) ridgeScale(c *mat.SymDense) float64 {
	return max(meanDiagonal(c), rounding*mat.Trace(m.Gram)/float64(m.Rows))
}

// dot returns Σ_ic a_ic·b_ic·f_c, f nil standing for ones.
func dot(a, b *mat.Dense, f []float64) float64 {
	n, d := a.Dims()
	sum := 0.0
	for i := range n {
		x, y := a.RawRowView(i), b.RawRowView(i)
		if f == nil {
			sum += blas64.Dot(vec(x), vec(y))
			continue
		}
		for c := range d {
			sum += x[c] * y[c] * f[c]
		}
	}
	return sum
}

func vec(x []float64) blas64.Vector { return blas64.Vector{N: len(x), Data: x, Inc: 1} }

func axpy(alpha float64, x, y []float64) { blas64.Axpy(alpha, vec(x), vec(y)) }
