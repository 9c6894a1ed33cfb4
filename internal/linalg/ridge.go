package linalg

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
)

// Features are samples of what a linear map reads, factorized for any number of
// targets and ridges.
type Features struct {
	centred *mat.Dense // x̃, a row per sample
	mean    []float64
	values  []float64 // eigenvalues of x̃ᵀx̃
	vectors *mat.Dense
	scale   float64 // the mean variance of a feature, times n
}

// NewFeatures factorizes features x (n×d).
func NewFeatures(x *mat.Dense) (*Features, error) {
	n, d := x.Dims()
	if n == 0 {
		return nil, mismatch("NewFeatures", "no samples", "at least one")
	}
	if err := finite("features", x); err != nil {
		return nil, err
	}
	f := &Features{centred: mat.NewDense(n, d, nil), mean: columnMeans(x), vectors: new(mat.Dense)}
	f.centred.Apply(func(i, j int, _ float64) float64 { return x.At(i, j) - f.mean[j] }, f.centred)
	gram := mat.NewSymDense(d, nil)
	gram.SymOuterK(1, f.centred.T())
	var eig mat.EigenSym
	if !eig.Factorize(gram, true) {
		return nil, mismatch("NewFeatures", "an eigenvalue decomposition that does not converge", "finite features")
	}
	f.values = eig.Values(nil)
	eig.VectorsTo(f.vectors)
	for _, v := range f.values {
		f.scale += v / float64(d)
	}
	return f, nil
}

// Ridge fits linear maps to samples, pulled towards one that is there: with x̃
// the samples' centred features (n×d) and r the residuals of their targets
// (n×c),
//
//	min over Δ and b of ‖x·Δ + 1·bᵀ − r‖² + λ·n·s‖Δ‖²
//
// s being the mean variance of the features.
type Ridge struct {
	*Features
	rotated *mat.Dense // vectorsᵀ·x̃ᵀr
	meR     []float64
}

// Ridge prepares fits to residuals r (n×c).
func (f *Features) Ridge(r *mat.Dense) (*Ridge, error) {
	n, _ := f.centred.Dims()
	rows, c := r.Dims()
	if n != rows {
		return nil, mismatch("Ridge", fmt.Sprintf("%d samples and %d targets", n, rows), "as many")
	}
	if err := finite("targets", r); err != nil {
		return nil, err
	}
	fit := &Ridge{Features: f, rotated: new(mat.Dense), meR: columnMeans(r)}
	residual := mat.NewDense(n, c, nil)
	residual.Apply(func(i, j int, _ float64) float64 { return r.At(i, j) - fit.meR[j] }, residual)
	var cross mat.Dense
	cross.Mul(f.centred.T(), residual)
	fit.rotated.Mul(f.vectors.T(), &cross)
	return fit, nil
}

// Fit returns Δ (d×c) and b (c) for a ridge λ > 0, in units of the mean
// variance of the features.
func (f *Ridge) Fit(lambda float64) (delta *mat.Dense, shift []float64) {
	scaled := mat.DenseCopyOf(f.rotated)
	for i, v := range f.values {
		row := scaled.RawRowView(i)
		by := math.Max(v, 0) + lambda*f.scale
		for j := range row {
			if row[j] != 0 {
				row[j] /= by
			}
		}
	}
	delta = new(mat.Dense)
	delta.Mul(f.vectors, scaled)
	shift = make([]float64, len(f.meR))
	copy(shift, f.meR)
	for j, m := range f.mean {
		axpy(-m, delta.RawRowView(j), shift)
	}
	return delta, shift
}

func columnMeans(m *mat.Dense) []float64 {
	n, c := m.Dims()
	out := make([]float64, c)
	for i := range n {
		axpy(1/float64(n), m.RawRowView(i), out)
	}
	return out
}
