package passes_test

import (
	"path/filepath"
	"slices"
	"testing"

	"nuwa/internal/ort"
	"nuwa/passes"
	"nuwa/passes/passtest"
)

// What ONNX Runtime makes of a model when it optimizes it is understood like
// the model itself, at every level: half of the planted widths go without a
// trace.
func TestOptimizedByONNXRuntime(t *testing.T) {
	levels := map[string]ort.Level{"basic": ort.Basic, "extended": ort.Extended, "all": ort.All}
	names := []string{"extended", "all", "basic", "extended"}
	fused := map[string]int{}
	for i, c := range plantedCases(t) {
		level := names[i%len(names)]
		t.Run(level+"/"+c.File, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "optimized.onnx")
			if _, err := ort.Load(""); err != nil {
				t.Fatal(err)
			}
			s, err := ort.NewSessionFile(c.Path(), ort.Options{Threads: 1, Optimize: levels[level], Rewritten: path})
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
			m := passtest.Load(t, path)
			for _, n := range m.Graph.Nodes() {
				if n.Domain != "" {
					fused[n.Op]++
				}
			}
			if i%5 == 0 { // as the pipeline does, proof included
				x := m.Clone()
				state := &passes.State{Model: x, Engine: passtest.Engine}
				reports, err := (&passes.Manager{}).Run(t.Context(), state, passes.Cleaning)
				if err != nil {
					t.Fatal(err)
				}
				k := slices.IndexFunc(reports, func(r passes.Report) bool { return r.Pass == "expand" })
				if level != "basic" && reports[k].Changes == "" {
					t.Errorf("nothing was expanded: %v", state.Notes)
				}
			}
			removeHalf(t, c, m)
		})
	}
	t.Logf("operators of ONNX Runtime that were met: %v", fused)
	for _, op := range []string{"FusedMatMul", "BiasGelu", "Gelu", "SkipLayerNormalization"} {
		if fused[op] == 0 {
			t.Errorf("no %s was met", op)
		}
	}
}
