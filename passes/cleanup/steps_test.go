package cleanup_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/internal/fault"
	"nuwa/passes/cleanup"
)

// vit is the start of a ViT whose image dimensions are all open: patches of
// 4×4 pixels, 8 channels, and position embeddings for the given tokens.
func vit(tokens int64) *graph.Model {
	b := build(17)
	x := b.input("pixels", batchDim, graph.Sym("channels"), graph.Sym("height"), graph.Sym("width"))
	h := b.node("Conv", "patch", values{x, b.floats("w", []int64{8, 3, 4, 4})}, graph.Ints("strides", 4, 4))
	h = b.node("Reshape", "flat", values{h, b.ints("target", 0, 8, -1)})
	h = b.node("Transpose", "tokens", values{h}, graph.Ints("perm", 0, 2, 1))
	first := b.node("Slice", "first", values{h, b.ints("zero", 0), b.ints("one", 1), b.ints("axis", 1)})
	h = b.node("Concat", "all", values{first, h}, graph.Int("axis", 1))
	// A head of ten classes, which is no embedding of 1 + 3·3 tokens.
	h = b.node("Gemm", "logits", values{b.node("Reshape", "rows", values{h, b.ints("row", -1, 8)}), b.floats("head", []int64{10, 8})}, graph.Int("transB", 1))
	h = b.node("Gemm", "back", values{h, b.floats("tail", []int64{10, 8})})
	h = b.node("Reshape", "cols", values{h, b.ints("col", -1, tokens, 8)})
	y := b.node("Add", "y", values{h, b.floats("position", []int64{1, tokens, 8})})
	y.Type = graph.TensorType(graph.Float32, batchDim, graph.Sym("tokens"), graph.Fixed(8))
	return b.output(y).m
}

func TestSettle(t *testing.T) {
	for _, c := range []struct {
		name   string
		tokens int64
		hint   [2]int
		size   string
		note   string
	}{
		{"position embeddings", 1 + 36, [2]int{}, "f32[batch,3,24,24]", `position embedding "position"`},
		{"hint", 1 + 6, [2]int{8, 12}, "f32[batch,3,8,12]", "asked for"},
		{"wrong hint", 1 + 36, [2]int{16, 16}, "f32[batch,3,24,24]", "does not run at 16x16"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := vit(c.tokens)
			note, err := cleanup.Settle(context.Background(), eng, m, c.hint)
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Graph.Inputs()[0].Type.String(); got != c.size || !strings.Contains(note, c.note) {
				t.Errorf("got %s, %q, want %s and %q", got, note, c.size, c.note)
			}
			if got, want := m.Graph.Outputs()[0].Type.String(), fmt.Sprintf("f32[batch,%d,8]", c.tokens); got != want {
				t.Errorf("the output is %s, want %s", got, want)
			}
			if again, err := cleanup.Settle(context.Background(), eng, m, c.hint); again != "" || err != nil {
				t.Errorf("settled again: %q, %v", again, err)
			}
		})
	}
	m := vit(1 + 6) // no square, and not asked for
	before := m.String()
	_, err := cleanup.Settle(context.Background(), eng, m, [2]int{})
	if fault.KindOf(err) != fault.Model || !strings.Contains(err.Error(), "224x224") || !strings.Contains(err.Error(), "--size") {
		t.Errorf("got %v, want an error that lists the sizes", err)
	}
	if m.String() != before {
		t.Error("a model that cannot be settled was changed")
	}
}

func TestFinite(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, c := range []struct {
		typ   graph.DType
		dims  []int64
		elems []float64
		op    string
		want  string // what the error names; "" for none
	}{
		{graph.Float32, []int64{3}, []float64{1, -2, 3}, "Mul", ""},
		{graph.Float32, []int64{3}, []float64{1, nan, 3}, "Mul", `"weight": got NaN at element 1 of f32[3]`},
		{graph.Float16, []int64{2, 2}, []float64{1, 2, 3, inf}, "Add", "+Inf at element 3 of f16[2,2]"},
		{graph.BFloat16, []int64{2}, []float64{-inf, 2}, "Add", "-Inf at element 0 of bf16[2]"},
		{graph.Float64, []int64{1, 2}, []float64{nan, 2}, "Add", "NaN at element 0 of f64[1,2]"},
		{graph.Float32, []int64{2, 2}, []float64{0, -inf, 0, 0}, "Add", ""},        // a mask
		{graph.Float32, []int64{2, 2}, []float64{0, -inf, 0, nan}, "Add", "NaN"},   // a bad mask
		{graph.Float32, []int64{2, 2}, []float64{0, -inf, 0, 0}, "MatMul", "-Inf"}, // weights
		{graph.Float32, nil, []float64{inf}, "Min", ""},                            // a bound
	} {
		b := build(17)
		w, err := graph.FromFloats(c.typ, c.dims, c.elems)
		if err != nil {
			t.Fatal(err)
		}
		x := b.g.AddInput("x", graph.TensorType(c.typ, batchDim, graph.Fixed(2)))
		m := b.output(b.node(c.op, "y", values{x, b.g.AddConst("weight", w)})).m
		err = cleanup.Finite(m)
		if c.want == "" && err != nil || c.want != "" && (fault.KindOf(err) != fault.Model || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s %v %s: got %v, want %q", c.typ, c.elems, c.op, err, c.want)
		}
	}
}

