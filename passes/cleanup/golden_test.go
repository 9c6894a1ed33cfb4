package cleanup_test

import (
	"context"
	"flag"
	"math"
	"os"
	"path/filepath"
	"testing"

	"nuwa/graph"
	"nuwa/passes/cleanup"
)

var update = flag.Bool("update", false, "rewrite the printed graphs in testdata")

// builder shortens the writing of small graphs.
type builder struct {
	m *graph.Model
	g *graph.Graph
}

func build(opset int64) *builder {
	m := graph.NewModel(graph.Opset{Version: opset})
	return &builder{m, m.Graph}
}

func (b *builder) input(name string, dims ...graph.Dim) *graph.Value {
	return b.g.AddInput(name, graph.TensorType(graph.Float32, dims...))
}

func (b *builder) ints(name string, xs ...int64) *graph.Value {
	return b.g.AddConst(name, graph.NewTensor([]int64{int64(len(xs))}, xs))
}

func (b *builder) scalar(name string, x int64) *graph.Value {
	return b.g.AddConst(name, graph.Scalar(x))
}

func (b *builder) floats(name string, dims []int64) *graph.Value {
	xs := make([]float32, graph.Elements(dims))
	for i := range xs {
		xs[i] = float32(i%7) - 2.5
	}
	return b.g.AddConst(name, graph.NewTensor(dims, xs))
}

func (b *builder) node(op, name string, inputs []*graph.Value, attrs ...*graph.Attr) *graph.Value {
	return b.g.Add(op, name, inputs, attrs...).Output(0)
}

func (b *builder) output(vs ...*graph.Value) *builder {
	for _, v := range vs {
		b.g.AddOutput(v)
	}
	return b
}

type values = []*graph.Value

var batchDim, four = graph.Sym("batch"), graph.Fixed(4)

