package passes

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"nuwa/graph"
	"nuwa/internal/cost"
	"nuwa/internal/latency"
	"nuwa/passes/cleanup"
	"nuwa/passes/expand"
	"nuwa/passes/structure"
)

// counted words how many things a pass changed; nothing for none.
func counted(n int, what string) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d %s", n, what)
}

// listed joins what counted gave.
func listed(counts ...string) string {
	return strings.Join(slices.DeleteFunc(counts, func(s string) bool { return s == "" }), ", ")
}

// kept notes what a pass left alone and why.
func (s *State) kept(reasons []string) {
	for _, r := range reasons {
		s.note("left as it is: %s", r)
	}
}

func runInline(_ context.Context, s *State) (string, error) {
	done, err := cleanup.Inline(s.Model)
	s.kept(done.Kept)
	return counted(done.Calls, "calls of functions"), err
}

func runInputs(_ context.Context, s *State) (string, error) {
	return counted(cleanup.InitializersAsInputs(s.Model), "initializers taken off the inputs"), nil
}

func runConstants(_ context.Context, s *State) (string, error) {
	constants, idle := cleanup.Constants(s.Model), cleanup.Identities(s.Model, nil)
	return listed(counted(constants, "Constant nodes"), counted(idle, "idle nodes")), nil
}

func runFinite(_ context.Context, s *State) (string, error) {
	return "", cleanup.Finite(s.Model)
}

func runFold(ctx context.Context, s *State) (string, error) {
	casts := 0
	if slices.ContainsFunc(s.Model.Graph.Nodes(), func(n *graph.Node) bool { return n.Is("CastLike") }) {
		shapes, err := s.Engine.Shapes(ctx, s.Model)
		if err != nil {
			return "", err
		}
		casts = cleanup.Casts(s.Model, shapes.Elem)
	}
	done, err := cleanup.Fold(ctx, s.Engine, s.Model)
	s.kept(done.Kept)
	return listed(counted(casts, "casts to a known type"), counted(done.Values, "values folded"), counted(done.Nodes, "nodes removed")), err
}

func runFreeze(ctx context.Context, s *State) (string, error) {
	done, err := cleanup.Freeze(ctx, s.Engine, s.Model)
	s.kept(done.Kept)
	return listed(counted(done.Constants, "values made constant"), counted(done.Targets, "reshape targets"),
		counted(done.Rerooted, "values computed from the batch"), counted(done.Branches, "branches"), counted(done.Zeros, "reshapes that allow for no zeros"), counted(done.Nodes, "nodes removed")), err
}

func runExpand(ctx context.Context, s *State) (string, error) {
	if !expand.Needed(s.Model) {
		return "", nil
	}
	shapes, err := s.Engine.Shapes(ctx, s.Model)
	if err != nil {
		return "", err
	}
	done := expand.Expand(s.Model, shapes)
	s.kept(done.Kept)
	if done.Nodes == 0 {
		return "", nil
	}
	folded, err := cleanup.Fold(ctx, s.Engine, s.Model)
	s.kept(folded.Kept)
	return listed(counted(done.Nodes, "fused operators"), counted(folded.Values, "values folded")), err
}

func runMaps(ctx context.Context, s *State) (string, error) {
	if !slices.ContainsFunc(s.Model.Graph.Nodes(), func(n *graph.Node) bool { return n.Is("BatchNormalization", "Split") }) {
		return "", nil
	}
	shapes, err := s.Engine.Shapes(ctx, s.Model)
	if err != nil {
		return "", err
	}
	folded, err := cleanup.BatchNorms(s.Model, shapes)
	if err != nil {
		return "", err
	}
	apart, err := cleanup.Unpack(s.Model, shapes)
	if folded+apart > 0 {
		cleanup.Dead(s.Model)
	}
	return listed(counted(folded, "batch norms folded"), counted(apart, "packed maps taken apart")), err
}

func runIdentities(ctx context.Context, s *State) (string, error) {
	shapes, err := s.Engine.Shapes(ctx, s.Model)
	if err != nil {
		return "", err
	}
	idle := cleanup.Identities(s.Model, shapes)
	dead, _ := cleanup.Dead(s.Model)
	return listed(counted(idle, "idle nodes"), counted(dead, "dead nodes")), nil
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
	s.ViT, s.BaseCost, s.Base, s.Before = vit, c, widths(vit), widths(vit)
	s.Cleaned, s.Times = s.Model.Clone(), latency.New(s.Engine, kernelStep)
	return counted(len(vit.Blocks), "blocks"), nil
}

// widths returns the widths of vit's blocks.
func widths(vit *structure.ViT) []Width {
	ws := make([]Width, len(vit.Blocks))
	for i, b := range vit.Blocks {
		if b.Attention != nil {
			ws[i].Heads, ws[i].QK, ws[i].VO = b.Attention.Heads, b.Attention.QKDim, b.Attention.VODim
		}
		if b.MLP != nil {
			ws[i].Hidden = b.MLP.Hidden
		}
	}
	return ws
}
