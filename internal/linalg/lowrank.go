package linalg

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/lapack/lapack64"
	"gonum.org/v1/gonum/mat"

	"nuwa/internal/fault"
)

// LowRank is the product P = Aᵀ·B of two skinny factors in a form that gives
// its best approximation of any rank.
type LowRank struct {
	// S holds the singular values of P, largest first; of M^½·P·N^½ when P was
	// weighted. There are min(r, m, n) of them.
	S []float64

	// Column i of left (m×len(S)) and of right (n×len(S)) is the i-th rank-one
	// part of P, its singular value split evenly between the two.
	left, right *mat.Dense
}

// Factor decomposes P = Aᵀ·B, with A r×m and B r×n, without ever forming the
// m×n product: a thin QR of Aᵀ and of Bᵀ leaves an r×r core, whose singular
// values are those of P. The cost is O((m+n)·r² + r³).
//
// r may exceed m and n; P may be of any rank, zero included.
// Factor fails when a factor holds a number that is not finite, naming it.
func Factor(a, b *mat.Dense) (*LowRank, error) {
	if err := checkFactors("Factor", a, b); err != nil {
		return nil, err
	}
	qa, qb := triangularize(a), triangularize(b)
	u, s, v, err := coreSVD(qa.r, qb.r)
	if err != nil {
		return nil, err
	}
	for i, sigma := range s {
		scaleColumn(u, i, math.Sqrt(sigma))
		scaleColumn(v, i, math.Sqrt(sigma))
	}
	return &LowRank{S: s, left: qa.times(u), right: qb.times(v)}, nil
}

// Truncate returns A′ (k×m) and B′ (k×n) such that A′ᵀ·B′ is the nearest
// product of rank k to P (Eckart and Young), in the norm that P was factored
// in. The singular values are split evenly: row i of A′ and of B′ both carry
// √S[i]. Rows past len(S) are zero. k is at least 1.
func (f *LowRank) Truncate(k int) (a, b *mat.Dense) {
	return leadingRows(f.left, k), leadingRows(f.right, k)
}

// Energies returns the squared singular values, largest first.
func (f *LowRank) Energies() []float64 {
	e := make([]float64, len(f.S))
	for i, s := range f.S {
		e[i] = s * s
	}
	return e
}

// Retained returns, for k = 0 … len(energies), the share of the total that
// the first k energies hold: 0 at first, 1 at last, never falling. When all of
// them are zero nothing can be lost, and every share is 1.
func Retained(energies []float64) []float64 {
	out := make([]float64, len(energies)+1)
	for i, e := range energies {
		out[i+1] = out[i] + e
	}
	total := out[len(energies)]
	for i := range out {
		if total > 0 {
			out[i] /= total
		} else {
			out[i] = 1
		}
	}
	return out
}

// skinny is the thin QR decomposition Aᵀ = Q·R of a factor A.
type skinny struct {
	r          *mat.Dense // t×(rows of A), t = min of A's dimensions
	reflectors blas64.General
	tau        []float64 // nil when Q is the identity
}

// triangularize decomposes Aᵀ. A factor with more rows than columns needs no
// Q: R is Aᵀ itself, already the smaller of the two.
func triangularize(a *mat.Dense) skinny {
	r, m := a.Dims()
	at := mat.DenseCopyOf(a.T())
	if r >= m {
		return skinny{r: at}
	}
	raw := at.RawMatrix()
	tau := make([]float64, r)
	work := make([]float64, 1)
	lapack64.Geqrf(raw, tau, work, -1)
	work = make([]float64, int(work[0]))
	lapack64.Geqrf(raw, tau, work, len(work))
	tri := mat.NewDense(r, r, nil)
	for i := range r {
		copy(tri.RawRowView(i)[i:], at.RawRowView(i)[i:])
	}
	return skinny{r: tri, reflectors: raw, tau: tau}
}

// times returns Q·u.
func (q skinny) times(u *mat.Dense) *mat.Dense {
	if q.tau == nil {
		return u
	}
	_, c := u.Dims()
	out := mat.NewDense(q.reflectors.Rows, c, nil)
	out.Slice(0, len(q.tau), 0, c).(*mat.Dense).Copy(u)
	work := make([]float64, 1)
	lapack64.Ormqr(blas.Left, blas.NoTrans, q.reflectors, q.tau, out.RawMatrix(), work, -1)
	work = make([]float64, int(work[0]))
	lapack64.Ormqr(blas.Left, blas.NoTrans, q.reflectors, q.tau, out.RawMatrix(), work, len(work))
	return out
}

// coreSVD decomposes x·yᵀ = u·diag(s)·vᵀ.
func coreSVD(x, y *mat.Dense) (u *mat.Dense, s []float64, v *mat.Dense, err error) {
	var core mat.Dense
	core.Mul(x, y.T())
	var svd mat.SVD
	if !svd.Factorize(&core, mat.SVDThin) {
		r, c := core.Dims()
		return nil, nil, nil, &fault.Error{
			Kind: fault.Model, Where: "singular value decomposition",
			Got:    fmt.Sprintf("no convergence on a %d×%d core", r, c),
			Remedy: "the weights are out of all proportion; leave this layer unpruned",
		}
	}
	u, v = new(mat.Dense), new(mat.Dense)
	svd.UTo(u)
	svd.VTo(v)
	return u, svd.Values(nil), v, nil
}

func checkFactors(where string, a, b *mat.Dense) error {
	ra, m := a.Dims()
	rb, n := b.Dims()
	if ra != rb || ra == 0 {
		return mismatch(where, fmt.Sprintf("A %d×%d and B %d×%d", ra, m, rb, n), "as many rows in both, and at least one")
	}
	if err := finite("A", a); err != nil {
		return err
	}
	return finite("B", b)
}

func scaleColumn(m *mat.Dense, j int, f float64) {
	raw := m.RawMatrix()
	for i := range raw.Rows {
		raw.Data[i*raw.Stride+j] *= f
	}
}

// leadingRows returns the first k columns of m as the rows of a new matrix,
// followed by zero rows where m has fewer.
func leadingRows(m *mat.Dense, k int) *mat.Dense {
	r, c := m.Dims()
	out := mat.NewDense(k, r, nil)
	if n := min(k, c); n > 0 {
		out.Slice(0, n, 0, r).(*mat.Dense).Copy(m.Slice(0, r, 0, n).T())
	}
	return out
}
