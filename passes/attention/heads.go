package attention

import (
	"fmt"
	"slices"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/linalg"
	"nuwa/passes/structure"
)

// refit is how the output projection makes up for heads that go: its bias as
// well, with a ridge that keeps it near what it is.
var refit = linalg.Options{Affine: true, Ridge: 1e-4}

// Heads is the order in which the heads of a site go, and what is lost on the
// way: each time the one whose drop costs least after the output projection is
// solved again for those that are left.
type Heads struct {
	order []int
	lost  []float64 // predicted increase of the loss per image, after as many drops
}

// NewHeads follows the order to its end, at which the site is replaced by the
// mean of what it adds.
func NewHeads(a *structure.Attention, e Evidence, s *engine.Shapes) (*Heads, error) {
	w, _, err := a.Out.Linear.Weight()
	if err != nil {
		return nil, err
	}
	weight := mat.DenseCopyOf(w.T())
	if e.F != nil {
		root, err := linalg.Root(e.F)
		if err != nil {
			return nil, fmt.Errorf("gradients behind %s: %w", a.Out.Linear.Node, err)
		}
		weight.Mul(weight, root.T())
	}
	h := &Heads{}
	if h.order, h.lost, err = linalg.EliminateGroups(e.O, weight, a.Out.Rows(a.Out.Width()), refit); err != nil {
		return nil, fmt.Errorf("%s: %w", a.Out.Linear.Node, err)
	}
	for i := range h.lost {
		h.lost[i] *= a.Out.Linear.Rows(s) / 2
	}
	return h, nil
}

// Loss returns the predicted increase of the loss per image with n heads left.
func (h *Heads) Loss(n int) float64 { return h.lost[len(h.order)-n] }

// Kept returns the heads that are left when n are, ascending.
func (h *Heads) Kept(n int) []int { return slices.Sorted(slices.Values(h.order[len(h.order)-n:])) }

// Keep returns s with the heads in keep alone, which must ascend: the output
// projection makes up for the others.
func (s *Spectrum) Keep(keep []int, e Evidence, sh *engine.Shapes) (*Spectrum, error) {
	a := s.Site
	w, _, err := a.Out.Linear.Weight()
	if err != nil {
		return nil, err
	}
	wv, bv, err := a.V.Linear.Weight()
	if err != nil {
		return nil, err
	}
	all := a.Out.Rows(a.Out.Width())
	var rows []int
	for _, h := range keep {
		rows = append(rows, all[h]...)
	}
	slices.Sort(rows)
	fit, err := linalg.Reconstruct(e.O, mat.DenseCopyOf(w.T()), rows, refit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.Out.Linear.Node, err)
	}
	for i, r := range rows {
		w.SetCol(r, fit.W.RawRowView(i))
	}
	slim := &Spectrum{Site: a, kept: keep, shift: fit.Shift, weighted: s.weighted, shapes: sh}
	for _, h := range keep {
		slim.QK = append(slim.QK, s.QK[h])
		f, err := slim.factor(a.V.Head(wv, bv, h), a.Out.Head(w, h), e, h)
		if err != nil {
			return nil, fmt.Errorf("values and output of head %d: %w", h, err)
		}
		slim.VO = append(slim.VO, f)
	}
	return slim, nil
}

// Remove puts the mean of what the site of s adds in its place.
func (s *Spectrum) Remove(m *graph.Model, e Evidence) error {
	return s.Site.Out.Linear.Fix(m.Graph, e.O)
}
