package passes_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"

	"nuwa"
	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/linalg"
	"nuwa/passes/attention"
	"nuwa/passes/cleanup"
	"nuwa/passes/passtest"
	"nuwa/passes/structure"
	"nuwa/testmodels"
)

func zoo(t *testing.T) []testmodels.Model {
	t.Helper()
	models, err := testmodels.Zoo()
	if err != nil {
		t.Fatal(err)
	}
	return models
}

// What ONNX Runtime infers of sizes is what runs show, before and after cleaning.
// Every fourth model is tried, all with NUWA_ZOO=all.
func TestZooShapes(t *testing.T) {
	eng := &engine.Engine{Threads: 1}
	same := func(t *testing.T, m *graph.Model) {
		t.Helper()
		got, err := eng.Shapes(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		o, err := eng.Observe(t.Context(), m, nil, 0, 1, 2, 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range m.Graph.Nodes() {
			for _, v := range n.Outputs() {
				if v == nil {
					continue
				}
				a, known := got.Of(v)
				b, ran := o.Shapes.Of(v)
				if known != ran || !slices.Equal(a, b) || got.Elem(v) != o.Shapes.Elem(v) {
					t.Errorf("%s of %s: %v %v, where runs give %v %v", v.Name(), n.Op, got.Elem(v), a, o.Shapes.Elem(v), b)
				}
			}
		}
	}
	for i, c := range zoo(t) {
		if i%4 != 0 && os.Getenv("NUWA_ZOO") != "all" {
			continue
		}
		t.Run(c.File, func(t *testing.T) {
			m := passtest.Load(t, c.Path())
			same(t, m)
			passtest.Clean(t, m)
			same(t, m)
		})
	}
}

// In every architecture all planted redundancy is found, and goes without a
// trace but in the cost.
func TestZooLosesItsRedundancy(t *testing.T) {
	for _, c := range zoo(t) {
		if c.Planted == (testmodels.Sites{}) {
			continue
		}
		t.Run(c.File, func(t *testing.T) {
			m := passtest.Load(t, c.Path())
			base := m.Clone()
			vit := passtest.Clean(t, m)
			predicted := macs(t, m)
			specs, err := attention.Decompose(vit.Attentions)
			if err != nil {
				t.Fatal(err)
			}
			var got testmodels.Sites
			for _, s := range specs {
				a := s.Site
				qk, vo := 0, 0
				if s.QK != nil && halfRank(s.QK) {
					got.QK++
					qk = a.QKDim / 2
				}
				if s.VO != nil && halfRank(s.VO) {
					got.VO++
					vo = a.VODim / 2
				}
				uq, uv := a.UnitMACs(vit.Shapes)
				predicted -= uq*float64(qk) + uv*float64(vo)
				if err := s.Prune(m, qk, vo); err != nil {
					t.Fatal(err)
				}
			}
			for _, p := range vit.MLPs {
				if p.Reason != "" {
					continue
				}
				keep, w2, b2 := twins(t, p)
				if len(keep) != p.Hidden/2 {
					continue
				}
				got.Hidden++
				predicted -= p.UnitMACs(vit.Shapes) * float64(p.Hidden/2)
				if err := p.Rebuild(m, keep, w2, b2); err != nil {
					t.Fatal(err)
				}
			}
			if got != c.Planted {
				t.Errorf("halves found: %+v, planted: %+v", got, c.Planted)
			}
			passtest.Tidy(t, m)
			tolerance := equal
			if computesInHalf(m) {
				tolerance = 5e-3
			}
			passtest.Agree(t, "without redundancy", base, m, tolerance)
			storedAsBefore(t, c, base, m)
			if got := macs(t, m); math.Abs(got-predicted) > 0.5 {
				t.Errorf("%.0f multiply-accumulates, predicted %.0f", got, predicted)
			}
		})
	}
}

// storedAsBefore fails where weights that the base's file holds in 16 bits do not
// go back to them, or too many of the outputs' digits with that.
func storedAsBefore(t *testing.T, c testmodels.Model, base, slim *graph.Model) {
	t.Helper()
	tolerance := map[string]float64{"weights_half.onnx": 5e-3, "weights_bfloat16.onnx": 3e-2, "bfloat16.onnx": 3e-2}[c.File]
	m := slim.Clone()
	n, err := cleanup.Store(m)
	if err != nil {
		t.Fatal(err)
	}
	if (n > 0) != (tolerance > 0) {
		t.Errorf("%d weights go back to 16 bits", n)
	}
	if n == 0 {
		return
	}
	for _, n := range m.Graph.Nodes() {
		if w := n.Input(1); n.Is("MatMul") && w.Const() != nil {
			t.Errorf("the weight of %s is stored as %s", n, w.Const().Type)
		}
	}
	want, got := passtest.Run(t, base), passtest.Run(t, m)
	passtest.Near(t, "stored in 16 bits", want, got, tolerance)
	t.Logf("stored in 16 bits, outputs move by %.2g", passtest.Distance(want[0], got[0]))
}

// halfRank reports whether in all heads the second half of the singular values
// is nothing.
func halfRank(heads []*linalg.LowRank) bool {
	return !slices.ContainsFunc(heads, func(h *linalg.LowRank) bool {
		n := len(h.S)
		return n < 2 || h.S[n/2] > 1e-5*h.S[0]
	})
}

// twins finds pairs of equal hidden neurons, by the rows of the maps and the
// filters that make them, and gives the first of each the output weights of
// both.
func twins(t *testing.T, p *structure.MLP) (keep []int, w2 *mat.Dense, b2 []float64) {
	t.Helper()
	w, b, err := p.Second.Weight()
	if err != nil {
		t.Fatal(err)
	}
	made, err := p.Neurons()
	if err != nil {
		t.Fatal(err)
	}
	first := map[string]int{}
	var columns [][]float64
	for j, from := range made {
		key := fmt.Sprint(from)
		at, ok := first[key]
		if !ok {
			at = len(keep)
			first[key], keep, columns = at, append(keep, j), append(columns, make([]float64, p.Second.OutDim))
		}
		for o := range columns[at] {
			columns[at][o] += w.At(o, j)
		}
	}
	w2 = mat.NewDense(p.Second.OutDim, len(keep), nil)
	for c, x := range columns {
		w2.SetCol(c, x)
	}
	if p.Second.B == nil {
		b = nil
	}
	return keep, w2, b
}

// Every architecture can be derived from at rate .4, or as far as what may be
// pruned allows; the file runs at two batch sizes and costs what was predicted.
// Every second one is tried, all with NUWA_ZOO=all.
func TestZooDerives(t *testing.T) {
	for i, c := range zoo(t) {
		recipe := []string{"best", "paper"}[i/2%2]
		if i%2 == 1 && os.Getenv("NUWA_ZOO") != "all" || testing.Short() && i%8 != 0 {
			continue
		}
		t.Run(recipe+" "+c.File, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "slim.onnx")
			o := nuwa.Options{Model: c.Path(), Output: out, Recipe: recipe, Calibration: "synthetic", Images: 16, Rate: .4, Align: 2,
				Strategies: nuwa.Recipe{Tokens: "all"}, // or the last block costs less than its widths say
				SkipBench:  true, Runtime: nuwa.Runtime{Threads: 1}}
			r, err := nuwa.Derive(t.Context(), o)
			for _, rate := range []float64{.25, .1} {
				if fault.KindOf(err) == fault.Unreachable {
					o.Rate = rate
					r, err = nuwa.Derive(t.Context(), o)
				}
			}
			if fault.KindOf(err) == fault.Unreachable && sitesOf(t, c) == 0 {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if math.Abs(r.Rate-o.Rate) > .05 {
				t.Errorf("rate %.3f, asked for %.3f", r.Rate, o.Rate)
			}
			m := passtest.Load(t, c.Path())
			vit := passtest.Clean(t, m)
			predicted := macs(t, m)
			for i, b := range vit.Blocks {
				w := r.Blocks[i]
				if b.Attention != nil {
					uq, uv := b.Attention.UnitMACs(vit.Shapes)
					left := float64(w.Heads[1]) / float64(w.Heads[0])
					predicted -= uq*(float64(w.QK[0])-left*float64(w.QK[1])) + uv*(float64(w.VO[0])-left*float64(w.VO[1]))
				}
				if b.MLP != nil {
					predicted -= b.MLP.UnitMACs(vit.Shapes) * float64(w.Hidden[0]-w.Hidden[1])
				}
			}
			slim := passtest.Load(t, out)
			passtest.Run(t, slim)
			if got := macs(t, slim); math.Abs(got-predicted) > 0.5 {
				t.Errorf("%.0f multiply-accumulates, predicted %.0f", got, predicted)
			}
		})
	}
}

// sitesOf counts the sites of a model that may be pruned.
func sitesOf(t *testing.T, c testmodels.Model) int {
	t.Helper()
	in, err := nuwa.Inspect(t.Context(), nuwa.InspectOptions{Model: c.Path(), Runtime: nuwa.Runtime{Threads: 1}})
	if err != nil {
		t.Fatal(err)
	}
	can, _ := in.Sites()
	return can
}
