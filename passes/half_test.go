package passes_test

import (
	"testing"

	"nuwa/graph"
	"nuwa/passes/attention"
	"nuwa/passes/passtest"
)

// halve makes a half-precision model of m: weights, inputs, outputs and casts.
func halve(t *testing.T, m *graph.Model) {
	t.Helper()
	for _, v := range m.Graph.Consts() {
		c := v.Const()
		if c == nil || c.Type != graph.Float32 {
			continue
		}
		xs, err := c.Floats()
		if err != nil {
			t.Fatal(err)
		}
		h, err := graph.FromFloats(graph.Float16, c.Dims, xs)
		if err != nil {
			t.Fatal(err)
		}
		v.SetConst(h)
		v.Type = nil
	}
	for _, v := range append(m.Graph.Inputs(), m.Graph.Outputs()...) {
		if v.Type != nil && v.Type.Elem == graph.Float32 {
			v.Type.Elem = graph.Float16
		}
	}
	for _, n := range m.Graph.Nodes() {
		if n.Is("Cast") && n.IntAttr("to", 0) == int64(graph.Float32) {
			n.SetAttr(graph.Int("to", int64(graph.Float16)))
		}
	}
}

// Half-precision models lose half of all widths as well; what is written back
// is half precision.
func TestPlantedInHalfPrecision(t *testing.T) {
	ran := 0
	for _, c := range plantedCases(t) {
		switch c.Spelling {
		case "packed_query", "chunk", "innermost", "split_uneven", "mean", "layer_scale":
		default:
			continue
		}
		ran++
		t.Run(c.File, func(t *testing.T) {
			m := passtest.Load(t, c.Path())
			passtest.Clean(t, m)
			halve(t, m)
			passtest.Tidy(t, m)
			want := passtest.Run(t, m)
			vit := passtest.Find(t, m)
			if got := prunable(vit); got != [3]int{c.Blocks, c.Blocks, c.Blocks} {
				t.Fatalf("can prune %v of %d blocks: %q", got, c.Blocks, reasonsOf(vit))
			}
			specs, err := attention.Decompose(vit.Attentions)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range specs {
				if err := s.Prune(m, c.QK/2, c.VO/2); err != nil {
					t.Fatal(err)
				}
			}
			for _, p := range vit.MLPs {
				keep, w2, b2 := mergeTwins(t, p)
				if err := p.Rebuild(m, keep, w2, b2); err != nil {
					t.Fatal(err)
				}
			}
			passtest.Tidy(t, m)
			for _, v := range m.Graph.Consts() {
				if v.Const().Type == graph.Float32 {
					t.Errorf("%q is of single precision", v.Name())
				}
			}
			passtest.Near(t, "half of all widths", want, passtest.Run(t, m), 5e-3)
		})
	}
	if ran != 6 {
		t.Errorf("%d models ran, want 6", ran)
	}
}