func TestDuplicates(t *testing.T) {
	b := build(17)
	x := b.input("x", batchDim, four)
	h := b.node("MatMul", "m1", values{x, b.floats("w1", []int64{4, 4})})
	h = b.node("MatMul", "m2", values{h, b.floats("w2", []int64{4, 4})}) // equal, but a weight
	h = b.node("Add", "a1", values{h, b.floats("b1", []int64{4})})
	h = b.node("Add", "a2", values{h, b.floats("b2", []int64{4})})
	h = b.node("Add", "a3", values{h, b.floats("b3", []int64{1, 4})}) // other dimensions
	h = b.node("Reshape", "r", values{h, b.ints("k1", -1, 4)})
	h = b.node("Reshape", "s", values{h, b.ints("k2", -1, 4)})
	m := b.output(h).m
	if n := cleanup.Duplicates(m); n != 2 {
		t.Errorf("merged %d, want 2\n%s", n, m)
	}
	if m.Graph.Value("w2") == nil || m.Graph.Value("b3") == nil || m.Graph.Value("b2") != nil || m.Graph.Value("k2") != nil {
		t.Errorf("merged the wrong ones\n%s", m)
	}
	if err := m.Check(); err != nil {
		t.Error(err)
	}
}

func TestInlineRefuses(t *testing.T) {
	call := func(b *builder, op string) *graph.Model {
		b.m.SetOpset("local", 1)
		n := b.g.NewNode(op, "call")
		n.Domain = "local"
		n.SetInputs(b.input("x", batchDim, four))
		return b.output(n.AddOutput("y")).m
	}
	m := call(build(16), "Leaky")
	m.Functions = []*graph.Function{leaky()} // written in opset 17
	done, err := cleanup.Inline(m)
	if err != nil || done.Calls != 0 || len(done.Kept) != 1 || !strings.Contains(done.Kept[0], "opset 17") || len(m.Functions) != 1 {
		t.Errorf("a function of another opset: %+v, %v", done, err)
	}
	loop := &graph.Function{Domain: "local", Name: "Loop", Opsets: []graph.Opset{{Version: 17}}, Body: graph.NewGraph("Loop")}
	n := loop.Body.NewNode("Loop", "")
	n.Domain = "local"
	n.SetInputs(loop.Body.AddInput("x", nil))
	loop.Body.AddOutput(n.AddOutput("y"))
	m = call(build(17), "Loop")
	m.Functions = []*graph.Function{loop}
	if _, err := cleanup.Inline(m); fault.KindOf(err) != fault.Model || !strings.Contains(err.Error(), "calls itself") {
		t.Errorf("a function that calls itself: %v", err)
	}
}

// sub makes a node with graphs as attributes.
func sub(b *builder, op string, inputs values, graphs map[string]*graph.Graph, order ...string) *graph.Value {
	n := b.g.NewNode(op, op)
	n.SetInputs(inputs...)
	for _, name := range order {
		n.SetAttr(&graph.Attr{Name: name, Kind: graph.AttrGraph, Graphs: []*graph.Graph{graphs[name]}})
	}
	return n.AddOutput(b.g.UniqueName(op + "_out"))
}