// goldens are small models and the step that is shown on each; testdata holds
// the printed graph before and after.
var goldens = []struct {
	name  string
	model func() *graph.Model
	clean func(ctx context.Context, m *graph.Model) error
}{
	{"constants", func() *graph.Model {
		b := build(17)
		x := b.input("x", batchDim, four)
		c := b.node("Constant", "c", nil, graph.TensorAttr("value", graph.NewTensor([]int64{4}, []float32{1, 2, 3, 4})))
		k := b.node("Constant", "k", nil, graph.Float("value_float", 0.5))
		kept := b.node("Constant", "kept", nil, graph.Ints("value_ints", 1, 2))
		return b.output(b.node("Mul", "y", values{b.node("Add", "sum", values{x, c}), k}), kept).m
	}, func(_ context.Context, m *graph.Model) error { cleanup.Constants(m); return nil }},

	{"identities", func() *graph.Model {
		b := build(13)
		x := b.input("x", batchDim, graph.Fixed(1), four)
		h := b.node("Identity", "same", values{x})
		h = b.node("Dropout", "drop", values{h})
		h = b.node("Cast", "cast", values{h}, graph.Int("to", int64(graph.Float32)))
		h = b.node("Transpose", "there", values{h}, graph.Ints("perm", 2, 0, 1))
		h = b.node("Transpose", "back", values{h}, graph.Ints("perm", 1, 2, 0))
		h = b.node("Squeeze", "squeezed", values{h, b.ints("one", 1)})
		h = b.node("Unsqueeze", "unsqueezed", values{h, b.ints("axis", 1)})
		h = b.node("Transpose", "unit", values{b.node("Relu", "kept", values{h})}, graph.Ints("perm", 1, 0, 2))
		h = b.node("Transpose", "unit2", values{h}, graph.Ints("perm", 0, 1, 2))
		h = b.node("Slice", "backwards", values{h, b.ints("start", -1), b.ints("end", -9), b.ints("ax", 2), b.ints("step", -1)})
		h = b.node("Mul", "once", values{b.g.AddConst("unity", graph.Scalar(float32(1))), h})
		return b.output(b.node("Identity", "y", values{h}), b.node("Identity", "z", values{x})).m
	}, func(ctx context.Context, m *graph.Model) error {
		shapes, err := eng.Shapes(ctx, m)
		if err == nil {
			cleanup.Identities(m, shapes)
			cleanup.Dead(m)
		}
		return err
	}},

	{"masks", func() *graph.Model {
		b := build(17)
		x := b.input("x", batchDim, four, four)
		float := func(name string, dims []int64, xs ...float32) *graph.Value {
			return b.g.AddConst(name, graph.NewTensor(dims, xs))
		}
		zero, low := float("zero", nil, 0), float("low", nil, float32(math.Inf(-1)))
		batch := b.node("Shape", "batch", values{x}, graph.Int("end", 1))
		all := b.g.AddConst("all", graph.NewTensor([]int64{1, 1, 4}, []bool{true, true, true, true}))
		seen := b.node("Expand", "seen", values{all, b.node("Concat", "size", values{batch, b.ints("square", 4, 4)}, graph.Int("axis", 0))})
		logits := b.node("MatMul", "logits", values{x, x})
		guard := func(name string, v, instead *graph.Value) *graph.Value {
			p := b.node("Softmax", name+"_p", values{v}, graph.Int("axis", -1))
			return b.node("Where", name, values{b.node("IsNaN", name+"_nan", values{p}), instead, p})
		}
		scaled := b.node("Mul", "scaled", values{logits, float("scale", nil, 0.5)})
		idle := guard("idle", b.node("Add", "open", values{scaled, b.node("Where", "mask", values{seen, zero, low})}), zero)
		inf := float32(math.Inf(-1))
		causal := float("causal", []int64{2, 4}, 0, inf, inf, inf, inf, inf, inf, inf)
		rows := b.node("Slice", "rows", values{logits, b.ints("from", 0), b.ints("to", 2), b.ints("axis", 1)})
		needed := guard("needed", b.node("Add", "masked", values{rows, causal}), zero)
		wider := guard("wider", b.node("Relu", "unknown", values{logits}), zero)
		larger := guard("larger", logits, float("zeros", []int64{3, 1, 1, 1}, 0, 0, 0))
		same := b.node("Where", "same", values{b.node("Not", "hidden", values{seen}), float("many", []int64{2, 1, 1, 1}, 1, 1), idle})
		like := b.node("CastLike", "like", values{b.node("Sqrt", "root", values{float("eight", nil, 8)}), logits})
		return b.output(b.node("Mul", "y", values{idle, like}), needed, wider, larger, same).m
	}, func(ctx context.Context, m *graph.Model) error {
		shapes, err := eng.Shapes(ctx, m)
		if err != nil {
			return err
		}
		cleanup.Casts(m, shapes.Elem)
		cleanup.Identities(m, shapes)
		cleanup.Dead(m)
		return nil
	}},

	{"fold", func() *graph.Model {
		b := build(17)
		x := b.input("x", batchDim, four)
		w := b.node("Transpose", "wt", values{b.floats("w", []int64{3, 4})}, graph.Ints("perm", 1, 0))
		parts := b.g.NewNode("Split", "parts")
		parts.SetInputs(b.floats("bias", []int64{6}), b.ints("three", 3, 3))
		parts.SetAttr(graph.Int("axis", 0))
		left, _ := parts.AddOutput("left"), parts.AddOutput("right")
		big := b.node("ConstantOfShape", "big", values{b.node("Concat", "bigdims", values{b.ints("k", 1000), b.ints("l", 1000)}, graph.Int("axis", 0))})
		q := b.node("DequantizeLinear", "q", values{b.g.AddConst("q8", graph.NewTensor([]int64{3}, []int8{1, 2, 3})), b.g.AddConst("scale", graph.Scalar(float32(0.5)))})
		noise := b.node("RandomNormalLike", "noise", values{left})
		h := b.node("Add", "h", values{b.node("MatMul", "mm", values{x, w}), left})
		h = b.node("Add", "hq", values{h, q})
		n := b.node("Mul", "silence", values{noise, b.g.AddConst("zero", graph.Scalar(float32(0)))})
		h = b.node("Add", "hn", values{h, n})
		top := b.node("ReduceMax", "max", values{b.node("Add", "field", values{big, b.node("ReduceMean", "mean", values{x})})})
		return b.output(b.node("Add", "y", values{h, top})).m
	}, func(ctx context.Context, m *graph.Model) error { _, err := cleanup.Fold(ctx, eng, m); return err }},

	{"freeze", func() *graph.Model {
		b := build(14)
		x := b.input("x", batchDim, graph.Fixed(3), four, four)
		h := b.node("Conv", "patch", values{x, b.floats("w", []int64{8, 3, 2, 2})}, graph.Ints("strides", 2, 2))
		dim := func(v *graph.Value, i int64) *graph.Value {
			return b.node("Unsqueeze", "dim", values{b.node("Gather", "at", values{b.node("Shape", "shape", values{v}), b.scalar("i", i)}), b.ints("zero", 0)})
		}
		target := func(vs ...*graph.Value) *graph.Value {
			return b.node("Concat", "target", vs, graph.Int("axis", 0))
		}
		h = b.node("Reshape", "flat", values{h, target(dim(h, 0), b.ints("eight", 8), b.ints("rest", -1))})
		h = b.node("Transpose", "tokens", values{h}, graph.Ints("perm", 0, 2, 1))
		class := b.node("Expand", "class", values{b.floats("token", []int64{1, 1, 8}), target(dim(h, 0), b.ints("one", 1), dim(h, 2))})
		h = b.node("Concat", "all", values{class, h}, graph.Int("axis", 1))
		rows := b.node("Mul", "rows", values{dim(h, 0), dim(h, 1)})
		h = b.node("Reshape", "merged", values{h, target(rows, dim(h, 2))})
		scale := b.node("Sqrt", "root", values{b.node("Cast", "wide", values{dim(h, 1)}, graph.Int("to", int64(graph.Float32)))})
		return b.output(b.node("Div", "y", values{h, scale})).m
	}, func(ctx context.Context, m *graph.Model) error { _, err := cleanup.Freeze(ctx, eng, m); return err }},

	{"branch", func() *graph.Model {
		b := build(17)
		x := b.input("x", batchDim, four)
		h := b.node("Relu", "h", values{x})
		at := b.node("Gather", "width", values{b.node("Shape", "shape", values{h}), b.scalar("i", 1)})
		cond := b.node("Equal", "cond", values{at, b.scalar("want", 4)})
		yes, no := graph.NewGraph("yes"), graph.NewGraph("no")
		yes.AddOutput(yes.Add("Mul", "doubled", values{h, yes.AddConst("two", graph.Scalar(float32(2)))}).Output(0))
		no.AddOutput(no.Add("Neg", "negated", values{h}).Output(0))
		n := b.g.NewNode("If", "choose")
		n.SetInputs(cond)
		n.SetAttr(&graph.Attr{Name: "then_branch", Kind: graph.AttrGraph, Graphs: []*graph.Graph{yes}})
		n.SetAttr(&graph.Attr{Name: "else_branch", Kind: graph.AttrGraph, Graphs: []*graph.Graph{no}})
		return b.output(b.node("Exp", "y", values{n.AddOutput("chosen")})).m
	}, func(ctx context.Context, m *graph.Model) error { _, err := cleanup.Freeze(ctx, eng, m); return err }},

	{"inline", func() *graph.Model {
		b := build(17)
		b.m.IRVersion = 9
		b.m.SetOpset("local", 1)
		b.m.Functions = []*graph.Function{leaky(), twice()}
		n := b.g.NewNode("Twice", "call")
		n.Domain = "local"
		n.SetInputs(b.input("x", batchDim, four))
		n.SetAttr(graph.Float("slope", 0.25))
		n.SetAttr(graph.Int("unused", 1))
		y := n.AddOutput("y")
		y.Type = graph.TensorType(graph.Float32, batchDim, four)
		return b.output(y).m
	}, func(_ context.Context, m *graph.Model) error { _, err := cleanup.Inline(m); return err }},
}

