package linalg

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"

	"nuwa/internal/fault"
)

// Weighted factors see their data only through its second moments, whose
// accuracy is that of squares: half the digits of a float64. What lies below
// is rounding, not structure.
const (
	negligibleEigenvalue = 1e-14 // relative to the largest
	negligibleSingular   = 1e-7  // relative to the largest
	negativeEigenvalue   = 1e-4  // relative to the largest: what moments summed in single precision may make of zero
)

// FactorWeighted decomposes P = Aᵀ·B (A r×m, B r×n) such that truncation
// minimizes ‖M^½·(P−P′)·N^½‖, the error on data whose second moments are M
// (m×m) and N (n×n), both symmetric and positive semidefinite; a nil interface
// stands for the identity. The idea is that of SVD-LLM (arXiv 2403.07378).
//
// No root of M or N is formed and nothing is divided by one, so both may be
// singular. Everything follows from the r×r matrices A·M·Aᵀ = RₐᵀRₐ and
// B·N·Bᵀ = RᵦᵀRᵦ: with the decomposition Rₐ·Rᵦᵀ = U·Σ·Vᵀ, the best factors are
//
//	A′ᵀ = Aᵀ·Rᵦᵀ·V_k·Σ_k^-½    B′ᵀ = Bᵀ·Rₐᵀ·U_k·Σ_k^-½
//
// which stay in the row spaces of A and B: directions that the data never
// takes are not invented. Parts of singular value below 1e-7 of the largest
// are left out.
func FactorWeighted(a, b *mat.Dense, m, n mat.Symmetric) (*LowRank, error) {
	if err := checkFactors("FactorWeighted", a, b); err != nil {
		return nil, err
	}
	ga, err := weightedGram("M", a, m)
	if err != nil {
		return nil, err
	}
	gb, err := weightedGram("N", b, n)
	if err != nil {
		return nil, err
	}
	return FactorGrams(a, b, ga, gb)
}

// FactorGrams is FactorWeighted given A·M·Aᵀ and B·N·Bᵀ (both r×r) instead of
// M and N: the second moments of what the factors give on data, which are
// cheaper to gather.
func FactorGrams(a, b *mat.Dense, ga, gb mat.Symmetric) (*LowRank, error) {
	if err := checkFactors("FactorGrams", a, b); err != nil {
		return nil, err
	}
	if r := a.RawMatrix().Rows; ga.SymmetricDim() != r || gb.SymmetricDim() != r {
		return nil, mismatch("FactorGrams", fmt.Sprintf("moments %d and %d wide for factors of %d rows", ga.SymmetricDim(), gb.SymmetricDim(), r), "as many")
	}
	ra, err := gramRoot("M", ga)
	if err != nil {
		return nil, err
	}
	rb, err := gramRoot("N", gb)
	if err != nil {
		return nil, err
	}
	u, s, v, err := coreSVD(ra, rb)
	if err != nil {
		return nil, err
	}
	for i, sigma := range s {
		f := 0.0
		if sigma > negligibleSingular*s[0] {
			f = 1 / math.Sqrt(sigma)
		}
		scaleColumn(u, i, f)
		scaleColumn(v, i, f)
	}
	_, cols := a.Dims()
	_, colsB := b.Dims()
	t := min(len(s), cols, colsB)
	f := &LowRank{S: s[:t], left: new(mat.Dense), right: new(mat.Dense)}
	var mix mat.Dense
	mix.Mul(rb.T(), v.Slice(0, len(s), 0, t))
	f.left.Mul(a.T(), &mix)
	mix.Reset()
	mix.Mul(ra.T(), u.Slice(0, len(s), 0, t))
	f.right.Mul(b.T(), &mix)
	return f, nil
}

// weightedGram returns F·M·Fᵀ (r×r).
func weightedGram(name string, f *mat.Dense, m mat.Symmetric) (*mat.SymDense, error) {
	r, cols := f.Dims()
	var g mat.Dense
	if m == nil {
		g.Mul(f, f.T())
	} else {
		if n := m.SymmetricDim(); n != cols {
			return nil, mismatch("FactorWeighted", fmt.Sprintf("weight %s %d×%d for a factor of %d columns", name, n, n, cols), "as many")
		}
		dense := full(m)
		if err := finite(name, dense); err != nil {
			return nil, err
		}
		var half mat.Dense
		half.Mul(f, dense)
		g.Mul(&half, f.T())
	}
	sym := mat.NewSymDense(r, nil)
	for i := range r {
		for j := i; j < r; j++ {
			sym.SetSym(i, j, (g.At(i, j)+g.At(j, i))/2)
		}
	}
	return sym, nil
}

// Root returns a matrix R with RᵀR = f, for a symmetric positive semidefinite
// f.
func Root(f mat.Symmetric) (*mat.Dense, error) { return gramRoot("F", f) }

// gramRoot returns R (r×r) with RᵀR = g.
func gramRoot(name string, g mat.Symmetric) (*mat.Dense, error) {
	r := g.SymmetricDim()
	if err := finite(name, full(g)); err != nil {
		return nil, err
	}
	var eig mat.EigenSym
	if !eig.Factorize(g, true) {
		return nil, &fault.Error{Kind: fault.Model, Where: "weight " + name, Got: "an eigenvalue decomposition that does not converge",
			Remedy: "the weights or the calibration data are out of all proportion"}
	}
	values := eig.Values(nil) // ascending
	top := math.Max(values[r-1], -values[0])
	if values[0] < -negativeEigenvalue*top {
		return nil, &fault.Error{Kind: fault.Model, Where: "weight " + name,
			Got: fmt.Sprintf("an eigenvalue of %.3g beside %.3g", values[0], values[r-1]), Want: "a positive semidefinite matrix",
			Remedy: "a second moment is wrong or overflowed; calibrate in float32 and with other images"}
	}
	var vectors, root mat.Dense
	eig.VectorsTo(&vectors)
	root.CloneFrom(vectors.T())
	for i, l := range values {
		if l <= negligibleEigenvalue*top {
			l = 0
		}
		row := root.RawRowView(i)
		for j := range row {
			row[j] *= math.Sqrt(l)
		}
	}
	return &root, nil
}
