package passes_test

import (
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/passes"
	"nuwa/passes/passtest"
	"nuwa/testmodels"
)

func TestRecipesAreMadeOfStrategies(t *testing.T) {
	for name, r := range passes.Recipes {
		for _, p := range passes.Parts {
			if !slices.ContainsFunc(p.Choices, func(c passes.Choice) bool { return c.Name == *p.Of(&r) }) {
				t.Errorf("recipe %s: %s is %q, which is none of %s", name, p.Name, *p.Of(&r), p.Names())
			}
		}
	}
	r, err := passes.Named("paper", passes.Recipe{Select: "wanda", Images: 7})
	if err != nil || r.Select != "wanda" || r.Images != 7 || r.Allocate != "uniform" {
		t.Errorf("%+v, %v", r, err)
	}
	for _, over := range []passes.Recipe{{Select: "best"}, {Tokens: "some"}} {
		if _, err := passes.Named("best", over); fault.KindOf(err) != fault.Usage {
			t.Errorf("%+v: %v, want a usage error", over, err)
		}
	}
	if _, err := passes.Named("worst", passes.Recipe{}); fault.KindOf(err) != fault.Usage {
		t.Errorf("recipe worst: %v, want a usage error", err)
	}
}

// Strategies go together in any combination: each of them in a few drawn
// recipes, the model meets the rate.
func TestAnyCombinationOfStrategies(t *testing.T) {
	dir, err := testmodels.Dir()
	if err != nil {
		t.Fatal(err)
	}
	const recipes = 12
	rng := rand.New(rand.NewPCG(1, 1))
	var drawn [recipes]passes.Recipe
	for _, p := range passes.Parts { // each strategy at least twice
		for i, at := range rng.Perm(recipes) {
			*p.Of(&drawn[at]) = p.Choices[i%len(p.Choices)].Name
		}
	}
	base := passtest.Load(t, filepath.Join(dir, "tiny", "packed_17_dynamic.onnx"))
	feeds := func(yield func(map[string]*graph.Tensor, error) bool) {
		for i := range uint64(4) {
			if !yield(engine.Inputs(base, 16, i)) {
				return
			}
		}
	}
	labels := make([]int, 64)
	for i := range labels {
		labels[i] = rng.IntN(3)
	}
	for _, r := range drawn {
		s := &passes.State{Model: base.Clone(), Engine: passtest.Engine, Feeds: feeds, Labels: labels,
			Options: passes.Options{Recipe: r, Rate: 0.4, Align: 1, Classes: []int{2, 0, 1}}}
		byTime := r.Allocate == passes.AllocateSensitivity && r.Cost == passes.CostLatency
		_, err := (&passes.Manager{}).Run(t.Context(), s, passes.Pipeline)
		if byTime && fault.KindOf(err) == fault.Unreachable {
			continue // widths under one step of the kernels save a tiny model little time
		}
		if err != nil {
			t.Errorf("%+v: %v", r, err)
			continue
		}
		rate := 1 - macs(t, s.Model)/float64(s.BaseCost.MACs)
		if r.Allocate == passes.AllocateSensitivity && r.Cost == passes.CostParameters {
			rate = 1 - float64(counted(t, s.Model).Params)/float64(counted(t, s.Cleaned).Params)
		}
		if !byTime && (rate < 0.35 || rate > 0.45) || byTime && !(rate > 0) {
			t.Errorf("%+v: rate %.3f, want 0.4", r, rate)
		}
	}
}