// leaky is LeakyRelu with a slope of its caller's, or of 0.5.
func leaky() *graph.Function {
	f := &graph.Function{Domain: "local", Name: "Leaky", AttrDefaults: []*graph.Attr{graph.Float("slope", 0.5)},
		Opsets: []graph.Opset{{Version: 17}}, Body: graph.NewGraph("Leaky")}
	x := f.Body.AddInput("x", nil)
	f.Body.AddOutput(f.Body.Add("LeakyRelu", "y", values{x}, &graph.Attr{Name: "alpha", Kind: graph.AttrFloat, Ref: "slope"}).Output(0))
	return f
}

// twice calls Leaky with its own slope, then with the default one inside an If.
func twice() *graph.Function {
	f := &graph.Function{Domain: "local", Name: "Twice", AttrNames: []string{"slope"},
		Opsets: []graph.Opset{{Version: 17}, {Domain: "local", Version: 1}}, Body: graph.NewGraph("Twice")}
	x := f.Body.AddInput("x", nil)
	call := func(g *graph.Graph, x *graph.Value, out string) *graph.Node {
		n := g.NewNode("Leaky", "")
		n.Domain = "local"
		n.SetInputs(x)
		n.AddOutput(out)
		return n
	}
	first := call(f.Body, x, "first")
	first.SetAttr(&graph.Attr{Name: "slope", Kind: graph.AttrFloat, Ref: "slope"})
	n := f.Body.NewNode("If", "")
	n.SetInputs(f.Body.Add("Constant", "yes", nil, graph.TensorAttr("value", graph.Scalar(true))).Output(0))
	for _, name := range []string{"then_branch", "else_branch"} {
		g := graph.NewGraph(name)
		n.SetAttr(&graph.Attr{Name: name, Kind: graph.AttrGraph, Graphs: []*graph.Graph{g}})
		g.AddOutput(call(g, first.Output(0), "x").Output(0)) // a name that is taken outside
	}
	f.Body.AddOutput(n.AddOutput("y"))
	return f
}

func TestGoldens(t *testing.T) {
	for _, c := range goldens {
		t.Run(c.name, func(t *testing.T) {
			ctx := context.Background()
			m := c.model()
			if err := m.Check(); err != nil {
				t.Fatal(err)
			}
			before, err := outputs(ctx, m)
			if err != nil {
				t.Fatal(err)
			}
			text := "before: " + m.String()
			if err := c.clean(ctx, m); err != nil {
				t.Fatal(err)
			}
			if err := m.Check(); err != nil {
				t.Fatalf("%v\n%s", err, m)
			}
			text += "\nafter: " + m.String()
			after, err := outputs(ctx, m)
			if err != nil {
				t.Fatalf("%v\n%s", err, m)
			}
			// Known weights are packed, and then multiplied in another order.
			if err := differ(before, after, 1e-6); err != nil {
				t.Error(err)
			}
			golden(t, c.name, text)
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err, "(run with -update)")
	}
	if string(want) != got {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}
