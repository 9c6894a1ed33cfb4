package linalg

import (
	"math"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"
)

// Each group that goes is the one of least error among those left, and the
// errors are those of least squares over what is kept.
func TestEliminateGroups(t *testing.T) {
	rng := source(31)
	h, w := activations(rng, 300, 20), random(rng, 20, 6)
	groups := [][]int{{0, 7, 3}, {1, 2}, {4, 5, 6, 8}, {9}, {19, 18, 17}, {10, 11, 12, 13, 14, 15, 16}}
	m := momentsOf(h)
	o := Options{Affine: true, Ridge: 1e-5, Weight: []float64{1, 2, 0.5, 1, 0, 3}}
	order, lost, err := EliminateGroups(m, w, groups, o)
	if err != nil {
		t.Fatal(err)
	}
	ridged := m.Second(true)
	lambda := o.Ridge * meanDiagonal(ridged)
	for i := range 20 {
		ridged.SetSym(i, i, ridged.At(i, i)+lambda)
	}
	reference := &Moments{Rows: 1, Sum: make([]float64, 20), Gram: ridged}
	without := func(gone []int) float64 {
		var keep []int
		for j := range 20 {
			if !slices.ContainsFunc(gone, func(g int) bool { return slices.Contains(groups[g], j) }) {
				keep = append(keep, j)
			}
		}
		if keep == nil {
			var x mat.Dense
			x.Mul(ridged, w)
			return dot(w, &x, o.Weight)
		}
		fit, err := Reconstruct(reference, w, keep, Options{Weight: o.Weight})
		if err != nil {
			t.Fatal(err)
		}
		left, _ := errorOf(reference, w, keep, fit, Options{Weight: o.Weight})
		return left
	}
	for n := range order {
		want := without(order[:n+1])
		if math.Abs(lost[n+1]-want) > 1e-7*lost[len(lost)-1] {
			t.Errorf("without groups %v: error %g, want %g", order[:n+1], lost[n+1], want)
		}
		for g := range groups {
			if !slices.Contains(order[:n+1], g) && without(append(slices.Clone(order[:n]), g)) < want-1e-9 {
				t.Errorf("group %d goes after %v, but %d would cost less", order[n], order[:n], g)
			}
		}
	}
	if len(order) != len(groups) || lost[0] != 0 {
		t.Errorf("order %v, first error %g", order, lost[0])
	}
	if _, _, err := EliminateGroups(m, random(rng, 19, 6), groups, o); err == nil {
		t.Error("weights of another size were taken")
	}
}
