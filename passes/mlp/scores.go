package mlp

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"

	"nuwa/internal/linalg"
	"nuwa/passes/structure"
)

// ByActivation scores neurons by their mean activation, the rule of the paper.
func ByActivation(m *linalg.Moments) []float64 { return m.Mean() }

// ByMagnitude scores neurons by the norm ‖W_j‖ of their outgoing weights.
func ByMagnitude(site *structure.MLP) ([]float64, error) {
	w, _, err := site.Second.Weight()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", site.Second.Node, err)
	}
	scores := make([]float64, site.Hidden)
	for j := range scores {
		scores[j] = mat.Norm(w.ColView(j), 2)
	}
	return scores, nil
}

// ByWanda scores neurons by ‖W_j‖·√E[h_j²], the norm of what they contribute
// (Wanda, arXiv 2306.11695, summed up over a neuron's weights).
func ByWanda(site *structure.MLP, m *linalg.Moments) ([]float64, error) {
	scores, err := ByMagnitude(site)
	for j := range scores {
		scores[j] *= math.Sqrt(m.Gram.At(j, j) / float64(m.Rows))
	}
	return scores, err
}

// Top keeps the width neurons of largest score, in ascending order. Ties go to
// the lower number.
func Top(scores []float64, width int) []int {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
	keep := order[:min(width, len(order))]
	slices.Sort(keep)
	return keep
}
