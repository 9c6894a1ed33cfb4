package passes_test

import (
	"path/filepath"
	"testing"

	"nuwa"
	"nuwa/passes/passtest"
)

// The redundancy goes through the front door as well: half of all widths, on
// synthetic calibration. Recipe best drops one twin of each pair, as its
// elimination sees that the other can stand in; recipe paper, which goes by
// activation, would drop pairs, so it is held to heads only.
func TestDeriveKeepsPlantedOutputs(t *testing.T) {
	for i, c := range plantedCases(t) {
		for _, recipe := range []string{"best", "paper"} {
			if recipe == "paper" && i%5 != 0 || testing.Short() && i%4 != 0 {
				continue
			}
			t.Run(recipe+" "+c.File, func(t *testing.T) {
				base := passtest.Load(t, c.Path())
				out := filepath.Join(t.TempDir(), "slim.onnx")
				widths, hidden, tol := nuwa.Widths{QK: c.QK / 2, VO: c.VO / 2}, c.Hidden, equal
				if recipe == "best" {
					hidden /= 2
					widths.Hidden, tol = hidden, 3*equal // its ridge holds the refit back a little
				}
				r, err := nuwa.Derive(t.Context(), nuwa.Options{
					Model: c.Path(), Output: out, Recipe: recipe, Calibration: "synthetic", Images: 256, // the last block may see one token of each
					Widths: widths, SkipBench: true, Runtime: nuwa.Runtime{Threads: 1},
				})
				if err != nil {
					t.Fatal(err)
				}
				for i, b := range r.Blocks {
					if b.QK != [2]int{c.QK, c.QK / 2} || b.VO != [2]int{c.VO, c.VO / 2} || b.Hidden != [2]int{c.Hidden, hidden} {
						t.Errorf("block %d: widths %+v", i, b)
					}
				}
				passtest.Agree(t, "derived", base, passtest.Load(t, out), tol)
			})
		}
	}
}
