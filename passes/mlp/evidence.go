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

// Path is the order in which the neurons of a layer go, and what is lost on
// the way: each time the one whose drop costs least after all others are
// solved again. It is followed only as far as someone asks, and may be asked
// from several goroutines.
type Path struct {
	hidden int
	rows   float64 // how many rows an image has: errors are per row

	mu    sync.Mutex
	e     *linalg.Eliminator
	order []int
	lost  []float64 // after as many drops, per row
}

// NewPath starts a path. With F, the second moment of the gradient at the
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
	return &Path{hidden: site.Hidden, rows: site.Second.Rows(s), e: e, lost: []float64{0}}, nil
}

// follow drops neurons until width are left.
func (p *Path) follow(width int) error {
	for p.hidden-len(p.order) > max(width, 1) {
		j, _ := p.e.Cheapest()
		if err := p.e.Drop(j); err != nil {
			return err
		}
		p.order, p.lost = append(p.order, j), append(p.lost, p.e.Cost())
	}
	return nil
}

// Loss returns the predicted increase of the loss per image at a width from 1
// up to the layer's.
func (p *Path) Loss(width int) (float64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.follow(width)
	return p.lost[min(p.hidden-width, len(p.lost)-1)] * p.rows / 2, err
}

// Kept returns the neurons that are left at a width, ascending.
func (p *Path) Kept(width int) ([]int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.follow(width); err != nil {
		return nil, err
	}
	gone := make([]bool, p.hidden)
	for _, j := range p.order[:p.hidden-max(width, 1)] {
		gone[j] = true
	}
	var keep []int
	for j, g := range gone {
		if !g {
			keep = append(keep, j)
		}
	}
	return keep, nil
}

// OutputTap watches what the second map of site gives.
func OutputTap(s *engine.Shapes, site *structure.MLP) calibrate.Tap {
	d, _ := s.Of(site.Second.Out)
	return calibrate.Tap{Value: site.Second.Out.Name(), Rank: len(d), Axis: site.Second.Axis, Width: site.Second.OutDim}
}
