package passes

import (
	"context"

	"nuwa/internal/engine"
	"nuwa/passes/cleanup"
	"nuwa/passes/structure"
	"nuwa/passes/tokens"
)

// runTokens leaves out the tokens that the output does not depend on, unless
// less of the structure would be understood afterwards.
func runTokens(ctx context.Context, s *State) (string, error) {
	if s.Options.Recipe.Tokens != TokensRead || s.Options.Rate == 0 && s.Options.Fixed == nil {
		return "", nil
	}
	m := s.Model.Clone()
	if err := m.Graph.Sort(); err != nil {
		return "", err
	}
	n := tokens.Crop(m, s.ViT.Shapes)
	if n == 0 {
		return "", nil
	}
	cleanup.Dead(m)
	vit, err := structure.Find(ctx, s.Engine, m)
	if err != nil {
		return "", err
	}
	dropped := 0
	for _, a := range vit.Attentions {
		done := map[*structure.Linear]bool{}
		for _, o := range []*structure.Operand{a.Q, a.K, a.V} {
			if o == nil || done[o.Linear] || o.Unread() == 0 {
				continue
			}
			done[o.Linear] = true
			dropped++
			if err := o.Rebuild(m, nil); err != nil {
				return "", err
			}
		}
	}
	if dropped > 0 {
		engine.Trim(m.Graph)
		if vit, err = structure.Find(ctx, s.Engine, m); err != nil {
			return "", err
		}
	}
	if !asGood(s.ViT, vit) {
		s.note("the last block is computed for all tokens: with fewer it would not be understood")
		return "", nil
	}
	s.Model, s.ViT = m, vit
	s.Before, s.Widths = widths(vit), widths(vit)
	return counted(n, "operators work on the tokens that are read"), nil
}

// asGood reports whether everything that may be pruned in a may be in b.
func asGood(a, b *structure.ViT) bool {
	if len(a.Blocks) != len(b.Blocks) || len(a.Classifiers) != len(b.Classifiers) {
		return false
	}
	for i, x := range a.Blocks {
		y := b.Blocks[i]
		if (x.Attention == nil) != (y.Attention == nil) || (x.MLP == nil) != (y.MLP == nil) {
			return false
		}
		if p, q := x.Attention, y.Attention; p != nil && (p.QKReason == "" && q.QKReason != "" || p.VOReason == "" && q.VOReason != "" || p.QKDim != q.QKDim || p.VODim != q.VODim) {
			return false
		}
		if p, q := x.MLP, y.MLP; p != nil && (p.Reason == "" && q.Reason != "" || p.Hidden != q.Hidden) {
			return false
		}
	}
	return true
}
