package attention

import (
	"fmt"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/linalg"
	"nuwa/passes/calibrate"
	"nuwa/passes/structure"
)

// Evidence is what calibration says about a site: how its queries, keys and
// outputs are distributed, and how much errors matter.
type Evidence struct {
	Q, K  []*linalg.Moments // of the channels of each head that the maps of q and k give
	O     *linalg.Moments   // of the projection's input
	F     *mat.SymDense     // E[(∂ℓ/∂y)(∂ℓ/∂y)ᵀ] at the projection's output; nil weighs all channels alike
	Gamma []float64         // E[(∂ℓ/∂logit)²] at Q·Kᵀ, per head, or one for all heads; nil weighs all alike
}

// A Watched attention is what must be watched to gather its Evidence; nil is not
// needed.
type Watched struct {
	Q, K, O  *calibrate.Watch // moments
	F, Gamma *calibrate.Watch // gradients
}

// Watch tells what to watch of a site, as far as its q/k and v/o can be reduced.
func Watch(a *structure.Attention, s *engine.Shapes) Watched {
	tap := func(v *graph.Value, axis, width int) calibrate.Tap {
		d, _ := s.Of(v)
		return calibrate.Tap{Value: v.Name(), Rank: len(d), Axis: axis, Width: width}
	}
	heads := func(o *structure.Operand) *calibrate.Watch {
		return &calibrate.Watch{Tap: tap(o.Linear.Out, o.Linear.Axis, o.Linear.OutDim), Moments: true, Groups: o.Channels}
	}
	var w Watched
	if a.QKReason == "" {
		w.Q, w.K = heads(a.Q), heads(a.K)
		w.Gamma = &calibrate.Watch{Tap: tap(a.QK.Output(0), 1, 1), Felt: true}
		if d, _ := s.Of(a.QK.Output(0)); len(d) >= 3 && !d[len(d)-3].Dynamic() && int(d[len(d)-3].Fixed) == a.Heads {
			w.Gamma.Axis, w.Gamma.Width = 3, a.Heads
		}
	}
	if a.VOReason == "" {
		out := a.Out.Linear
		w.O = &calibrate.Watch{Tap: tap(out.In, out.Axis, out.InDim), Moments: true}
		w.F = &calibrate.Watch{Tap: tap(out.Out, out.Axis, out.OutDim), Felt: true}
	}
	return w
}

// DecomposeWeighted factors all heads such that truncation loses least on the
// calibration data, weighted by what errors cost: the singular values of
// M^½·P_QK·N^½ and M^½·P_VO·F^½. The energies are then mean squared errors per
// token pair and per token, in units of the loss.
func DecomposeWeighted(a *structure.Attention, e Evidence) (*Spectrum, error) {
	s := &Spectrum{Site: a, weighted: true}
	if a.QKReason == "" {
		wq, bq, err := a.Q.Linear.Weight()
		if err != nil {
			return nil, err
		}
		wk, bk := wq, bq
		if a.K.Linear != a.Q.Linear {
			if wk, bk, err = a.K.Linear.Weight(); err != nil {
				return nil, err
			}
		}
		for h := range a.Q.Channels {
			f, err := linalg.FactorGrams(a.Q.Head(wq, bq, h), a.K.Head(wk, bk, h), a.Q.Moment(e.Q[h], h), a.K.Moment(e.K[h], h))
			if err != nil {
				return nil, fmt.Errorf("queries and keys of head %d: %w", h, err)
			}
			s.QK = append(s.QK, f)
		}
	}
	if a.VOReason == "" {
		wv, bv, err := a.V.Linear.Weight()
		if err != nil {
			return nil, err
		}
		wo, _, err := a.Out.Linear.Weight()
		if err != nil {
			return nil, err
		}
		for h := range a.V.Channels {
			f, err := s.factor(a.V.Head(wv, bv, h), a.Out.Head(wo, h), e, h)
			if err != nil {
				return nil, fmt.Errorf("values and output of head %d: %w", h, err)
			}
			s.VO = append(s.VO, f)
		}
	}
	return s, nil
}

// factor decomposes the product of the values of head h and of what they add to
// the output, as s does.
func (s *Spectrum) factor(v, o *mat.Dense, e Evidence, h int) (*linalg.LowRank, error) {
	if !s.weighted {
		return linalg.Factor(v, o)
	}
	return linalg.FactorGrams(v, o, s.Site.Out.Moment(e.O, h), weightedGram(o, e.F))
}

// weightedGram returns W·F·Wᵀ, F nil standing for the identity.
func weightedGram(w *mat.Dense, f *mat.SymDense) *mat.SymDense {
	r, _ := w.Dims()
	var g mat.Dense
	if f == nil {
		g.Mul(w, w.T())
	} else {
		g.Product(w, f, w.T())
	}
	out := mat.NewSymDense(r, nil)
	for i := range r {
		for j := i; j < r; j++ {
			out.SetSym(i, j, (g.At(i, j)+g.At(j, i))/2)
		}
	}
	return out
}

// Losses returns, for every width from 0 to the present one, the predicted
// increase of the loss per image when the heads in kept, nil for all, are
// truncated to it: half the energy lost, times how many tokens or token pairs it
// is lost at.
func (s *Spectrum) Losses(e Evidence, sh *engine.Shapes, kept []int) (qk, vo []float64) {
	if kept == nil {
		for h := range s.Site.Heads {
			kept = append(kept, h)
		}
	}
	if s.QK != nil {
		d, _ := sh.At(s.Site.QK.Output(0), 1)
		pairs := float64(graph.Elements(d)) / float64(s.Site.Heads)
		qk = tails(s.QK, kept, s.Site.QKDim, func(h int) float64 {
			switch {
			case e.Gamma == nil:
				return pairs / 2
			case len(e.Gamma) == 1:
				return pairs / 2 * e.Gamma[0]
			}
			return pairs / 2 * e.Gamma[h]
		})
	}
	if s.VO != nil {
		vo = tails(s.VO, kept, s.Site.VODim, func(int) float64 { return s.Site.Out.Linear.Rows(sh) / 2 })
	}
	return qk, vo
}

func tails(heads []*linalg.LowRank, kept []int, width int, weight func(h int) float64) []float64 {
	out := make([]float64, width+1)
	for _, h := range kept {
		e := heads[h].Energies()
		lost := 0.0
		for k := len(e) - 1; k >= 0; k-- {
			lost += e[k]
			out[k] += weight(h) * lost
		}
	}
	return out
}
