package linalg

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
)

// Ridge fits linear maps to samples, pulled towards one that is there: with x̃
// the samples' centred features (n×d) and r the residuals of their targets
// (n×c),
//
//	min over Δ and b of ‖x·Δ + 1·bᵀ − r‖² + λ·n·s‖Δ‖²
//
// s being the mean variance of the features. One factorization serves every λ.
type Ridge struct {
	values     []float64 // eigenvalues of x̃ᵀx̃
	vectors    *mat.Dense
	rotated    *mat.Dense // vectorsᵀ·x̃ᵀr
	meanX, meR []float64
	scale      float64
}

// NewRidge prepares fits to residuals r (n×c) of features x (n×d).
func NewRidge(x, r *mat.Dense) (*Ridge, error) {
	n, d := x.Dims()
	rows, c := r.Dims()
	if n != rows || n == 0 {
		return nil, mismatch("NewRidge", fmt.Sprintf("%d samples and %d targets", n, rows), "as many, and at least one")
	}
	if err := finite("features", x); err != nil {
		return nil, err
	}
	if err := finite("targets", r); err != nil {
		return nil, err
	}
	f := &Ridge{meanX: columnMeans(x), meR: columnMeans(r), vectors: new(mat.Dense), rotated: new(mat.Dense)}
	centred, residual := mat.NewDense(n, d, nil), mat.NewDense(n, c, nil)
	centred.Apply(func(i, j int, _ float64) float64 { return x.At(i, j) - f.meanX[j] }, centred)
	residual.Apply(func(i, j int, _ float64) float64 { return r.At(i, j) - f.meR[j] }, residual)
	gram := mat.NewSymDense(d, nil)
	gram.SymOuterK(1, centred.T())
	var eig mat.EigenSym
	if !eig.Factorize(gram, true) {
		return nil, mismatch("NewRidge", "an eigenvalue decomposition that does not converge", "finite features")
	}
	f.values = eig.Values(nil)
	eig.VectorsTo(f.vectors)
	var cross mat.Dense
	cross.Mul(centred.T(), residual)
	f.rotated.Mul(f.vectors.T(), &cross)
	for _, v := range f.values {
		f.scale += v / float64(d)
	}
	return f, nil
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
	for j, m := range f.meanX {
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
