package mlp

import (
	"fmt"
	"sync"

	"gonum.org/v1/gonum/mat"

	"nuwa/internal/engine"
	"nuwa/internal/linalg"
	"nuwa/passes/calibrate"
	"nuwa/passes/structure"
)

// Ridge keeps refits near the weights that are there, as a part of the mean
// second moment.
const Ridge = 1e-4

// Evidence is what calibration says about a hidden layer.
type Evidence struct {
	Moments *linalg.Moments // of the hidden neurons
	F       *mat.SymDense   // E[(∂ℓ/∂y)(∂ℓ/∂y)ᵀ] at the second map's output; nil weighs all channels alike
	Taylor  []float64       // E[(h·∂ℓ/∂h)²] per neuron; nil where not gathered

	once sync.Once
	path *Path
	err  error
}

// Path returns the elimination path of site, which this is the evidence of,
// made once for all that ask.
func (e *Evidence) Path(site *structure.MLP, s *engine.Shapes) (*Path, error) {
	e.once.Do(func() { e.path, e.err = NewPath(site, e.Moments, e.F, s) })
	return e.path, e.err
}

// Use makes p, which was found from the same statistics before, the path.
func (e *Evidence) Use(p *Path) { e.once.Do(func() { e.path = p }) }

// Path is the order in which the neurons of a layer go, and what is lost on
// the way: each time the one whose drop costs least after all others are
// solved again.
type Path struct {
	Hidden int       // how many neurons there are
	Rows   float64   // how many rows an image has: errors are per row
	Order  []int     // all neurons but one
	Lost   []float64 // after as many drops, per row
}

// NewPath follows a path to its end. With F, the second moment of the gradient at the
// second map's output, the error of a change Δ of its weight is tr(ΔᵀCΔF),
// which makes errors of different layers comparable; half of it is the
// predicted increase of the loss, per row. F nil stands for the identity.
func NewPath(site *structure.MLP, moments *linalg.Moments, f *mat.SymDense, s *engine.Shapes) (*Path, error) {
	w, _, err := site.Second.Weight()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", site.Second.Node, err)
	}
	wt := mat.DenseCopyOf(w.T())
	if f != nil {
		root, err := linalg.Root(f)
		if err != nil {
			return nil, fmt.Errorf("gradients behind %s: %w", site.Second.Node, err)
		}
		wt.Mul(wt, root.T())
	}
	e, err := linalg.NewEliminator(moments, wt, linalg.Options{Affine: true, Ridge: Ridge})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", site.Second.Node, err)
	}
	p := &Path{Hidden: site.Hidden, Rows: site.Second.Rows(s), Lost: []float64{0}}
	for e.Left() > 1 {
		j, _ := e.Cheapest()
		if err := e.Drop(j); err != nil {
			return nil, err
		}
		p.Order, p.Lost = append(p.Order, j), append(p.Lost, e.Cost())
	}
	p.Lost = append(p.Lost, e.Cost()+e.Scores()[0])
	return p, nil
}

// Loss returns the predicted increase of the loss per image at a width from 0,
// where the mean of what the layer gives stands in for it, up to the layer's.
func (p *Path) Loss(width int) float64 { return p.Lost[p.Hidden-width] * p.Rows / 2 }

// Kept returns the neurons that are left at a width from 1 up to the layer's,
// ascending.
func (p *Path) Kept(width int) []int {
	gone := make([]bool, p.Hidden)
	for _, j := range p.Order[:p.Hidden-width] {
		gone[j] = true
	}
	var keep []int
	for j, g := range gone {
		if !g {
			keep = append(keep, j)
		}
	}
	return keep
}

// OutputTap watches what the second map of site gives.
func OutputTap(s *engine.Shapes, site *structure.MLP) calibrate.Tap {
	d, _ := s.Of(site.Second.Out)
	return calibrate.Tap{Value: site.Second.Out.Name(), Rank: len(d), Axis: site.Second.Axis, Width: site.Second.OutDim}
}
