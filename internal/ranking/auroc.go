package ranking

import (
	"cmp"
	"slices"
)

// AUROC returns the area under the receiver operating characteristic: the
// probability that a positive has a higher score than a negative, ties counting
// half. ok is false without a positive or without a negative.
func AUROC(scores []float64, positive []bool) (area float64, ok bool) {
	order := UpTo(len(scores))
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(scores[a], scores[b]) })
	var negatives, positives, won float64 // passed so far; pairs in the right order
	for i := 0; i < len(order); {
		j, n, p := i, 0.0, 0.0
		for ; j < len(order) && scores[order[j]] == scores[order[i]]; j++ {
			if positive[order[j]] {
				p++
			} else {
				n++
			}
		}
		won += p * (negatives + n/2)
		positives, negatives, i = positives+p, negatives+n, j
	}
	if positives == 0 || negatives == 0 {
		return 0, false
	}
	return won / (positives * negatives), true
}
