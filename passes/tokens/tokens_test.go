package tokens_test

import (
	"testing"

	"nuwa/graph"
	"nuwa/internal/cost"
	"nuwa/internal/engine"
	"nuwa/passes/passtest"
	"nuwa/passes/tokens"
	"nuwa/testmodels"
)

// Whatever is left out, outputs stay. Where a classifier reads the class
// token, the last attention is computed for that token alone.
func TestCropKeepsOutputs(t *testing.T) {
	cases, err := testmodels.Tiny()
	if err != nil {
		t.Fatal(err)
	}
	cropped := 0
	for _, c := range cases {
		t.Run(c.File, func(t *testing.T) {
			m := passtest.Load(t, c.Path())
			vit := passtest.Clean(t, m)
			before := m.Clone()
			n := tokens.Crop(m, vit.Shapes)
			if n == 0 {
				return
			}
			cropped++
			passtest.Tidy(t, m)
			passtest.Agree(t, "cropped", before, m, 1e-5)
			was, is := macs(t, before), macs(t, m)
			if is >= was {
				t.Errorf("%d multiply-accumulates, %d before", is, was)
			}
			slim := passtest.Find(t, m)
			if len(vit.Attentions) == 0 {
				return // it is no attention that was understood
			}
			if a, b := vit.Attentions[len(vit.Attentions)-1], slim.Attentions[len(slim.Attentions)-1]; b.Tokens >= a.Tokens {
				t.Errorf("the last attention has %d queries, %d before", b.Tokens, a.Tokens)
			}
			if again := tokens.Crop(m, slim.Shapes); again != 0 {
				t.Errorf("a second time, %d operators changed", again)
			}
		})
	}
	if cropped < 20 {
		t.Errorf("%d models were cropped; most of the %d read a class token", cropped, len(cases))
	}
}

// A model whose output reads all tokens, or a token in two places, stays.
func TestCropLeavesWhatIsRead(t *testing.T) {
	m := graph.NewModel(graph.Opset{Version: 13})
	g := m.Graph
	x := g.AddInput("x", graph.TensorType(graph.Float32, graph.Sym("batch"), graph.Fixed(5), graph.Fixed(4)))
	q := g.Add("Tanh", "q", []*graph.Value{x}).Output(0)
	k := g.Add("Transpose", "k", []*graph.Value{x}, graph.Ints("perm", 0, 2, 1)).Output(0)
	p := g.Add("Softmax", "p", []*graph.Value{g.Add("MatMul", "qk", []*graph.Value{q, k}).Output(0)}, graph.Int("axis", -1)).Output(0)
	o := g.Add("MatMul", "o", []*graph.Value{p, x}).Output(0)
	first := g.Add("Gather", "first", []*graph.Value{o, g.AddConst("zero", graph.NewTensor([]int64{}, []int64{0}))}, graph.Int("axis", 1)).Output(0)
	g.AddOutput(first)
	only := m.Clone()
	g.AddOutput(g.Add("ReduceMean", "mean", []*graph.Value{o}, graph.Ints("axes", 1)).Output(0))
	for _, c := range []struct {
		m    *graph.Model
		want bool
	}{{only, true}, {m, false}} {
		if err := c.m.Graph.Sort(); err != nil {
			t.Fatal(err)
		}
		before := c.m.Clone()
		n := tokens.Crop(c.m, shapes(t, c.m))
		if (n > 0) != c.want {
			t.Errorf("%d operators changed, want some: %v", n, c.want)
		}
		passtest.Agree(t, "cropped", before, c.m, 1e-6)
	}
}

func shapes(t *testing.T, m *graph.Model) *engine.Shapes {
	t.Helper()
	s, err := passtest.Engine.Shapes(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func macs(t *testing.T, m *graph.Model) int64 {
	t.Helper()
	c, err := cost.Of(m, shapes(t, m))
	if err != nil {
		t.Fatal(err)
	}
	return c.MACs
}
