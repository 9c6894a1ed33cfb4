package blas

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/blas/gonum"

	"nuwa/internal/ort"
)

func init() {
	if own, ok := blas64.Implementation().(gonum.Implementation); ok {
		blas64.Use(implementation{own})
	}
}

// implementation is gonum's, with large products by ONNX Runtime and with
// triangular systems that come down to products.
type implementation struct{ gonum.Implementation }

const (
	// largeProduct is the number of multiplications from which it pays to hand a
	// product over.
	largeProduct = 1 << 21

	// smallSystem is the order up to which triangular systems are left to gonum.
	smallSystem = 64
)

// Dgemm is C = α·op(A)·op(B) + β·C, op(A) being m×k and op(B) k×n. It is
// gonum's until ONNX Runtime is loaded, which is not for a product to do: a program
// may multiply before it says which library it wants.
func (i implementation) Dgemm(tA, tB blas.Transpose, m, n, k int, alpha float64, a []float64, lda int, b []float64, ldb int, beta float64, c []float64, ldc int) {
	if m*n*k >= largeProduct && alpha != 0 && ort.Loaded() {
		x, y := pack(tA, m, k, a, lda), pack(tB, k, n, b, ldb)
		if product, err := multiply(x, y); err == nil {
			for r := range m {
				add(alpha, product[r*n:(r+1)*n], beta, c[r*ldc:r*ldc+n])
			}
			return
		}
	}
	i.Implementation.Dgemm(tA, tB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
}

// add is y = α·x + β·y, whatever y holds where β is zero.
func add(alpha float64, x []float64, beta float64, y []float64) {
	switch {
	case beta == 0:
		for i, v := range x {
			y[i] = alpha * v
		}
	case beta == 1:
		for i, v := range x {
			y[i] += alpha * v
		}
	default:
		for i, v := range x {
			y[i] = alpha*v + beta*y[i]
		}
	}
}

// Dtrsm solves op(A)·X = α·B, or X·op(A) = α·B, for a triangular A; X, m×n, takes
// the place of B. A is halved until it is small: between the solutions for its two
// triangles lies a product with its square.
func (i implementation) Dtrsm(side blas.Side, ul blas.Uplo, tA blas.Transpose, d blas.Diag, m, n int, alpha float64, a []float64, lda int, b []float64, ldb int) {
	if small(side, m, n) {
		i.Implementation.Dtrsm(side, ul, tA, d, m, n, alpha, a, lda, b, ldb)
		return
	}
	free, bound, square := halve(side, ul, tA, m, n, a, lda, b, ldb)
	i.Dtrsm(side, ul, tA, d, free.m, free.n, alpha, free.a, lda, free.b, ldb)
	i.cross(side, tA, bound, free, -1, square, lda, ldb, alpha)
	i.Dtrsm(side, ul, tA, d, bound.m, bound.n, 1, bound.a, lda, bound.b, ldb)
}

// Dtrmm is B = α·op(A)·B, or B = α·B·op(A), for a triangular A, B being m×n. A is
// halved as for Dtrsm.
func (i implementation) Dtrmm(side blas.Side, ul blas.Uplo, tA blas.Transpose, d blas.Diag, m, n int, alpha float64, a []float64, lda int, b []float64, ldb int) {
	if small(side, m, n) {
		i.Implementation.Dtrmm(side, ul, tA, d, m, n, alpha, a, lda, b, ldb)
		return
	}
	free, bound, square := halve(side, ul, tA, m, n, a, lda, b, ldb)
	i.Dtrmm(side, ul, tA, d, bound.m, bound.n, alpha, bound.a, lda, bound.b, ldb)
	i.cross(side, tA, bound, free, alpha, square, lda, ldb, 1)
	i.Dtrmm(side, ul, tA, d, free.m, free.n, alpha, free.a, lda, free.b, ldb)
}

// small tells what of triangles is left to gonum.
func small(side blas.Side, m, n int) bool {
	order := m
	if side == blas.Right {
		order = n
	}
	return order <= smallSystem || m*n*order < largeProduct
}

// half is one of the two triangles in a triangular matrix, and the part of B, m×n,
// that it meets.
type half struct {
	a, b []float64
	m, n int
}

// halve cuts a triangular A and the B beside it. What the free half of B becomes
// depends on the triangle there alone; the bound half meets the square as well.
func halve(side blas.Side, ul blas.Uplo, tA blas.Transpose, m, n int, a []float64, lda int, b []float64, ldb int) (free, bound half, square []float64) {
	h := n / 2
	if side == blas.Left {
		h = m / 2
		free, bound = half{a, b, h, n}, half{a[h*lda+h:], b[h*ldb:], m - h, n}
	} else {
		free, bound = half{a, b, m, h}, half{a[h*lda+h:], b[h:], m, n - h}
	}
	square = a[h*lda:]
	if ul == blas.Upper {
		square = a[h:]
	}
	if (ul == blas.Upper) == (tA == blas.NoTrans) == (side == blas.Left) {
		free, bound = bound, free
	}
	return free, bound, square
}

// cross adds to β times the bound half of B what α times the square makes of the
// free one.
func (i implementation) cross(side blas.Side, tA blas.Transpose, bound, free half, alpha float64, square []float64, lda, ldb int, beta float64) {
	if side == blas.Left {
		i.Dgemm(tA, blas.NoTrans, bound.m, bound.n, free.m, alpha, square, lda, free.b, ldb, beta, bound.b, ldb)
	} else {
		i.Dgemm(blas.NoTrans, tA, bound.m, bound.n, free.n, alpha, free.b, ldb, square, lda, beta, bound.b, ldb)
	}
}

// Dsyrk is C = α·op(A)·op(A)ᵀ + β·C in one triangle of C, op(A) being n×k.
func (i implementation) Dsyrk(ul blas.Uplo, tA blas.Transpose, n, k int, alpha float64, a []float64, lda int, beta float64, c []float64, ldc int) {
	if n <= smallSystem || n*n*k < largeProduct {
		i.Implementation.Dsyrk(ul, tA, n, k, alpha, a, lda, beta, c, ldc)
		return
	}
	h := n / 2
	upper, lower := a, a[h*lda:] // the rows of op(A)
	other := blas.Trans
	if tA != blas.NoTrans {
		lower, other = a[h:], blas.NoTrans
	}
	i.Dsyrk(ul, tA, h, k, alpha, upper, lda, beta, c, ldc)
	if ul == blas.Upper {
		i.Dgemm(tA, other, h, n-h, k, alpha, upper, lda, lower, lda, beta, c[h:], ldc)
	} else {
		i.Dgemm(tA, other, n-h, h, k, alpha, lower, lda, upper, lda, beta, c[h*ldc:], ldc)
	}
	i.Dsyrk(ul, tA, n-h, k, alpha, lower, lda, beta, c[h*ldc+h:], ldc)
}
