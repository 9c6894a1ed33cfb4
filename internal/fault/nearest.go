package fault

import (
	"cmp"
	"slices"
)

// Nearest returns at most n of names, those first that are the fewest edits
// away from name. A remedy may offer them.
func Nearest(name string, names []string, n int) []string {
	sorted := slices.Clone(names)
	slices.SortStableFunc(sorted, func(a, b string) int { return cmp.Compare(Distance(name, a), Distance(name, b)) })
	return sorted[:min(n, len(sorted))]
}

// Distance is Levenshtein's: the fewest insertions, deletions and replacements
// of characters that turn a into b.
func Distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := range x {
		diagonal := row[0]
		row[0] = i + 1
		for j := range y {
			cost := diagonal
			if x[i] != y[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(y)]
}
