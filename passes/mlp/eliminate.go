package mlp

import (
	"fmt"
	"slices"

	"gonum.org/v1/gonum/mat"

	"nuwa/internal/linalg"
	"nuwa/passes/structure"
)

// Layer is a hidden layer in a competition between layers.
type Layer struct {
	Eliminator *linalg.Eliminator
	Cost       float64 // multiply-accumulates of one neuron
}

// Second returns the weight of the site's second map with one row per hidden
// neuron, as package linalg wants it.
func Second(site *structure.MLP) (*mat.Dense, error) {
	w, _, err := site.Second.Weight()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", site.Second.Node, err)
	}
	return mat.DenseCopyOf(w.T()), nil
}

// Eliminate drops neurons, step at a time from the layer in which the next
// step adds least error per multiply-accumulate saved, until saving is reached
// as nearly as steps allow. Widths end as multiples of step, never below one.
func Eliminate(layers []Layer, saving float64, step int) error {
	for {
		best, cheapest := -1, 0.0
		for i, l := range layers {
			n := nextStep(len(l.Eliminator.Kept()), step)
			if n == 0 || float64(n)*l.Cost > 2*saving { // overshooting by more than stopping short
				continue
			}
			scores := l.Eliminator.Scores()
			slices.Sort(scores)
			sum := 0.0
			for _, x := range scores[:n] {
				sum += x
			}
			if rel := sum / (float64(n) * l.Cost); best < 0 || rel < cheapest {
				best, cheapest = i, rel
			}
		}
		if best < 0 {
			return nil
		}
		l := layers[best]
		for range nextStep(len(l.Eliminator.Kept()), step) {
			j, _ := l.Eliminator.Cheapest()
			if err := l.Eliminator.Drop(j); err != nil {
				return err
			}
			saving -= l.Cost
		}
	}
}

// nextStep is how many neurons lead from width to the next lower multiple of
// step; 0 where that would leave none.
func nextStep(width, step int) int {
	n := width % step
	if n == 0 {
		n = step
	}
	if width-n < step {
		return 0
	}
	return n
}
