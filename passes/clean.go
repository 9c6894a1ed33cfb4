package passes

import (
	"context"
	"fmt"

	"nuwa/internal/cost"
	"nuwa/passes/cleanup"
	"nuwa/passes/structure"
)

// counted words how many things a pass changed; nothing for none.
func counted(n int, what string) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d %s", n, what)
}

func runInputs(_ context.Context, s *State) (string, error) {
	return counted(cleanup.InitializersAsInputs(s.Model), "initializers taken off the inputs"), nil
}

func runConstants(_ context.Context, s *State) (string, error) {
	return counted(cleanup.Constants(s.Model), "Constant nodes"), nil
}

func runFold(ctx context.Context, s *State) (string, error) {
	total := 0
	for range 4 { // a frozen target can make more of the graph static
		n, err := cleanup.Fold(ctx, s.Engine, s.Model)
		if err != nil {
			return "", err
		}
		total += n
		if n == 0 {
			break
		}
	}
	return counted(total, "values folded"), nil
}

func runIdentities(ctx context.Context, s *State) (string, error) {
	shapes, err := s.Engine.Shapes(ctx, s.Model)
	if err != nil {
		return "", err
	}
	return counted(cleanup.Identities(s.Model, shapes), "idle nodes"), nil
}

func runDuplicates(_ context.Context, s *State) (string, error) {
	return counted(cleanup.Duplicates(s.Model), "duplicate initializers"), nil
}

func runStructure(ctx context.Context, s *State) (string, error) {
	vit, err := structure.Find(ctx, s.Engine, s.Model)
	if err != nil {
		return "", err
	}
	c, err := cost.Of(s.Model, vit.Shapes)
	if err != nil {
		return "", err
	}
	s.ViT, s.BaseMACs, s.Before = vit, float64(c.MACs), nil
	for _, b := range vit.Blocks {
		var w Width
		if b.Attention != nil {
			w.QK, w.VO = b.Attention.QKDim, b.Attention.VODim
		}
		if b.MLP != nil {
			w.Hidden = b.MLP.Hidden
		}
		s.Before = append(s.Before, w)
	}
	return counted(len(vit.Blocks), "blocks"), nil
}
