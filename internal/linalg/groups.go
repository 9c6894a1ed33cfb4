package linalg

import (
	"fmt"
	"slices"

	"gonum.org/v1/gonum/mat"
)

// EliminateGroups drops groups of neurons, such as those of one attention head,
// until none is left, each time the group whose drop costs least after the
// weights of all others are solved again. It returns the order and the squared
// error per row after as many drops, the first of none.
//
// As for single neurons (see Eliminator), with K the inverse of the second
// moment over the neurons that are left and W (e×d) the weight that fits best,
// dropping group g adds tr(W_gᵀ·(K_gg)⁻¹·W_g). The groups must not overlap.
func EliminateGroups(m *Moments, w *mat.Dense, groups [][]int, o Options) (order []int, lost []float64, err error) {
	if err := m.check("EliminateGroups", w, o); err != nil {
		return nil, nil, err
	}
	inverse, _, _, err := invert(m, o.Affine, max(o.Ridge, minEliminationRidge))
	if err != nil {
		return nil, nil, err
	}
	weight := mat.DenseCopyOf(w)
	left := make([]int, len(groups))
	for i := range left {
		left[i] = i
	}
	lost = []float64{0}
	for len(left) > 0 {
		best, cost := -1, 0.0
		var change *mat.Dense
		for i, n := range left {
			g := groups[n]
			wg := rows(weight, g)
			x, err := solveWithin(inverse, g, wg)
			if err != nil {
				return nil, nil, fmt.Errorf("group %d: %w", n, err)
			}
			if c := dot(x, wg, o.Weight); best < 0 || c < cost {
				best, cost, change = i, c, x
			}
		}
		g := groups[left[best]]
		across := rows(inverse, g)
		solved, err := solveWithin(inverse, g, across)
		if err != nil {
			return nil, nil, fmt.Errorf("group %d: %w", left[best], err)
		}
		var step mat.Dense
		step.Mul(across.T(), change)
		weight.Sub(weight, &step)
		step.Reset()
		step.Mul(across.T(), solved)
		inverse.Sub(inverse, &step)
		order, lost = append(order, left[best]), append(lost, lost[len(lost)-1]+cost)
		left = slices.Delete(left, best, best+1)
	}
	return order, lost, nil
}

// solveWithin returns (K_gg)⁻¹·b.
func solveWithin(inverse *mat.Dense, g []int, b *mat.Dense) (*mat.Dense, error) {
	k := mat.NewSymDense(len(g), nil)
	for i, r := range g {
		for j := i; j < len(g); j++ {
			k.SetSym(i, j, inverse.At(r, g[j]))
		}
	}
	chol, _, err := factorize(k, 0, meanDiagonal(k))
	if err != nil {
		return nil, err
	}
	var x mat.Dense
	return &x, chol.SolveTo(&x, b)
}
