package passes_test

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nuwa"
	"nuwa/passes"
	"nuwa/passes/passtest"
	"nuwa/testmodels"
)

// What merging saves counts towards the rate, which widths make up for; where
// tokens cannot be merged, the report says so and widths alone do.
func TestMergingCountsTowardsTheRate(t *testing.T) {
	for file, merges := range map[string]bool{"vit.onnx": true, "clip.onnx": true, "siglip.onnx": true, "beit.onnx": false} {
		for _, recipe := range []string{"best", "paper"} {
			if testing.Short() && recipe == "paper" {
				continue
			}
			t.Run(recipe+" "+file, func(t *testing.T) {
				at := slices.IndexFunc(zoo(t), func(c testmodels.Model) bool { return c.File == file })
				base := zoo(t)[at].Path()
				out := filepath.Join(t.TempDir(), "slim.onnx")
				o := nuwa.Options{Model: base, Output: out, Recipe: recipe, Calibration: "synthetic", Images: 16, Rate: .5, Align: 1, Merge: 3,
					SkipBench: true, Runtime: nuwa.Runtime{Threads: 1}}
				r, err := nuwa.Derive(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				m := passtest.Load(t, out)
				passtest.Run(t, m)
				made := 1 - macs(t, m)/macs(t, passtest.Load(t, base))
				if math.Abs(made-.5) > .02 || math.Abs(r.Rate-made) > 1e-9 {
					t.Errorf("rate %.3f, reported %.3f, asked for 0.5", made, r.Rate)
				}
				did := slices.ContainsFunc(r.Passes, func(p passes.Report) bool { return p.Pass == "merge" && p.Changes != "" })
				noted := slices.ContainsFunc(r.Notes, func(n string) bool { return strings.HasPrefix(n, "tokens are not merged: ") })
				if did != merges || noted == merges {
					t.Errorf("merged: %v, declined with a reason: %v; want one of them, merged: %v", did, noted, merges)
				}
			})
		}
	}
}
