package passes

import (
	"context"
	"fmt"

	"nuwa/graph"
	"nuwa/passes/merge"
	"nuwa/passes/structure"
)

// runMerge merges the tokens that are most alike behind each attention.
func runMerge(ctx context.Context, s *State) (string, error) {
	if s.Options.Merge == 0 {
		return "", nil
	}
	vit, err := structure.Find(ctx, s.Engine, s.Model)
	if err != nil {
		return "", err
	}
	done, reason := merge.Apply(s.Model, vit, s.Options.Merge)
	if reason != "" {
		s.note("tokens are not merged: %s", reason)
		return "", nil
	}
	return fmt.Sprintf("%d of %d tokens left, merged at %d places", done.After, done.Before, done.Sites), nil
}

// foresee returns the model that widths are planned for: s's, with tokens merged
// where they shall be. What parts cost is counted on its shapes.
func (s *State) foresee(ctx context.Context) (*graph.Model, error) {
	s.costs = s.ViT.Shapes
	if s.Options.Merge == 0 {
		return s.Model, nil
	}
	m := s.Model.Clone()
	if _, reason := merge.Apply(m, s.ViT.Moved(s.Model, m), s.Options.Merge); reason != "" {
		return s.Model, nil // the pass that merges tells why
	}
	if err := m.Graph.Sort(); err != nil {
		return nil, err
	}
	var err error
	s.costs, err = s.Engine.Shapes(ctx, m)
	return m, err
}