// Constants are folded inside branches, and a Loop over constants as a whole.
func TestFoldControlFlow(t *testing.T) {
	b := build(17)
	x := b.input("x", batchDim, four)
	two := b.floats("two", []int64{2, 2})
	flip := b.node("Transpose", "flip", values{two}, graph.Ints("perm", 1, 0))

	body := graph.NewGraph("body")
	body.AddInput("i", graph.TensorType(graph.Int64))
	body.AddInput("go", graph.TensorType(graph.Bool))
	sum := body.AddInput("sum", graph.TensorType(graph.Float32, graph.Fixed(2), graph.Fixed(2)))
	body.AddOutput(body.Add("Identity", "on", values{body.Value("go")}).Output(0))
	body.AddOutput(body.Add("Add", "next", values{sum, flip}).Output(0))
	total := sub(b, "Loop", values{b.scalar("trips", 3), b.g.AddConst("true", graph.Scalar(true)), two}, map[string]*graph.Graph{"body": body}, "body")
	total = b.node("Reshape", "row", values{total, b.ints("four", 4)})
	h := b.node("Add", "h", values{x, total})

	cond := b.node("Less", "cond", values{b.node("ReduceSum", "rs", values{x}, graph.Int("keepdims", 0)), b.g.AddConst("bound", graph.Scalar(float32(0)))})
	branches := map[string]*graph.Graph{}
	for _, name := range []string{"then_branch", "else_branch"} {
		g := graph.NewGraph(name)
		c := g.AddConst(name+"_c", graph.NewTensor([]int64{4}, []float32{1, 2, 3, float32(len(name))}))
		g.AddOutput(g.Add("Mul", name+"_y", values{h, g.Add("Exp", name+"_e", values{c}).Output(0)}).Output(0))
		branches[name] = g
	}
	y := sub(b, "If", values{cond}, branches, "then_branch", "else_branch")
	y.Type = graph.TensorType(graph.Float32, batchDim, four)
	m := b.output(y).m
	before, err := outputs(context.Background(), m)
	if err != nil {
		t.Fatal(err)
	}
	done, err := cleanup.Fold(context.Background(), eng, m)
	if err != nil || done.Values != 3 || len(done.Kept) > 0 {
		t.Errorf("got %+v, %v, want three values\n%s", done, err, m)
	}
	if text := m.String(); strings.Contains(text, "Loop(") || strings.Contains(text, "Exp(") || strings.Contains(text, "Transpose(") {
		t.Errorf("constants are left to compute\n%s", m)
	}
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	after, err := outputs(context.Background(), m)
	if err != nil {
		t.Fatal(err)
	}
	if err := differ(before, after, 0); err != nil {
		t.Error(err)
	}
}

// One node that ONNX Runtime has no kernel for does not spoil the rest.
func TestFoldKeepsWhatCannotRun(t *testing.T) {
	b := build(17)
	x := b.input("x", batchDim, four)
	bad := b.node("Reshape", "bad", values{b.floats("four", []int64{4}), b.ints("three", 3)})
	_ = bad
	h := b.node("Add", "h", values{x, b.node("Exp", "e", values{b.floats("c", []int64{4})})})
	h = b.node("Add", "i", values{h, b.node("Neg", "n", values{b.floats("d", []int64{4})})})
	dead := b.node("Add", "dead", values{h, bad})
	m := b.output(h, dead).m
	done, err := cleanup.Fold(context.Background(), eng, m)
	if err != nil || done.Values != 2 || len(done.Kept) != 1 || !strings.Contains(done.Kept[0], `Reshape "bad"`) {
		t.Errorf("got %+v, %v, want two values and the reason for the third", done, err)
	}
}

// What grows faster than the batch stays, and what is equal at two batch sizes
// is not taken for constant.
func TestFreezeProves(t *testing.T) {
	b := build(17)
	x := b.input("x", batchDim, four)
	h := b.node("Relu", "h", values{x})
	n := b.node("Gather", "n", values{b.node("Shape", "shape", values{h}), b.ints("zero", 0)})
	square := b.node("Mul", "square", values{n, n})
	clamp := b.node("Max", "clamp", values{n, b.ints("two", 2)}) // 2 at batch 1 and 2, 3 at 3
	y := b.node("Expand", "y", values{b.floats("c", []int64{1, 1}), b.node("Concat", "dims", values{square, clamp}, graph.Int("axis", 0))})
	m := b.output(y, h).m
	before, err := outputs(context.Background(), m)
	if err != nil {
		t.Fatal(err)
	}
	done, err := cleanup.Freeze(context.Background(), eng, m)
	if err != nil || done.Constants != 0 || done.Rerooted != 1 {
		t.Errorf("got %+v, %v, want one rerooted value", done, err)
	}
	if bad := leftovers(m); len(bad) > 0 {
		t.Errorf("left: %v\n%s", bad, m)
	}
	after, err := outputs(context.Background(), m)
	if err != nil {
		t.Fatal(err)
	}
	if err := differ(before, after, 0); err != nil {
		t.Error(err)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range goldens {
		if c.name != "fold" && c.name != "freeze" {
			continue
		}
		if err := c.clean(ctx, c.model()); fault.KindOf(err) != fault.Interrupted {
			t.Errorf("%s: got %v, want an interruption", c.name, err)
		}
	}
}
