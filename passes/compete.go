package passes

import (
	"context"
	"fmt"

	"nuwa/internal/fault"
	"nuwa/passes/allocate"
	"nuwa/passes/attention"
	"nuwa/passes/mlp"
	"nuwa/passes/structure"
)

// planSensitivity lets all widths compete: what is predicted to lose least per
// cost saved is given up first, until the rate is met.
func (s *State) planSensitivity(ctx context.Context) (string, error) {
	unit := prices[s.Options.Recipe.Cost]
	m, err := s.foresee(ctx)
	if err != nil {
		return "", err
	}
	base, now, err := unit.whole(ctx, s, m)
	if err != nil {
		return "", err
	}
	paths, err := s.paths()
	if err != nil {
		return "", err
	}
	p := allocate.Competition{Now: now, Target: (1 - s.Options.Rate) * base}
	var take []func(widths []int) // what comes of each part's choice
	at, site := 0, 0
	for i, b := range s.ViT.Blocks {
		if a := b.Attention; a != nil {
			choices, err := s.attentionChoices(ctx, unit, i, at)
			if err != nil {
				return "", fmt.Errorf("block %d: %w", i, err)
			}
			at++
			p.Parts = append(p.Parts, choices)
			take = append(take, func(w []int) { s.Widths[i].Heads, s.Widths[i].QK, s.Widths[i].VO = w[0], w[1], w[2] })
		}
		if m := b.MLP; m != nil && m.Reason == "" {
			choices, err := s.hiddenChoices(ctx, unit, m, paths[site])
			if err != nil {
				return "", fmt.Errorf("block %d: %w", i, err)
			}
			site++
			p.Parts = append(p.Parts, choices)
			take = append(take, func(w []int) { s.Widths[i].Hidden = w[0] })
		}
	}
	least := p.Least()
	if least > p.Target+allocate.Tolerance*base {
		return "", &fault.Error{Kind: fault.Unreachable, Where: "rate", Got: fmt.Sprintf("%.3f", s.Options.Rate),
			Want:   fmt.Sprintf("%.3f to %.3f, with widths that are multiples of %d", 1-p.Now/base, 1-least/base, s.Options.Align),
			Remedy: "ask for a lower rate, or a smaller --align"}
	}
	r := p.Run()
	for i, x := range r.Chosen {
		take[i](x.Widths)
	}
	s.Saved = 1 - r.Cost/base
	return fmt.Sprintf("%.3f of the %s less, predicted loss %+.4f", s.Saved, s.Options.Recipe.Cost, r.Loss), nil
}

// attentionChoices lists what the attention of block i, the n-th there is, may
// become: heads, q/k and v/o widths.
func (s *State) attentionChoices(ctx context.Context, unit price, i, n int) ([]allocate.Choice, error) {
	a, now := s.ViT.Blocks[i].Attention, s.Widths[i]
	may := func(losses []float64, width int) []int {
		if losses == nil {
			return []int{width}
		}
		return allocate.Widths(width, s.Options.Align)
	}
	at := func(losses []float64, width int) float64 {
		if losses == nil {
			return 0
		}
		return losses[width]
	}
	var choices []allocate.Choice
	for _, heads := range s.headCounts(a, s.Heads[n]) {
		lost, kept := 0.0, []int(nil)
		if heads < now.Heads {
			lost, kept = s.Heads[n].Loss(heads), s.Heads[n].Kept(heads)
		}
		if heads == 0 {
			choices = append(choices, allocate.Choice{Widths: []int{0, 0, 0}, Loss: lost})
			break
		}
		qk, vo := s.Spectra[n].Losses(s.Evidence[n], s.ViT.Shapes, kept)
		for _, q := range may(qk, now.QK) {
			for _, v := range may(vo, now.VO) {
				c, err := unit.attention(ctx, s, a, heads, q, v)
				if err != nil {
					return nil, err
				}
				choices = append(choices, allocate.Choice{Widths: []int{heads, q, v}, Cost: c, Loss: lost + at(qk, q) + at(vo, v)})
			}
		}
	}
	return choices, nil
}

// headCounts lists how many heads a may have, its own number first, by the order
// in which they go; nil for none.
func (s *State) headCounts(a *structure.Attention, order *attention.Heads) []int {
	counts := []int{a.Heads}
	if order == nil {
		return counts
	}
	if a.HeadsReason(s.ViT.Shapes) == "" {
		for n := a.Heads - 1; n > 0; n-- {
			counts = append(counts, n)
		}
	}
	if s.Options.Recipe.Moves == MovesBlocks && a.Out.Linear.BranchReason(s.ViT.Shapes) == "" {
		counts = append(counts, 0)
	}
	return counts
}

// hiddenChoices lists the widths that a hidden layer may have.
func (s *State) hiddenChoices(ctx context.Context, unit price, m *structure.MLP, path *mlp.Path) ([]allocate.Choice, error) {
	var choices []allocate.Choice
	for _, w := range allocate.Widths(m.Hidden, s.Options.Align) {
		c, err := unit.hidden(ctx, s, m, w)
		if err != nil {
			return nil, err
		}
		choices = append(choices, allocate.Choice{Widths: []int{w}, Cost: c, Loss: path.Loss(w)})
	}
	if s.Options.Recipe.Moves == MovesBlocks && m.Second.BranchReason(s.ViT.Shapes) == "" {
		choices = append(choices, allocate.Choice{Widths: []int{0}, Loss: path.Loss(0)})
	}
	return choices, nil
}

// paths returns the elimination paths of the hidden layers by the statistics
// of the base, shared by all forks.
func (s *State) paths() ([]*mlp.Path, error) {
	if s.Hidden == nil {
		return nil, nil
	}
	sites := s.hiddenSites()
	out := make([]*mlp.Path, len(sites))
	err := abreast(len(sites), func(i int) int { return sites[i].Hidden }, func(i int) (err error) {
		out[i], err = s.Hidden[i].Path(sites[i], s.ViT.Shapes)
		return err
	})
	return out, err
}
