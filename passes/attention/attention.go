// Package attention shrinks attention heads in closed form, without data: the
// products that a head's output depends on, Ŵ_Qᵀ·Ŵ_K and Ŵ_Vᵀ·W_O with the
// biases as a last column, are replaced by their best approximations of lower
// rank (Eckart–Young). Whatever scales the logits stays what it was for the
// base's width.
//
//	spectra, err := attention.Decompose(vit.Attentions)
//	err = spectra[0].Prune(model, 24, 16) // widths of q/k and v/o per head
//
// It may import graph, passes/structure, passes/calibrate, internal/engine and
// internal/linalg.
package attention

import (
	"fmt"

	"golang.org/x/sync/errgroup"
	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/linalg"
	"nuwa/passes/structure"
)

// Spectrum is an attention with its products decomposed, one per head. QK is
// nil where q/k cannot be reduced, VO where v/o cannot.
type Spectrum struct {
	Site   *structure.Attention
	QK, VO []*linalg.LowRank

	weighted bool           // by data
	kept     []int          // heads that there shall be; nil for all
	shift    []float64      // of the output for heads that go; nil for none
	shapes   *engine.Shapes // where heads go
}

// Decompose factors all heads of all sites, in parallel. It depends on the
// weights only.
func Decompose(sites []*structure.Attention) ([]*Spectrum, error) {
	out := make([]*Spectrum, len(sites))
	var work errgroup.Group
	work.SetLimit(2)
	for i, a := range sites {
		work.Go(func() error {
			s, err := decompose(a)
			if err != nil {
				return fmt.Errorf("attention %d (%s): %w", i, a.Softmax, err)
			}
			out[i] = s
			return nil
		})
	}
	return out, work.Wait()
}

func decompose(a *structure.Attention) (*Spectrum, error) {
	s := &Spectrum{Site: a}
	type weight struct {
		w *mat.Dense
		b []float64
	}
	read := map[*structure.Linear]weight{} // q, k and v are often one map
	head := func(o *structure.Operand, h int) (*mat.Dense, error) {
		w, ok := read[o.Linear]
		if !ok {
			var err error
			if w.w, w.b, err = o.Linear.Weight(); err != nil {
				return nil, err
			}
			read[o.Linear] = w
		}
		return o.Head(w.w, w.b, h), nil
	}
	factor := func(left *structure.Operand, right func(h int) (*mat.Dense, error)) (heads []*linalg.LowRank, err error) {
		for h := range left.Channels {
			x, err := head(left, h)
			if err != nil {
				return nil, err
			}
			y, err := right(h)
			if err != nil {
				return nil, err
			}
			f, err := linalg.Factor(x, y)
			if err != nil {
				return nil, fmt.Errorf("head %d: %w", h, err)
			}
			heads = append(heads, f)
		}
		return heads, nil
	}
	var err error
	if a.QKReason == "" {
		s.QK, err = factor(a.Q, func(h int) (*mat.Dense, error) { return head(a.K, h) })
		if err != nil {
			return nil, fmt.Errorf("queries and keys: %w", err)
		}
	}
	if a.VOReason == "" {
		wo, _, err := a.Out.Linear.Weight()
		if err != nil {
			return nil, err
		}
		s.VO, err = factor(a.V, func(h int) (*mat.Dense, error) { return a.Out.Head(wo, h), nil })
		if err != nil {
			return nil, fmt.Errorf("values and output: %w", err)
		}
	}
	return s, nil
}

// Energies returns the squared singular values of every head's product.
func Energies(heads []*linalg.LowRank) [][]float64 {
	out := make([][]float64, len(heads))
	for i, h := range heads {
		out[i] = h.Energies()
	}
	return out
}

// Prune gives every head of s q/k width qk and v/o width vo, and takes the others
// away. A width of zero, or one not below the present width, leaves that half as
// it is.
func (s *Spectrum) Prune(m *graph.Model, qk, vo int) error {
	a := s.Site
	rebuilt := map[*structure.Linear][]structure.Part{}
	var order []*structure.Operand
	add := func(o *structure.Operand, heads []*mat.Dense) {
		if rebuilt[o.Linear] == nil {
			order = append(order, o)
		}
		rebuilt[o.Linear] = append(rebuilt[o.Linear], o.Resize(heads))
	}
	cut := func(width, now int) (int, bool) {
		if width <= 0 || width >= now {
			return now, s.kept != nil
		}
		return width, true
	}
	if qk, slim := cut(qk, a.QKDim); slim && s.QK != nil {
		q, k := truncate(s.QK, qk)
		add(a.Q, q)
		add(a.K, k)
	}
	var out []*mat.Dense
	if vo, slim := cut(vo, a.VODim); slim && s.VO != nil {
		var v []*mat.Dense
		v, out = truncate(s.VO, vo)
		add(a.V, v)
	}
	if s.kept != nil {
		if err := a.KeepHeads(m.Graph, s.shapes, s.kept); err != nil {
			return err
		}
	}
	for _, o := range order {
		if err := o.Rebuild(m, rebuilt[o.Linear]); err != nil {
			return err
		}
	}
	if out != nil {
		return a.Out.Rebuild(m, a.PV, out, s.shift)
	}
	return nil
}

func truncate(heads []*linalg.LowRank, k int) (a, b []*mat.Dense) {
	for _, h := range heads {
		x, y := h.Truncate(k)
		a, b = append(a, x), append(b, y)
	}
	return a, b
}
