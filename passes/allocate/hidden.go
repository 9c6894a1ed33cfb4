package allocate

import (
	"fmt"
	"math"
	"slices"

	"nuwa/internal/fault"
)

// Tolerance is how far past the reachable rates a wanted one may lie and
// still be answered with the nearest of them.
const Tolerance = 0.02

// Layer is one hidden layer.
type Layer struct {
	Width int     // hidden neurons now, at least 1
	Cost  float64 // MACs of one neuron
	Fixed bool    // may not be pruned
}

// Problem asks for hidden widths with which a model meets a pruning rate.
type Problem struct {
	Layers []Layer
	Base   float64 // MACs of the unpruned model
	Now    float64 // MACs now, with the layers at their Width
	Rate   float64 // wanted 1 − MACs/Base, from 0 up to 1
	Align  int     // widths are multiples of it; a layer's present width is admissible too
}

// Range is a range of pruning rates. As an error it is the cause of every
// fault.Unreachable of this package: errors.As finds it.
type Range struct{ Min, Max float64 }

// Error renders the range.
func (r Range) Error() string {
	return fmt.Sprintf("hidden widths can bring it to rates from %.3f to %.3f", r.Min, r.Max)
}

// Reach returns the pruning rates between leaving all hidden layers as they
// are and cutting each to its smallest width: one multiple of Align, or its
// present width if that is less.
func (p Problem) Reach() Range {
	least := p.Now
	for _, l := range p.Layers {
		least -= float64(l.Width-p.floor(l)) * l.Cost
	}
	return Range{Min: 1 - p.Now/p.Base, Max: 1 - least/p.Base}
}

// Achieved returns the pruning rate with the given widths.
func (p Problem) Achieved(widths []int) float64 {
	macs := p.Now
	for i, l := range p.Layers {
		macs -= float64(l.Width-widths[i]) * l.Cost
	}
	return 1 - macs/p.Base
}

// Uniform makes the widths as equal as the layers' present ones allow: those
// narrower than the common width keep what they have, and the rest is shared
// (the method's Algorithm 1). Each step is taken from the widest layer.
func (p Problem) Uniform() ([]int, error) {
	return p.descend(func(_, from, to int) float64 { return float64(from + to) })
}

// Proportion keeps the same share of every layer's present width. Each step is
// taken from the layer of which the largest share is left.
func (p Problem) Proportion() ([]int, error) {
	return p.descend(func(i, from, to int) float64 {
		return float64(from+to) / float64(p.Layers[i].Width)
	})
}

// Adaptive takes the neurons of globally smallest score, one group of Align at
// a time, by the group's mean. scores holds one number per neuron and layer,
// in any order within a layer, and must be comparable between layers: an
// activation divided by its layer's mean, say. Those of fixed layers are not
// looked at.
func (p Problem) Adaptive(scores [][]float64) ([]int, error) {
	if len(scores) != len(p.Layers) {
		return nil, malformed(fmt.Sprintf("scores of %d layers", len(scores)), fmt.Sprint(len(p.Layers)))
	}
	below := make([][]float64, len(scores)) // sums of the smallest 0, 1, 2, … scores
	for i, l := range p.Layers {
		if l.Fixed {
			continue
		}
		if len(scores[i]) != l.Width {
			return nil, malformed(fmt.Sprintf("%d scores for layer %d", len(scores[i]), i), fmt.Sprintf("%d, its width", l.Width))
		}
		below[i] = make([]float64, 1, l.Width+1)
		for n, s := range slices.Sorted(slices.Values(scores[i])) {
			if math.IsNaN(s) || math.IsInf(s, 0) {
				return nil, &fault.Error{Kind: fault.Model, Where: fmt.Sprintf("hidden layer %d", i), Got: fmt.Sprintf("a score of %g", s),
					Want: "finite numbers", Remedy: "the model computes numbers that are not finite on the calibration data; check its mean and std"}
			}
			below[i] = append(below[i], below[i][n]+s)
		}
	}
	return p.descend(func(i, from, to int) float64 {
		width := p.Layers[i].Width
		return (below[i][width-from] - below[i][width-to]) / float64(from-to)
	})
}

// descend takes one step after the other from the layer whose step, between
// the widths from and to, has the highest priority (the last such layer), and
// stops where the rate is nearest, at the wider of two equally near points. Consecutive points of the path differ by
// one step, so the result misses a reachable rate by half a step at most.
func (p Problem) descend(priority func(layer, from, to int) float64) ([]int, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	widths := make([]int, len(p.Layers))
	for i, l := range p.Layers {
		widths[i] = l.Width
	}
	missing := p.Now - (1-p.Rate)*p.Base
	for missing > 0 {
		best, top := -1, math.Inf(-1)
		for i, l := range p.Layers {
			if widths[i] > p.floor(l) {
				if x := priority(i, widths[i], p.below(widths[i])); x >= top {
					best, top = i, x
				}
			}
		}
		if best < 0 {
			break
		}
		to := p.below(widths[best])
		saved := float64(widths[best]-to) * p.Layers[best].Cost
		if saved-missing >= missing {
			break // stopping here is nearer
		}
		widths[best] = to
		missing -= saved
	}
	return widths, nil
}

// floor returns the smallest width of l.
func (p Problem) floor(l Layer) int {
	if l.Fixed {
		return l.Width
	}
	return min(p.Align, l.Width)
}

// below returns the largest multiple of Align under w.
func (p Problem) below(w int) int { return (w - 1) / p.Align * p.Align }

func (p Problem) check() error {
	for i, l := range p.Layers {
		if l.Width < 1 || !(l.Cost > 0) || math.IsInf(l.Cost, 0) {
			return malformed(fmt.Sprintf("layer %d of width %d and cost %g", i, l.Width, l.Cost), "both positive")
		}
	}
	if !(p.Base > 0) || !(p.Now > 0) || math.IsInf(p.Base, 0) || math.IsInf(p.Now, 0) {
		return malformed(fmt.Sprintf("%g MACs of %g", p.Now, p.Base), "both positive")
	}
	if p.Align < 1 {
		return &fault.Error{Kind: fault.Usage, Where: "align", Got: fmt.Sprint(p.Align), Want: "at least 1"}
	}
	if !(p.Rate >= 0 && p.Rate < 1) {
		return &fault.Error{Kind: fault.Usage, Where: "rate", Got: fmt.Sprint(p.Rate), Want: "0 or more, below 1"}
	}
	e := &fault.Error{Kind: fault.Unreachable, Where: "rate", Got: fmt.Sprintf("%.3f", p.Rate)}
	switch r := p.Reach(); {
	case p.Rate > r.Max+Tolerance:
		e.Err, e.Remedy = r, "ask for less, or prune attention further"
		if p.Align > 1 {
			e.Remedy += ", or align to fewer"
		}
		return e
	case p.Rate < r.Min-Tolerance:
		e.Err, e.Remedy = r, "ask for more, or leave attention wider"
		return e
	}
	return nil
}

func malformed(got, want string) error {
	return &fault.Error{Kind: fault.Internal, Where: "allocate", Got: got, Want: want}
}
