// Package ranking judges how well numbers order what belongs to a class before
// what does not. It imports nothing of nuwa.
//
//	ap, ok := ranking.AveragePrecision([]float64{0.9, 0.2, 0.4}, []bool{true, false, true})
package ranking

import (
	"cmp"
	"slices"
)

// AveragePrecision returns the area under the steps of precision over recall,
//
//	Σ (Rₙ − Rₙ₋₁)·Pₙ
//
// where Pₙ is the share of positives among, and Rₙ the share of all positives
// that are among, the images with at least the n-th highest score. Images of
// equal score come in together, and nothing is interpolated, as in
// scikit-learn's average_precision_score. ok is false without a positive:
// there is no recall then.
func AveragePrecision(scores []float64, positive []bool) (ap float64, ok bool) {
	order := make([]int, len(scores))
	total := 0
	for i := range order {
		order[i] = i
		if positive[i] {
			total++
		}
	}
	if total == 0 {
		return 0, false
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
	hits, before := 0, 0
	for i, at := range order {
		if positive[at] {
			hits++
		}
		if i+1 == len(order) || scores[order[i+1]] != scores[at] {
			ap += float64(hits-before) / float64(total) * float64(hits) / float64(i+1)
			before = hits
		}
	}
	return ap, true
}

// UpTo returns 0 … n−1: all of n positions, in the order they are in.
func UpTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}
