package passes_test

import (
	"path/filepath"
	"slices"
	"testing"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/passes"
	"nuwa/passes/calibrate"
	"nuwa/passes/passtest"
	"nuwa/testmodels"
)

// Sizes that go on side by side from forks of one learned state are, bit for
// bit, those of runs of their own; the learned state stays as it is.
func TestForksEqualSeparateRuns(t *testing.T) {
	plain := &engine.Engine{Threads: 1, Plain: true}
	dir, err := testmodels.Dir()
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"packed_17_dynamic", "mlp_swiglu_chunk", "attention_packed_both", "interleaved_11_static"} {
		for _, recipe := range []string{"best", "paper"}[:2-min(i, 1)] {
			t.Run(name+" "+recipe, func(t *testing.T) {
				fresh := func() *passes.State {
					m := passtest.Load(t, filepath.Join(dir, "tiny", name+".onnx"))
					return &passes.State{Model: m, Engine: plain, Feeds: noiseFor(m), Options: passes.Options{Recipe: passes.Recipes[recipe], Rate: 0.2, Align: 1}}
				}
				run := func(s *passes.State, list []passes.Pass) *passes.State {
					if _, err := (&passes.Manager{SkipProof: true}).Run(t.Context(), s, list); err != nil {
						t.Fatal(err)
					}
					return s
				}
				cleaned := run(fresh(), passes.Cleaning)
				learned := run(cleaned.Fork(), slices.Concat(passes.Anchoring, passes.Learning))
				before := learned.Model.Clone()
				for _, rate := range []float64{0.2, 0.35} {
					fork := learned.Fork()
					fork.Options.Rate = rate
					alone := fresh()
					alone.Options.Rate = rate
					same(t, run(fork, slices.Concat(passes.Slimming, passes.Finishing)).Model, run(alone, passes.Pipeline).Model)
					same(t, learned.Model, before)
				}
				if _, err := (&passes.Manager{}).Run(t.Context(), learned, passes.Cleaning); err == nil {
					t.Error("a state was cleaned twice")
				}
			})
		}
	}
}

// noiseFor gives standard-normal inputs.
func noiseFor(m *graph.Model) calibrate.Feeds {
	in := m.Clone()
	batch := 8
	if !engine.DynamicBatch(m) {
		batch = 1
	}
	return func(yield func(map[string]*graph.Tensor, error) bool) {
		for i := range uint64(3) {
			if !yield(engine.Inputs(in, batch, i)) {
				return
			}
		}
	}
}

// same holds two models to the same text and the same constants.
func same(t *testing.T, got, want *graph.Model) {
	t.Helper()
	if a, b := got.String(), want.String(); a != b {
		t.Fatalf("the models differ: %d and %d nodes", len(got.Graph.Nodes()), len(want.Graph.Nodes()))
	}
	for i, v := range got.Graph.Consts() {
		if a, b := v.Default(), want.Graph.Consts()[i].Default(); a != nil && !slices.Equal(a.Data, b.Data) {
			t.Fatalf("%q differs", v.Name())
		}
	}
}
