package linalg

import (
	"testing"

	"gonum.org/v1/gonum/mat"
)

// The inverse made in place is, bit for bit, that of the factorization, also
// where the ridge must be raised.
func TestInvertIsTheInverseOfWhatFactorizes(t *testing.T) {
	rng := source(5)
	for _, rank := range []int{3, 90} {
		const n = 80
		m := NewMoments(n)
		m.Rows = 100
		for j := range m.Sum {
			m.Sum[j] = 0.01 * rng.NormFloat64() // so that the covariance stays positive
		}
		m.Gram = spd(rng, n, rank)
		for _, centred := range []bool{false, true} {
			got, diagonal, cond, err := invert(m, centred, 1e-15)
			if err != nil {
				t.Fatal(err)
			}
			c := m.Second(centred)
			scale := meanDiagonal(c)
			chol, want, err := factorize(c, 1e-15, scale)
			if err != nil || cond != want || cond.Ill() != (rank < n) {
				t.Fatalf("rank %d: %v, want %v, %v", rank, cond, want, err)
			}
			var inverse mat.SymDense
			if err := chol.InverseTo(&inverse); err != nil {
				t.Fatal(err)
			}
			if !mat.Equal(got, &inverse) {
				t.Errorf("rank %d, centred %t: another inverse", rank, centred)
			}
			for j, x := range diagonal {
				if x != c.At(j, j)+cond.Ridge*scale {
					t.Errorf("diagonal element %d is %g", j, x)
				}
			}
		}
	}
}
