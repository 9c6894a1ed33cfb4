package linalg

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/mat"
)

// Features are samples of what a linear map reads, factorized for any number of
// targets and ridges: x̃ = U·diag(√values)·Vᵀ, of which V is not needed.
type Features struct {
	centred *mat.Dense // x̃, n×d, a row per sample
	mean    []float64
	u       *mat.Dense // n×r, one column per value
	values  []float64  // the squared singular values of x̃ that are not rounding
	scale   float64    // the mean variance of a feature, times n
}

// NewFeatures factorizes features x (n×d), through the smaller of x̃ᵀx̃ and x̃x̃ᵀ.
func NewFeatures(x *mat.Dense) (*Features, error) {
	n, d := x.Dims()
	if n == 0 {
		return nil, mismatch("NewFeatures", "no samples", "at least one")
	}
	if err := finite("features", x); err != nil {
		return nil, err
	}
	f := &Features{centred: mat.NewDense(n, d, nil), mean: columnMeans(x)}
	f.centred.Apply(func(i, j int, _ float64) float64 { return x.At(i, j) - f.mean[j] }, f.centred)
	of, side := mat.Matrix(f.centred), n
	if d < n {
		of, side = f.centred.T(), d
	}
	gram := mat.NewSymDense(side, nil)
	gram.SymOuterK(1, of)
	var eig mat.EigenSym
	if !eig.Factorize(gram, true) {
		return nil, mismatch("NewFeatures", "an eigenvalue decomposition that does not converge", "finite features")
	}
	var vectors mat.Dense
	eig.VectorsTo(&vectors)
	all := eig.Values(nil) // ascending
	none := 0
	for ; none < side && all[none] <= 1e-14*float64(side)*all[side-1]; none++ {
	}
	if none == side { // features that never change
		f.u = new(mat.Dense)
		return f, nil
	}
	f.values = all[none:]
	for _, v := range f.values {
		f.scale += v / float64(d)
	}
	span := vectors.Slice(0, side, none, side)
	if side == n {
		f.u = mat.DenseCopyOf(span)
		return f, nil
	}
	f.u = new(mat.Dense)
	f.u.Mul(f.centred, span)
	for i := range n {
		row := f.u.RawRowView(i)
		for k, v := range f.values {
			row[k] /= math.Sqrt(v)
		}
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
	residual *mat.Dense // r̃, n×c
	rotated  *mat.Dense // Uᵀ·r̃
	meR      []float64
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
	fit := &Ridge{Features: f, residual: mat.NewDense(n, c, nil), rotated: new(mat.Dense), meR: columnMeans(r)}
	fit.residual.Apply(func(i, j int, _ float64) float64 { return r.At(i, j) - fit.meR[j] }, fit.residual)
	if len(f.values) > 0 {
		fit.rotated.Mul(f.u.T(), fit.residual)
	}
	return fit, nil
}

// Fit returns Δ (d×c) and b (c) for a ridge λ > 0, in units of the mean
// variance of the features: Δ = x̃ᵀ·U·diag(1/(values + λ·n·s))·Uᵀ·r̃.
func (f *Ridge) Fit(lambda float64) (delta *mat.Dense, shift []float64) {
	_, d := f.centred.Dims()
	delta, shift = mat.NewDense(d, len(f.meR), nil), slices.Clone(f.meR)
	if len(f.values) == 0 {
		return delta, shift
	}
	var along mat.Dense
	along.Mul(f.u, f.weighted(func(v float64) float64 { return 1 / (v + lambda*f.scale) }))
	delta.Mul(f.centred.T(), &along)
	for j, m := range f.mean {
		axpy(-m, delta.RawRowView(j), shift)
	}
	return delta, shift
}

// weighted returns rotated with each row times by of its value.
func (f *Ridge) weighted(by func(value float64) float64) *mat.Dense {
	out := mat.DenseCopyOf(f.rotated)
	for i, v := range f.values {
		blas64.Scal(by(v), vec(out.RawRowView(i)))
	}
	return out
}

// CrossValidate returns for every sample what x·Δ + b is (n×c) of a fit to the
// samples outside of its fold, for a ridge λ > 0. No fit is made anew: with H what
// turns targets into fitted ones, the residuals of a fold F that is left out are
//
//	(I − H_FF)⁻¹·(r − H·r)_F
//
// (Hastie, Tibshirani, Friedman, The Elements of Statistical Learning, 7.10, for
// folds of one). Folds are disjoint, and each leaves some sample out.
func (f *Ridge) CrossValidate(lambda float64, folds [][]int) (*mat.Dense, error) {
	n, c := f.residual.Dims()
	out := mat.NewDense(n, c, nil)
	for _, fold := range folds {
		if len(fold) == 0 || len(fold) >= n {
			return nil, mismatch("CrossValidate", fmt.Sprintf("a fold of %d of %d samples", len(fold), n), "some, and not all")
		}
		penalty := lambda * f.scale * float64(n-len(fold)) / float64(n) // of as many samples as are left
		shrink := func(v float64) float64 { return v / (v + penalty) }
		r, left := rows(f.residual, fold), mat.NewSymDense(len(fold), nil)
		if len(f.values) > 0 {
			u := rows(f.u, fold)
			var fitted mat.Dense
			fitted.Mul(u, f.weighted(shrink))
			r.Sub(r, &fitted)
			for k, v := range f.values {
				root := math.Sqrt(shrink(v))
				for i := range fold {
					u.Set(i, k, root*u.At(i, k))
				}
			}
			left.SymOuterK(-1, u)
		}
		for i := range fold {
			for j := i; j < len(fold); j++ {
				left.SetSym(i, j, left.At(i, j)-1/float64(n))
			}
			left.SetSym(i, i, left.At(i, i)+1)
		}
		var chol mat.Cholesky
		var x mat.Dense
		if !chol.Factorize(left) {
			return nil, mismatch("CrossValidate", "samples that say all there is to a fit", "samples that others stand in for")
		}
		if err := chol.SolveTo(&x, r); err != nil {
			return nil, fmt.Errorf("cross-validation of %d samples: %w", len(fold), err)
		}
		for i, s := range fold {
			row := out.RawRowView(s)
			for k := range row {
				row[k] = f.residual.At(s, k) + f.meR[k] - x.At(i, k)
			}
		}
	}
	return out, nil
}

func columnMeans(m *mat.Dense) []float64 {
	n, c := m.Dims()
	out := make([]float64, c)
	for i := range n {
		axpy(1/float64(n), m.RawRowView(i), out)
	}
	return out
}
