package norms_test

import (
	"context"
	"math"
	"os"
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/importer"
	"nuwa/internal/engine"
	"nuwa/internal/ort"
	"nuwa/passes"
	"nuwa/passes/norms"
	"nuwa/testmodels"
)

func TestMain(m *testing.M) {
	if _, err := ort.Load(""); err != nil {
		println(err.Error())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func logits(t *testing.T, m *graph.Model) []float64 {
	t.Helper()
	feeds, err := engine.Inputs(m, 2, 5)
	if err != nil {
		t.Fatal(err)
	}
	out, err := (&engine.Engine{Threads: 1}).Run(context.Background(), m, feeds)
	if err != nil {
		t.Fatal(err)
	}
	xs, err := out[m.Graph.Outputs()[0].Name()].Floats()
	if err != nil {
		t.Fatal(err)
	}
	return xs
}

// Every model of two pre-norm blocks and a final norm has five norms, fused
// from opset 17 on and decomposed before.
func TestSpellKeepsOutputs(t *testing.T) {
	cases, err := testmodels.Tiny()
	if err != nil {
		t.Fatal(err)
	}
	ctx, eng, ran := context.Background(), &engine.Engine{Threads: 1}, 0
	for _, c := range cases {
		if !c.Dynamic() || !strings.HasPrefix(c.File, "packed_1") && !strings.HasPrefix(c.File, "separate_1") && !strings.HasPrefix(c.File, "torchvision_1") {
			continue
		}
		ran++
		t.Run(c.File, func(t *testing.T) {
			m, err := importer.Load(c.Path())
			if err != nil {
				t.Fatal(err)
			}
			s := &passes.State{Model: m, Engine: eng}
			if _, err := (&passes.Manager{SkipProof: true}).Run(ctx, s, passes.Cleaning); err != nil {
				t.Fatal(err)
			}
			want := logits(t, m)
			if n := norms.Spell(m, s.ViT.Shapes); n != 5 {
				t.Errorf("%d norms rewritten, want 5", n)
			}
			if err := m.Check(); err != nil {
				t.Fatal(err)
			}
			for _, n := range m.Graph.Nodes() {
				if n.Is("LayerNormalization", "Pow") {
					t.Errorf("%s is left", n)
				}
			}
			gains := 0 // those that no linear map takes in: of the final norm, a token of which is picked first
			for _, n := range m.Graph.Nodes() {
				if n.Is("Reciprocal") && n.Output(0).OnlyUser().Output(0).OnlyUser().Is("Mul") {
					gains++
				}
			}
			if strings.HasPrefix(c.File, "packed") && gains != 1 {
				t.Errorf("%d gains are left, want 1", gains)
			}
			top, diff := 0.0, 0.0
			for i, x := range logits(t, m) {
				top, diff = math.Max(top, math.Abs(want[i])), math.Max(diff, math.Abs(x-want[i]))
			}
			if !(diff <= 1e-5*top) {
				t.Errorf("outputs moved by %.2g of %.2g", diff, top)
			}
			shapes, err := eng.Shapes(ctx, m)
			if err != nil {
				t.Fatal(err)
			}
			if n := norms.Spell(m, shapes); n != 0 {
				t.Errorf("a second run rewrites %d norms more", n)
			}
			// The stream enters once, as embeddings, and all five norms read it.
			if n := norms.Centre(m, shapes); n != 4 {
				t.Errorf("%d means are spared, want 4", n)
			}
			if err := m.Check(); err != nil {
				t.Fatal(err)
			}
			diff = 0
			for i, x := range logits(t, m) {
				diff = math.Max(diff, math.Abs(x-want[i]))
			}
			if !(diff <= 1e-5*top) {
				t.Errorf("centred: outputs moved by %.2g of %.2g", diff, top)
			}
		})
	}
	if ran != 9 {
		t.Errorf("%d models ran, want 9", ran)
	}
}

// A norm whose variance something else reads, and one over another axis, stay.
func TestSpellLeavesOthers(t *testing.T) {
	m := graph.NewModel(graph.Opset{Version: 17})
	g := m.Graph
	x := g.AddInput("x", graph.TensorType(graph.Float32, graph.Fixed(2), graph.Fixed(3), graph.Fixed(4)))
	w := g.AddConst("w", graph.NewTensor([]int64{3, 4}, make([]float32, 12)))
	g.AddOutput(g.Add("LayerNormalization", "both_axes", []*graph.Value{x, w}, graph.Int("axis", 1)).Output(0))
	sq := g.Add("Mul", "sq", []*graph.Value{x, x}).Output(0)
	variance := g.Add("ReduceMean", "var", []*graph.Value{sq}, graph.Ints("axes", -1)).Output(0)
	root := g.Add("Sqrt", "root", []*graph.Value{g.Add("Add", "safe", []*graph.Value{variance, g.AddConst("eps", graph.Scalar(float32(1e-5)))}).Output(0)}).Output(0)
	unit := g.Add("Div", "unit", []*graph.Value{x, root}).Output(0)
	g.AddOutput(g.Add("Mul", "y", []*graph.Value{unit, g.AddConst("g", graph.NewTensor([]int64{4}, []float32{1, 2, 3, 4}))}).Output(0))
	g.AddOutput(variance)
	shapes, err := (&engine.Engine{Threads: 1}).Shapes(context.Background(), m)
	if err != nil {
		t.Fatal(err)
	}
	before := m.String()
	if n := norms.Spell(m, shapes); n != 0 || m.String() != before {
		t.Errorf("%d norms rewritten, want none:\n%s", n, m)
	}
}

// A stream that something reads as it is keeps its mean.
func TestCentreLeavesOthers(t *testing.T) {
	for _, read := range []bool{false, true} {
		m := graph.NewModel(graph.Opset{Version: 17})
		g := m.Graph
		x := g.AddInput("x", graph.TensorType(graph.Float32, graph.Fixed(2), graph.Fixed(3), graph.Fixed(4)))
		elems := make([]float32, 16)
		for i := range elems {
			elems[i] = float32(i*i%7) - 2
		}
		norm := func(v *graph.Value) *graph.Value {
			mean := g.Add("ReduceMean", "", []*graph.Value{v}, graph.Ints("axes", -1)).Output(0)
			return g.Add("Sub", "", []*graph.Value{v, mean}).Output(0)
		}
		stream := x
		for range 3 {
			h := g.Add("MatMul", "", []*graph.Value{norm(stream), g.AddConst("w", graph.NewTensor([]int64{4, 4}, elems))}).Output(0)
			h = g.Add("Add", "", []*graph.Value{g.AddConst("b", graph.NewTensor([]int64{4}, elems[:4])), h}).Output(0)
			stream = g.Add("Add", "", []*graph.Value{stream, h}).Output(0)
		}
		g.AddOutput(norm(stream))
		if read {
			g.AddOutput(stream)
		}
		eng := &engine.Engine{Threads: 1}
		shapes, err := eng.Shapes(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		before := logits(t, m)
		n := norms.Centre(m, shapes)
		if want := map[bool]int{false: 3, true: 0}[read]; n != want {
			t.Errorf("read elsewhere %t: %d means are spared, want %d", read, n, want)
		}
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
		for i, y := range logits(t, m) {
			if math.Abs(y-before[i]) > 1e-5*100 {
				t.Errorf("element %d is %g, was %g", i, y, before[i])
			}
		}
	}
}
