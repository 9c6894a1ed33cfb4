package passes

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"nuwa/internal/cost"
	"nuwa/internal/fault"
	"nuwa/passes/allocate"
	"nuwa/passes/mlp"
)

// planSensitivity lets all widths compete: a step is taken where the predicted
// loss per multiply-accumulate saved is least, until the rate is met.
func (s *State) planSensitivity(ctx context.Context) (string, error) {
	shapes, err := s.Engine.Shapes(ctx, s.Model)
	if err != nil {
		return "", err
	}
	c, err := cost.Of(s.Model, shapes)
	if err != nil {
		return "", err
	}
	paths, err := s.paths()
	if err != nil {
		return "", err
	}
	p := allocate.Competition{Now: float64(c.MACs), Target: (1 - s.Options.Rate) * s.BaseMACs, Align: s.Options.Align}
	var widths []*int
	at, site := 0, 0
	for i, b := range s.ViT.Blocks {
		enter := func(width *int, x allocate.Contender) {
			x.Width = *width
			p.Contenders, widths = append(p.Contenders, x), append(widths, width)
		}
		if a := b.Attention; a != nil {
			qk, vo := s.Spectra[at].Losses(s.Evidence[at], s.ViT.Shapes)
			at++
			uq, uv := a.UnitMACs(s.ViT.Shapes)
			if qk != nil {
				enter(&s.Widths[i].QK, allocate.Contender{Cost: uq, Loss: func(w int) float64 { return qk[w] }})
			}
			if vo != nil {
				enter(&s.Widths[i].VO, allocate.Contender{Cost: uv, Loss: func(w int) float64 { return vo[w] }})
			}
		}
		if m := b.MLP; m != nil && m.Reason == "" {
			path := paths[site]
			site++
			enter(&s.Widths[i].Hidden, allocate.Contender{Cost: m.UnitMACs(s.ViT.Shapes), Loss: path.Loss})
		}
	}
	least := p.Least()
	if least > p.Target+allocate.Tolerance*s.BaseMACs {
		return "", &fault.Error{Kind: fault.Unreachable, Where: "rate", Got: fmt.Sprintf("%.3f", s.Options.Rate),
			Want:   fmt.Sprintf("%.3f to %.3f, with widths that are multiples of %d", 1-p.Now/s.BaseMACs, 1-least/s.BaseMACs, s.Options.Align),
			Remedy: "ask for a lower rate, or a smaller --align"}
	}
	r := p.Run()
	for i, w := range widths {
		*w = r.Widths[i]
	}
	return fmt.Sprintf("rate %.3f, predicted loss %+.4f", 1-r.Cost/s.BaseMACs, r.Loss), nil
}

// paths returns the elimination paths of the hidden layers by the statistics
// of the base, shared by all forks.
func (s *State) paths() ([]*mlp.Path, error) {
	if s.Hidden == nil {
		return nil, nil
	}
	sites := s.hiddenSites()
	out := make([]*mlp.Path, len(sites))
	var work errgroup.Group
	work.SetLimit(2) // each holds a matrix as large as the moments
	for i, m := range sites {
		work.Go(func() (err error) {
			out[i], err = s.Hidden[i].Path(m, s.ViT.Shapes)
			return err
		})
	}
	return out, work.Wait()
}
