package passes

import (
	"context"
	"fmt"
	"math"
	"slices"

	"nuwa/internal/fault"
	"nuwa/passes/allocate"
	"nuwa/passes/attention"
)

// runPlan chooses the widths: those asked for, or, for a rate, those that the
// recipe's rule finds. Of its rules, all but sensitivity take attention widths
// from the paper's ρ rule and what is missing from hidden layers.
func runPlan(ctx context.Context, s *State) (string, error) {
	s.Widths = append([]Width(nil), s.Before...)
	if s.Options.Fixed != nil {
		return s.planFixed()
	}
	if s.Options.Rate == 0 {
		return "", nil
	}
	if s.Options.Recipe.Allocate == AllocateSensitivity {
		return s.planSensitivity(ctx)
	}
	m, err := s.foresee(ctx)
	if err != nil {
		return "", err
	}
	c, err := s.counted(ctx, m)
	if err != nil {
		return "", err
	}
	base := float64(s.BaseCost.MACs)
	rule := allocate.Rho(s.Options.Rate)
	if s.Options.Split > 0 {
		rule = max(0, 1-(1-rule)*s.Options.Split)
	}
	rho := rule
	now := s.planAttention(rho, float64(c.MACs))
	for step := 1.0; 1-now/base > s.Options.Rate+allocate.Tolerance && step > 0; step -= 0.02 {
		rho = 1 - (1-rule)*step
		now = s.planAttention(rho, float64(c.MACs))
	}
	if rho != rule {
		s.note("attention alone would go past the rate: it keeps %.4f of the squared singular values instead of %.4f", rho, rule)
	}
	p := allocate.Problem{Base: base, Now: now, Rate: s.Options.Rate, Align: s.Options.Align}
	var at []int
	for i, b := range s.ViT.Blocks {
		if b.MLP != nil {
			p.Layers = append(p.Layers, allocate.Layer{Width: b.MLP.Hidden, Cost: b.MLP.UnitMACs(s.costs), Fixed: b.MLP.Reason != ""})
			at = append(at, i)
		}
	}
	var widths []int
	switch s.Options.Recipe.Allocate {
	case AllocateProportion:
		widths, err = p.Proportion()
	case AllocateAdaptive:
		var scores [][]float64
		if scores, err = s.comparable(); err == nil {
			widths, err = p.Adaptive(scores)
		}
	default:
		widths, err = p.Uniform()
	}
	if err != nil {
		return "", err
	}
	for i, w := range widths {
		s.Widths[at[i]].Hidden = w
	}
	return fmt.Sprintf("rate %.3f, attention keeps %.4f", p.Achieved(widths), rho), nil
}

// comparable rates the neurons of every hidden layer, each by its part in the
// layer's mean; nil for a layer that may not be pruned.
func (s *State) comparable() ([][]float64, error) {
	var all [][]float64
	site := 0
	for _, b := range s.ViT.Blocks {
		if b.MLP == nil {
			continue
		}
		if b.MLP.Reason != "" {
			all = append(all, nil)
			continue
		}
		scores, err := s.scores(b.MLP, s.Hidden[site])
		site++
		if err != nil {
			return nil, err
		}
		mean := 0.0
		for _, x := range scores {
			mean += math.Abs(x) / float64(len(scores))
		}
		scores = slices.Clone(scores)
		for i := range scores {
			if mean > 0 {
				scores[i] /= mean
			}
		}
		all = append(all, scores)
	}
	return all, nil
}

// planAttention sets the attention widths that retain rho of the squared
// singular values, and returns what macs becomes with them.
func (s *State) planAttention(rho, macs float64) float64 {
	spectrum := 0
	for i, b := range s.ViT.Blocks {
		if b.Attention == nil {
			continue
		}
		sp := s.Spectra[spectrum]
		spectrum++
		qk, vo := b.Attention.UnitMACs(s.costs)
		w := &s.Widths[i]
		if sp.QK != nil {
			w.QK = allocate.Round(allocate.RankFor(attention.Energies(sp.QK), rho), s.Options.Align, b.Attention.QKDim)
			macs -= qk * float64(b.Attention.QKDim-w.QK)
		}
		if sp.VO != nil {
			w.VO = allocate.Round(allocate.RankFor(attention.Energies(sp.VO), rho), s.Options.Align, b.Attention.VODim)
			macs -= vo * float64(b.Attention.VODim-w.VO)
		}
	}
	return macs
}

// planFixed sets explicit widths where a block has the part and may lose it.
func (s *State) planFixed() (string, error) {
	f := s.Options.Fixed
	wanted, found := map[string]bool{}, map[string]bool{}
	for i, b := range s.ViT.Blocks {
		w := &s.Widths[i]
		for _, part := range []struct {
			name   string
			width  *int
			base   int
			want   int
			absent bool
		}{
			{"q/k", &w.QK, s.Base[i].QK, f.QK, b.Attention == nil || b.Attention.QKReason != ""},
			{"v/o", &w.VO, s.Base[i].VO, f.VO, b.Attention == nil || b.Attention.VOReason != ""},
			{"hidden layer", &w.Hidden, s.Base[i].Hidden, s.hidden(s.Base[i].Hidden), b.MLP == nil || b.MLP.Reason != ""},
		} {
			asked := part.want > 0 || part.name == "hidden layer" && s.Options.Part > 0
			wanted[part.name] = wanted[part.name] || asked
			found[part.name] = found[part.name] || !part.absent
			switch {
			case part.want == 0 || part.absent:
			case part.want > part.base:
				return "", &fault.Error{Kind: fault.Unreachable, Where: fmt.Sprintf("block %d, %s", i, part.name),
					Got: fmt.Sprintf("width %d", part.want), Want: fmt.Sprintf("1 to %d, what the base has", part.base)}
			default:
				*part.width = min(part.want, *part.width)
			}
		}
	}
	for _, part := range []string{"q/k", "v/o", "hidden layer"} {
		if wanted[part] && !found[part] {
			return "", &fault.Error{Kind: fault.Unsupported, Got: "no block whose " + part + " can be pruned", Want: "at least one",
				Remedy: "`nuwa inspect` tells why; leave this width out"}
		}
	}
	return "explicit widths", nil
}

// hidden returns the explicit hidden width for a block that has now.
func (s *State) hidden(now int) int {
	if s.Options.Fixed.Hidden > 0 || s.Options.Part == 0 {
		return s.Options.Fixed.Hidden
	}
	return max(1, int(math.Round(s.Options.Part*float64(now))))
}
