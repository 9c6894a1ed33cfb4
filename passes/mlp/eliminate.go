package mlp

import (
	"fmt"
	"slices"

	"gonum.org/v1/gonum/mat"

	"nuwa/internal/engine"
	"nuwa/internal/linalg"
	"nuwa/passes/calibrate"
	"nuwa/passes/structure"
)

// Layer is a hidden layer in a competition between layers.
type Layer struct {
	Eliminator *linalg.Eliminator
	Cost       float64 // multiply-accumulates of one neuron per image
	Rows       float64 // how many rows an image has there: errors are per row
}

// NewLayer prepares site for elimination. o.Weight, E[(∂ℓ/∂y_c)²] at the
// second map's output, makes errors of different layers comparable.
func NewLayer(site *structure.MLP, moments *linalg.Moments, s *engine.Shapes, o linalg.Options) (*Layer, error) {
	w, _, err := site.Second.Weight()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", site.Second.Node, err)
	}
	l := &Layer{Cost: site.UnitMACs(s), Rows: site.Second.Rows(s)}
	if l.Eliminator, err = linalg.NewEliminator(moments, mat.DenseCopyOf(w.T()), o); err != nil {
		return nil, fmt.Errorf("%s: %w", site.Second.Node, err)
	}
	return l, nil
}

// Width returns how many neurons are left.
func (l *Layer) Width() int { return l.Eliminator.Left() }

// StepCost predicts what dropping the n cheapest neurons adds to the error of
// an image, summed over rows. It ignores that they may stand in for each other.
func (l *Layer) StepCost(n int) float64 {
	scores := l.Eliminator.Scores()
	slices.Sort(scores)
	sum := 0.0
	for _, x := range scores[:n] {
		sum += x
	}
	return sum * l.Rows
}

// Drop takes out the n cheapest neurons, one after the other.
func (l *Layer) Drop(n int) error {
	for range n {
		j, _ := l.Eliminator.Cheapest()
		if err := l.Eliminator.Drop(j); err != nil {
			return err
		}
	}
	return nil
}

// Eliminate drops neurons, step at a time from the layer in which the next
// step adds least error per multiply-accumulate saved, until saving is reached
// as nearly as steps allow. Widths end as multiples of step, never below one.
func Eliminate(layers []*Layer, saving float64, step int) error {
	for {
		best, cheapest := -1, 0.0
		for i, l := range layers {
			n := NextStep(l.Width(), step)
			if n == 0 || float64(n)*l.Cost > 2*saving { // overshooting by more than stopping short
				continue
			}
			if rel := l.StepCost(n) / (float64(n) * l.Cost); best < 0 || rel < cheapest {
				best, cheapest = i, rel
			}
		}
		if best < 0 {
			return nil
		}
		n := NextStep(layers[best].Width(), step)
		if err := layers[best].Drop(n); err != nil {
			return err
		}
		saving -= float64(n) * layers[best].Cost
	}
}

// NextStep is how many channels lead from width to the next lower multiple of
// step; 0 where that would leave none.
func NextStep(width, step int) int {
	n := width % step
	if n == 0 {
		n = step
	}
	if width-n < step {
		return 0
	}
	return n
}

// OutputTap watches what the second map of site gives.
func OutputTap(s *engine.Shapes, site *structure.MLP) calibrate.Tap {
	d, _ := s.Of(site.Second.Out)
	return calibrate.Tap{Value: site.Second.Out.Name(), Rank: len(d), Axis: site.Second.Axis, Width: site.Second.OutDim}
}
