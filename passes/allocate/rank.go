package allocate

// rankSlack is how much of the energy may be missing for a share to count as
// reached: rounding, in singular values that should be zero.
const rankSlack = 1e-12

// Rho returns the share of squared singular values that attention has to
// retain at pruning rate alpha, the method's
// ρ(α) = −0.41α³ + 0.14α² − 0.03α + 1.
func Rho(alpha float64) float64 {
	return ((-0.41*alpha+0.14)*alpha-0.03)*alpha + 1
}

// RankFor returns the smallest rank k whose share of retained energy, averaged
// over heads, reaches rho. energies holds for every head its squared singular
// values, largest first; a head without energy loses nothing at any rank.
// The result is at least 1 and at most the longest head's number of values.
func RankFor(energies [][]float64, rho float64) int {
	longest := 1
	for _, head := range energies {
		longest = max(longest, len(head))
	}
	lost := make([]float64, longest+1) // summed over heads, at each rank
	for _, head := range energies {
		tail := make([]float64, len(head)+1)
		for k := len(head) - 1; k >= 0; k-- {
			tail[k] = tail[k+1] + head[k]
		}
		if tail[0] > 0 {
			for k, t := range tail {
				lost[k] += t / tail[0]
			}
		}
	}
	may := (1 - rho + rankSlack) * float64(len(energies))
	for k := 1; k < longest; k++ {
		if lost[k] <= may {
			return k
		}
	}
	return longest
}

// Round returns the admissible width nearest to k, the larger of two equally
// near: a multiple of align from align to base, or base itself, which is
// always admissible. Nearest rather than up or down, so that over many blocks
// the widths keep the energy that was asked for. align below 1 counts as 1.
func Round(k, align, base int) int {
	align = max(align, 1)
	below := max(k/align*align, align)
	above := min(below+align, base)
	switch {
	case below >= base:
		return base
	case k-below < above-k:
		return below
	default:
		return above
	}
}
