package linalg

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/mat"
)

// Moments are the sums over n rows of hidden activations H (n×e) from which
// every fit of this package is computed.
type Moments struct {
	Rows int           // n
	Sum  []float64     // Hᵀ·1, length e
	Gram *mat.SymDense // HᵀH, e×e
}

// NewMoments returns the moments of no rows, for e neurons (at least one).
func NewMoments(e int) *Moments {
	return &Moments{Sum: make([]float64, e), Gram: mat.NewSymDense(e, nil)}
}

// Dim returns the number of neurons e.
func (m *Moments) Dim() int { return len(m.Sum) }

// Add accumulates a batch: its number of rows, its column sums (length e) and
// its Gram matrix (e×e, row by row; the upper triangle is read). It fails,
// leaving m as it was, when a number is not finite or a length does not fit.
func (m *Moments) Add(rows int, sum, gram []float32) error {
	return m.AddBlocks(rows, sum, []int{m.Dim()}, [][]float32{gram})
}

// AddBlocks is Add for a Gram matrix in blocks: with the neurons cut into pieces
// of the given widths, the product of each piece with itself and with those
// after it, piece by piece.
func (m *Moments) AddBlocks(rows int, sum []float32, pieces []int, grams [][]float32) error {
	e := m.Dim()
	fits, total, at := len(sum) == e && rows >= 1 && len(grams) == len(pieces)*(len(pieces)+1)/2, 0, 0
	for i, w := range pieces {
		total += w
		for _, v := range pieces[i:] {
			fits = fits && len(grams[at]) == w*v
			at++
		}
	}
	if !fits || total != e {
		return mismatch("Moments.Add", fmt.Sprintf("%d rows, %d sums and Gram matrices of %d neurons in %d pieces", rows, len(sum), total, len(pieces)), fmt.Sprintf("sums and Gram matrices of %d neurons", e))
	}
	for j, v := range sum {
		if v-v != 0 {
			return notFinite(fmt.Sprintf("sum of hidden neuron %d", j), float64(v))
		}
	}
	err := eachRow(pieces, grams, func(i, j int, row []float32) error {
		for k, v := range row {
			if v-v != 0 {
				return notFinite(fmt.Sprintf("second moment of hidden neurons %d and %d", i, j+k), float64(v))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	m.Rows += rows
	for j, v := range sum {
		m.Sum[j] += float64(v)
	}
	raw := m.Gram.RawSymmetric()
	return eachRow(pieces, grams, func(i, j int, row []float32) error {
		to := raw.Data[i*raw.Stride+j:]
		for k, v := range row {
			to[k] += float64(v)
		}
		return nil
	})
}

// eachRow calls do for what lies on or above the diagonal in each row of the
// blocks that AddBlocks takes: of neuron i with those from j on.
func eachRow(pieces []int, grams [][]float32, do func(i, j int, row []float32) error) error {
	top, at := 0, 0
	for a, w := range pieces {
		left := top
		for _, v := range pieces[a:] {
			for i := range w {
				row, j := grams[at][i*v:(i+1)*v], left
				if left == top {
					row, j = row[i:], left+i
				}
				if err := do(top+i, j, row); err != nil {
					return err
				}
			}
			left += v
			at++
		}
		top += w
	}
	return nil
}

// Scale multiplies all sums but the number of rows by f.
func (m *Moments) Scale(f float64) {
	for j := range m.Sum {
		m.Sum[j] *= f
	}
	m.Gram.ScaleSym(f, m.Gram)
}

// Mean returns μ, the mean activation of each neuron.
func (m *Moments) Mean() []float64 {
	mu := make([]float64, m.Dim())
	for j, s := range m.Sum {
		mu[j] = s / float64(m.Rows)
	}
	return mu
}

// Second returns the second moment HᵀH/n; when centred, the covariance
// HᵀH/n − μμᵀ.
func (m *Moments) Second(centred bool) *mat.SymDense {
	e := m.Dim()
	c := mat.NewSymDense(e, nil)
	c.ScaleSym(1/float64(m.Rows), m.Gram)
	if centred {
		blas64.Syr(-1, blas64.Vector{N: e, Data: m.Mean(), Inc: 1}, c.RawSymmetric())
	}
	return c
}

// check fails when m cannot be the moments of the neurons whose output weight
// is w (e×d), or when either holds a number that is not finite.
func (m *Moments) check(where string, w *mat.Dense, o Options) error {
	e, d := w.Dims()
	if m.Gram == nil || m.Dim() != e || m.Gram.SymmetricDim() != e || m.Rows < 1 {
		return mismatch(where, fmt.Sprintf("moments of %d rows and %d neurons for an output weight %d×%d", m.Rows, m.Dim(), e, d), "at least one row, and as many neurons")
	}
	if o.Weight != nil && len(o.Weight) != d {
		return mismatch(where, fmt.Sprintf("%d channel weights", len(o.Weight)), fmt.Sprint(d))
	}
	if !(o.Ridge >= 0 && o.Ridge <= 1) {
		return mismatch(where, fmt.Sprintf("ridge %g", o.Ridge), "0 to 1")
	}
	for c, f := range o.Weight {
		if !(f >= 0) || math.IsInf(f, 0) {
			return notFinite(fmt.Sprintf("weight of output channel %d", c), f)
		}
	}
	for j, s := range m.Sum {
		if math.IsNaN(s) || math.IsInf(s, 0) {
			return notFinite(fmt.Sprintf("sum of hidden neuron %d", j), s)
		}
	}
	raw := m.Gram.RawSymmetric()
	for i := range e {
		for j := i; j < e; j++ {
			if v := raw.Data[i*raw.Stride+j]; math.IsNaN(v) || math.IsInf(v, 0) {
				return notFinite(fmt.Sprintf("second moment of hidden neurons %d and %d", i, j), v)
			}
		}
	}
	return finite("W", w)
}

// Options choose which least squares is solved.
type Options struct {
	// Affine also fits a shift of the bias, from centred moments.
	Affine bool
	// Ridge is the least ridge, as a fraction of the second moment's scale (see
	// ridgeScale), that pulls the answer towards the weights it starts from. It is
	// raised where the system is ill-conditioned.
	Ridge float64
	// Weight, if not nil, weights the squared error of each of the d output
	// channels, such as F_c = E[(∂ℓ/∂y_c)²] for a loss ℓ.
	Weight []float64
}
