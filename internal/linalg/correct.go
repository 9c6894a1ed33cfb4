package linalg

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
)

// Cross are the sums over the n rows of activations H (n×e) and of targets T
// (n×d) from which, beside the Moments of H, a correction is computed.
type Cross struct {
	Sum  []float64  // Tᵀ·1, length d
	Gram *mat.Dense // HᵀT, e×d
}

// NewCross returns the sums over no rows, for e neurons and d channels.
func NewCross(e, d int) *Cross {
	return &Cross{Sum: make([]float64, d), Gram: mat.NewDense(e, d, nil)}
}

// Add accumulates a batch: the column sums of its targets (length d) and its
// HᵀT (e×d, row by row). It fails, leaving c as it was, when a number is not
// finite or a length does not fit.
func (c *Cross) Add(sum, gram []float32) error {
	raw := c.Gram.RawMatrix()
	if len(sum) != len(c.Sum) || len(gram) != len(raw.Data) {
		return mismatch("Cross.Add", fmt.Sprintf("%d sums and %d products", len(sum), len(gram)), fmt.Sprintf("%d and %d", len(c.Sum), len(raw.Data)))
	}
	for _, xs := range [][]float32{sum, gram} {
		for _, x := range xs {
			if x-x != 0 {
				return notFinite("products of activations and targets", float64(x))
			}
		}
	}
	for j, x := range sum {
		c.Sum[j] += float64(x)
	}
	for j, x := range gram {
		raw.Data[j] += float64(x)
	}
	return nil
}

// Correct returns the linear map Δ (e×d) and the shift s (length d; nil unless
// affine) that, added to what is there, bring it closest to the targets:
//
//	min over Δ and s of ‖H·Δ + 1·sᵀ − T‖² + λ‖Δ‖²
//
// Affine, moments are centred and s = E[T] − μ·Δ.
func Correct(m *Moments, c *Cross, o Options) (delta *mat.Dense, shift []float64, cond Condition, err error) {
	if err := m.check("Correct", c.Gram, o); err != nil {
		return nil, nil, cond, err
	}
	_, d := c.Gram.Dims()
	second := m.Second(o.Affine)
	chol, cond, err := factorize(second, o.Ridge, m.ridgeScale(second))
	if err != nil {
		return nil, nil, cond, err
	}
	n, mu := float64(m.Rows), m.Mean()
	var cross mat.Dense
	cross.Scale(1/n, c.Gram)
	if o.Affine {
		shift = make([]float64, d)
		for j, t := range c.Sum {
			shift[j] = t / n
		}
		for i := range mu {
			axpy(-mu[i], shift, cross.RawRowView(i))
		}
	}
	delta = new(mat.Dense)
	if err := chol.SolveTo(delta, &cross); err != nil {
		return nil, nil, cond, fmt.Errorf("correction of %d neurons: %w", m.Dim(), err)
	}
	for _, x := range delta.RawMatrix().Data {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return nil, nil, cond, notFinite("correction", x)
		}
	}
	for i, x := range mu {
		if o.Affine {
			axpy(-x, delta.RawRowView(i), shift)
		}
	}
	return delta, shift, cond, nil
}
