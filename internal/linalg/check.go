package linalg

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"

	"nuwa/internal/fault"
)

// finite reports the first element of m that is NaN or infinite, by its place
// in the matrix called name.
func finite(name string, m *mat.Dense) error {
	raw := m.RawMatrix()
	for i := range raw.Rows {
		for j, v := range raw.Data[i*raw.Stride : i*raw.Stride+raw.Cols] {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return notFinite(fmt.Sprintf("%s[%d,%d]", name, i, j), v)
			}
		}
	}
	return nil
}

func notFinite(where string, v float64) error {
	return &fault.Error{
		Kind: fault.Model, Where: where, Got: fmt.Sprint(v), Want: "a finite number",
		Remedy: "the model's weights or what it computes from them are damaged or overflow; export it again, in float32",
	}
}

// mismatch is the error for arguments whose shapes do not fit together: the
// caller is wrong, not its user.
func mismatch(where, got, want string) error {
	return &fault.Error{Kind: fault.Internal, Where: "linalg: " + where, Got: got, Want: want}
}

// full returns s with both its triangles filled.
func full(s mat.Symmetric) *mat.Dense {
	n := s.SymmetricDim()
	d := mat.NewDense(n, n, nil)
	sym, ok := s.(mat.RawSymmetricer)
	if !ok {
		d.Copy(s)
		return d
	}
	src, dst := sym.RawSymmetric(), d.RawMatrix()
	for i := range n {
		copy(dst.Data[i*n+i:(i+1)*n], src.Data[i*src.Stride+i:i*src.Stride+n])
	}
	mirror(dst.Data, n)
	return d
}

// mirror copies the upper triangle of the n×n row-major matrix a onto its
// lower one, tile by tile so that both stay in cache.
func mirror(a []float64, n int) {
	const tile = 64
	for ib := 0; ib < n; ib += tile {
		for jb := ib; jb < n; jb += tile {
			for i := ib; i < min(ib+tile, n); i++ {
				for j := max(jb, i+1); j < min(jb+tile, n); j++ {
					a[j*n+i] = a[i*n+j]
				}
			}
		}
	}
}
