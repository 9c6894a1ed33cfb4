package passes_test

import (
	"testing"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/passes"
	"nuwa/passes/calibrate"
	"nuwa/passes/passtest"
)

// Maps that are fitted to the dense residual stream behind them make up for
// what earlier blocks lost: on the calibration inputs, outputs come closer to
// the base's than where each map is fitted to its own output.
func TestBlockOutputsMakeUpForEarlierBlocks(t *testing.T) {
	for _, name := range []string{"packed_17_dynamic.onnx", "mean_14_dynamic.onnx", "mlp_swiglu_chunk.onnx"} {
		t.Run(name, func(t *testing.T) {
			base := passtest.Tiny(t, name)
			in := base.Clone()
			feeds := func(yield func(map[string]*graph.Tensor, error) bool) {
				for i := range uint64(16) {
					if !yield(engine.Inputs(in, 16, i)) {
						return
					}
				}
			}
			outputs := func(m *graph.Model) *mat.Dense {
				t.Helper()
				out := m.Graph.Outputs()[0].Name()
				of, err := calibrate.Values(t.Context(), passtest.Engine, m, []string{out}, feeds)
				if err != nil {
					t.Fatal(err)
				}
				return of[out]
			}
			want := outputs(base)
			missed := func(statistics, objective string) float64 {
				t.Helper()
				r := passes.Recipes["best"]
				r.Statistics, r.Objective, r.Refit, r.Tokens = statistics, objective, passes.RefitNone, passes.TokensAll
				s := &passes.State{Model: base.Clone(), Engine: passtest.Engine, Feeds: feeds, Options: passes.Options{Recipe: r, Rate: 0.4, Align: 1}}
				if _, err := (&passes.Manager{}).Run(t.Context(), s, passes.Pipeline); err != nil {
					t.Fatal(err)
				}
				var d mat.Dense
				d.Sub(outputs(s.Model), want)
				return mat.Norm(&d, 2)
			}
			dense := missed(passes.StatisticsDense, passes.ObjectiveLayer)
			layer := missed(passes.StatisticsSequential, passes.ObjectiveLayer)
			block := missed(passes.StatisticsSequential, passes.ObjectiveBlock)
			if block >= layer || block >= dense {
				t.Errorf("off by %.4g with block outputs, by %.4g with the maps' own, by %.4g with the base's statistics", block, layer, dense)
			}
		})
	}
}
