package expand_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/ort"
	"nuwa/passes/expand"
)

func TestMain(m *testing.M) {
	if _, err := ort.Load(""); err != nil {
		println(err.Error())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

var eng = &engine.Engine{Threads: 1, Plain: true}

// drawn is a model of one operator whose attributes are drawn.
type drawn struct {
	*rand.Rand
	m     *graph.Model
	g     *graph.Graph
	batch graph.Dim
}

func (d *drawn) flip() bool { return d.IntN(2) == 0 }

// in adds an input; -1 is the batch.
func (d *drawn) in(dims ...int64) *graph.Value { return d.typed(graph.Float32, dims...) }

func (d *drawn) typed(elem graph.DType, dims ...int64) *graph.Value {
	ds := make([]graph.Dim, len(dims))
	for i, x := range dims {
		ds[i] = graph.Fixed(x)
		if x < 0 {
			ds[i] = d.batch
		}
	}
	return d.g.AddInput(fmt.Sprintf("x%d", len(d.g.Inputs())), graph.TensorType(elem, ds...))
}

// weight adds a constant of random numbers.
func (d *drawn) weight(dims ...int64) *graph.Value {
	xs := make([]float32, graph.Elements(dims))
	for i := range xs {
		xs[i] = float32(d.NormFloat64()) * 0.4
	}
	return d.g.AddConst("w", graph.NewTensor(dims, xs))
}

// ints adds a constant of integers below n.
func (d *drawn) ints32(n int32, dims ...int64) *graph.Value {
	xs := make([]int32, graph.Elements(dims))
	for i := range xs {
		xs[i] = d.Int32N(n)
	}
	return d.g.AddConst("ids", graph.NewTensor(dims, xs))
}

// fused adds the operator, in the given domain, and returns its results.
func (d *drawn) fused(domain, op string, results int, inputs []*graph.Value, attrs ...*graph.Attr) {
	n := d.g.NewNode(op, "fused")
	n.Domain = domain
	if domain != "" {
		d.m.SetOpset(domain, 1)
	}
	for len(inputs) > 0 && inputs[len(inputs)-1] == nil {
		inputs = inputs[:len(inputs)-1]
	}
	n.SetInputs(inputs...)
	for _, a := range attrs {
		if a != nil {
			n.SetAttr(a)
		}
	}
	for i := range results {
		d.g.AddOutput(n.AddOutput(fmt.Sprintf("y%d", i)))
	}
}

func run(t *testing.T, m *graph.Model, batch int) (map[string]*graph.Tensor, error) {
	feeds, err := engine.Inputs(m, batch, 3)
	if err != nil {
		t.Fatal(err)
	}
	return runOn(t, m, feeds)
}

func runOn(t *testing.T, m *graph.Model, feeds map[string]*graph.Tensor) (map[string]*graph.Tensor, error) {
	var names []string
	for _, v := range m.Graph.Outputs() {
		names = append(names, v.Name())
	}
	out, err := eng.Compute(t.Context(), m, names, feeds)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// distance is the largest difference, relative to the largest number.
func distance(t *testing.T, a, b map[string]*graph.Tensor) float64 {
	worst := 0.0
	for name, x := range a {
		y := b[name]
		if y == nil || x.Shape() != y.Shape() {
			t.Errorf("output %s is %v, was %s", name, y, x.Shape())
			return math.Inf(1)
		}
		xs, err := x.Floats()
		if err != nil {
			t.Fatal(err)
		}
		ys, err := y.Floats()
		if err != nil {
			t.Fatal(err)
		}
		top, diff := 1e-30, 0.0
		for i := range xs {
			if xs[i] == ys[i] || xs[i] != xs[i] && ys[i] != ys[i] {
				continue
			}
			d := math.Abs(xs[i] - ys[i])
			if d != d {
				d = math.Inf(1)
			}
			top, diff = math.Max(top, math.Abs(xs[i])), math.Max(diff, d)
		}
		worst = math.Max(worst, diff/top)
	}
	return worst
}

// Operators whose attributes and operands are drawn at random are written out
// as something equal, or stay for a reason that is expected of the draw.
func TestDrawnOperators(t *testing.T) {
	const batch = -1
	one := func(xs ...int64) func(d *drawn) int64 {
		return func(d *drawn) int64 { return xs[d.IntN(len(xs))] }
	}
	heads, width := one(1, 2, 3), one(4, 6, 8)
	maybe := func(d *drawn, v func() *graph.Value) *graph.Value {
		if d.flip() {
			return nil
		}
		return v()
	}
	attr := func(d *drawn, a *graph.Attr) *graph.Attr {
		if d.flip() {
			return nil
		}
		return a
	}
	mask := func(d *drawn, queries, keys int64) *graph.Value {
		switch d.IntN(5) {
		case 0:
			return nil
		case 1: // lengths; whole numbers that inputs cannot be drawn as
			ones := d.typed(graph.Int32, batch)
			return d.g.Add("Add", "lengths", []*graph.Value{ones, d.g.AddConst("k", graph.NewTensor([]int64{1}, []int32{int32(keys) - 2}))}).Output(0)
		case 2: // ends, then starts
			ones := d.typed(graph.Int32, batch)
			end := d.g.Add("Add", "ends", []*graph.Value{ones, d.g.AddConst("k", graph.NewTensor([]int64{1}, []int32{int32(keys) - 2}))}).Output(0)
			return d.g.Add("Concat", "both", []*graph.Value{end, d.typed(graph.Int32, batch)}, graph.Int("axis", 0)).Output(0)
		case 3:
			return d.typed(graph.Int32, batch, keys)
		}
		return d.typed(graph.Int32, batch, queries, keys)
	}
	for name, c := range map[string]struct {
		opsets []int64
		tol    float64
		draw   func(d *drawn)
	}{
		"Gelu": {[]int64{11, 14, 20}, 1e-6, func(d *drawn) { d.fused("com.microsoft", "Gelu", 1, []*graph.Value{d.in(batch, 5, 6)}) }},
		"BiasGelu": {[]int64{11, 14, 20}, 1e-6, func(d *drawn) {
			d.fused("com.microsoft", "BiasGelu", 1, []*graph.Value{d.in(batch, 5, 6), d.weight(6)})
		}},
		"FastGelu": {[]int64{11, 14, 20}, 3e-6, func(d *drawn) {
			d.fused("com.microsoft", "FastGelu", 1, []*graph.Value{d.in(batch, 5, 6), maybe(d, func() *graph.Value { return d.weight(6) })})
		}},
		"QuickGelu": {[]int64{11, 17}, 1e-6, func(d *drawn) {
			d.fused("com.microsoft", "QuickGelu", 1, []*graph.Value{d.in(batch, 5, 6)}, attr(d, graph.Float("alpha", float32(one(1, 2, 3)(d)))))
		}},
		"LayerNormalization": {[]int64{11, 14, 16}, 1e-6, func(d *drawn) {
			axis, dims := int64(-1), []int64{6}
			if d.IntN(3) == 0 {
				axis, dims = 1, []int64{5, 6}
			}
			d.fused("", "LayerNormalization", 1, []*graph.Value{d.in(batch, 5, 6), d.weight(dims...), maybe(d, func() *graph.Value { return d.weight(dims...) })},
				graph.Int("axis", axis), attr(d, graph.Float("epsilon", 0.1)))
		}},
		"SimplifiedLayerNormalization": {[]int64{11, 17, 23}, 1e-6, func(d *drawn) {
			d.fused("", "SimplifiedLayerNormalization", 1, []*graph.Value{d.in(batch, 5, 6), d.weight(6)}, graph.Int("axis", -1), attr(d, graph.Float("epsilon", 0.1)))
		}},
		"SkipLayerNormalization": {[]int64{11, 14, 18}, 1e-6, func(d *drawn) {
			skip := []int64{batch, 5, 6}
			if d.IntN(3) == 0 {
				skip = []int64{1, 5, 6}
			}
			d.fused("com.microsoft", "SkipLayerNormalization", 1, []*graph.Value{d.in(batch, 5, 6), d.in(skip...), d.weight(6),
				maybe(d, func() *graph.Value { return d.weight(6) }), maybe(d, func() *graph.Value { return d.weight(6) })}, attr(d, graph.Float("epsilon", 0.1)))
			if d.flip() {
				n := d.g.Outputs()[0].Producer()
				n.AddOutput("")
				n.AddOutput("")
				d.g.AddOutput(n.AddOutput("sum"))
			}
		}},
		"SkipSimplifiedLayerNormalization": {[]int64{11, 14, 23}, 1e-6, func(d *drawn) {
			d.fused("com.microsoft", "SkipSimplifiedLayerNormalization", 1, []*graph.Value{d.in(batch, 5, 6), d.in(batch, 5, 6), d.weight(6),
				maybe(d, func() *graph.Value { return d.weight(6) })}, attr(d, graph.Float("epsilon", 0.1)))
		}},
		"EmbedLayerNormalization": {[]int64{11, 17}, 1e-6, func(d *drawn) {
			ids := d.typed(graph.Int32, batch, 5)
			d.fused("com.microsoft", "EmbedLayerNormalization", 1, []*graph.Value{ids, d.typed(graph.Int32, batch, 5), d.weight(2, 6), d.weight(8, 6), d.weight(2, 6),
				d.weight(6), d.weight(6), nil, maybe(d, func() *graph.Value { return d.ints32(8, 1, 5) })}, attr(d, graph.Float("epsilon", 0.1)))
			d.g.Outputs()[0].Producer().AddOutput("mask_index") // without which ONNX Runtime stops the process
		}},
		"FusedMatMul": {[]int64{11, 17}, 1e-6, func(d *drawn) {
			ta, tb, ba, bb := d.IntN(2), d.IntN(2), d.IntN(2), d.IntN(2)
			shape := func(rows, cols int64, swap, lead int) []int64 {
				if swap == 1 {
					rows, cols = cols, rows
				}
				if lead == 1 {
					return []int64{rows, 2, 3, cols}
				}
				return []int64{2, 3, rows, cols}
			}
			d.fused("com.microsoft", "FusedMatMul", 1, []*graph.Value{d.in(shape(4, 5, ta, ba)...), d.in(shape(5, 6, tb, bb)...)},
				graph.Int("transA", int64(ta)), graph.Int("transB", int64(tb)), graph.Int("transBatchA", int64(ba)), graph.Int("transBatchB", int64(bb)),
				attr(d, graph.Float("alpha", 0.3)))
		}},
		"FusedMatMul of a weight": {[]int64{11, 17}, 1e-6, func(d *drawn) {
			d.fused("com.microsoft", "FusedMatMul", 1, []*graph.Value{d.in(batch, 4, 5), d.weight(6, 5)}, graph.Int("transB", 1), attr(d, graph.Float("alpha", 0.3)))
		}},
		"FusedGemm": {[]int64{11, 13}, 1e-6, func(d *drawn) {
			name := []string{"Relu", "Tanh", "Sigmoid", "LeakyRelu", "HardSigmoid"}[d.IntN(5)]
			var alpha *graph.Attr
			if name == "LeakyRelu" || name == "HardSigmoid" {
				alpha = graph.Float("activation_alpha", 0.3)
			}
			var beta *graph.Attr
			if name == "HardSigmoid" {
				beta = graph.Float("activation_beta", 0.4)
			}
			d.fused("com.microsoft", "FusedGemm", 1, []*graph.Value{d.in(batch, 5), d.weight(6, 5), d.weight(6)}, graph.Int("transB", 1),
				graph.Str("activation", name), alpha, beta, attr(d, graph.Float("alpha", 0.7)), attr(d, graph.Float("beta", 0.7)))
		}},
		"FusedConv": {[]int64{11, 13}, 1e-6, func(d *drawn) {
			name := []string{"Relu", "Tanh", "Sigmoid", "LeakyRelu", "Clip", "HardSigmoid"}[d.IntN(6)]
			params := map[string][]float32{"LeakyRelu": {0.3}, "Clip": {-0.4, 0.7}, "HardSigmoid": {0.3, 0.4}}[name]
			var p *graph.Attr
			if params != nil {
				p = &graph.Attr{Name: "activation_params", Kind: graph.AttrFloats, Floats: params}
			}
			d.fused("com.microsoft", "FusedConv", 1, []*graph.Value{d.in(batch, 3, 8, 8), d.weight(4, 3, 2, 2), d.weight(4), maybe(d, func() *graph.Value { return d.in(batch, 4, 4, 4) })},
				graph.Ints("strides", 2, 2), graph.Ints("kernel_shape", 2, 2), graph.Str("activation", name), p)
		}},
		"Einsum": {[]int64{12, 14, 18}, 1e-6, func(d *drawn) {
			size := map[rune]int64{'b': batch, 'n': 5, 'm': 4, 'h': 2, 'd': 3, 'e': 6}
			text := []string{"bnhd,bmhd->bhnm", "bhnm,bmhd->bnhd", "bmhd,bnhd->bhnm", "bnd,de->bne", "de,bnd->bne", "bnd,dhe->bnhe", "bnhe,hed->bnd",
				"bn, n -> b", "b,n", "bnd,bnd->bn", "bhnd,hde->bnhe", "nd,md", "bnm,bnm->bmn", "bnd,ed->ebn"}[d.IntN(14)]
			left, _, _ := strings.Cut(strings.ReplaceAll(text, " ", ""), "->")
			var ins []*graph.Value
			for _, term := range strings.Split(left, ",") {
				var dims []int64
				for _, r := range term {
					dims = append(dims, size[r])
				}
				if slices.Contains(dims, int64(batch)) || d.flip() {
					ins = append(ins, d.in(dims...))
				} else {
					ins = append(ins, d.weight(dims...))
				}
			}
			d.fused("", "Einsum", 1, ins, graph.Str("equation", text))
		}},
		"com.microsoft.Attention": {[]int64{11, 14, 18}, 1e-5, func(d *drawn) {
			h, w, out := heads(d), width(d), width(d)
			var sizes *graph.Attr
			if d.flip() {
				sizes = graph.Ints("qkv_hidden_sizes", h*w, h*w, h*out)
			} else {
				out = w
			}
			total := h * (2*w + out)
			var bias *graph.Value
			if d.IntN(8) != 0 { // without which ONNX Runtime would stop the process
				bias = d.weight(total)
			}
			d.fused("com.microsoft", "Attention", 1, []*graph.Value{d.in(batch, 5, 7), d.weight(7, total), bias,
				mask(d, 5, 5), nil, maybe(d, func() *graph.Value { return d.in([]int64{1, batch}[d.IntN(2)], h, 5, 5) })},
				graph.Int("num_heads", h), sizes, attr(d, graph.Float("scale", 0.3)), attr(d, graph.Float("mask_filter_value", -3)), attr(d, graph.Int("unidirectional", 1)))
		}},
		"com.microsoft.MultiHeadAttention": {[]int64{11, 14, 18}, 1e-5, func(d *drawn) {
			h, w, out := heads(d), width(d), width(d)
			keys := int64(5)
			in := []*graph.Value{d.in(batch, 5, h*w)}
			switch d.IntN(3) {
			case 0:
				in = append(in, d.in(batch, keys, h*w), d.in(batch, keys, h*out), d.weight(h*(2*w+out)))
			case 1:
				keys = 7
				in = append(in, d.in(batch, h, keys, w), d.in(batch, h, keys, w), nil)
			default:
				keys = 7
				in = append(in, d.in(batch, keys, h*w), d.in(batch, keys, h*out), nil)
			}
			in = append(in, mask(d, 5, keys), maybe(d, func() *graph.Value { return d.in([]int64{1, batch}[d.IntN(2)], []int64{1, h}[d.IntN(2)], 5, keys) }))
			d.fused("com.microsoft", "MultiHeadAttention", 1, in,
				graph.Int("num_heads", h), attr(d, graph.Float("scale", 0.3)), attr(d, graph.Float("mask_filter_value", -3)), attr(d, graph.Int("unidirectional", 1)))
		}},
		"com.microsoft.RotaryEmbedding": {[]int64{11, 17}, 1e-6, func(d *drawn) {
			h, half := heads(d), width(d)
			in := d.in(batch, 5, h*2*half)
			ids := d.g.Add("Expand", "ids", []*graph.Value{d.g.AddConst("i", graph.NewTensor([]int64{1, 5}, []int64{3, 1, 4, 1, 5})), d.dimsOf(in, 5)}).Output(0)
			var n *graph.Attr
			if d.flip() {
				n = graph.Int("num_heads", h)
			}
			d.fused("com.microsoft", "RotaryEmbedding", 1, []*graph.Value{in, ids, d.weight(8, half), d.weight(8, half)}, n, attr(d, graph.Int("interleaved", 1)))
		}},
		"RotaryEmbedding": {[]int64{23}, 1e-6, func(d *drawn) {
			h, half, rest := heads(d), width(d), one(0, 2)(d)
			in := d.in(batch, 5, h*(2*half+rest))
			n := graph.Int("num_heads", h)
			if d.flip() {
				d.g.RemoveInput(in)
				in, n = d.in(batch, h, 5, 2*half+rest), nil
			}
			var turned *graph.Attr
			if rest > 0 {
				turned = graph.Int("rotary_embedding_dim", 2*half)
			}
			if d.flip() {
				ids := d.g.Add("Expand", "ids", []*graph.Value{d.g.AddConst("i", graph.NewTensor([]int64{1, 5}, []int64{3, 1, 4, 1, 5})), d.dimsOf(in, 5)}).Output(0)
				d.fused("", "RotaryEmbedding", 1, []*graph.Value{in, d.weight(8, half), d.weight(8, half), ids}, n, turned, attr(d, graph.Int("interleaved", 1)))
			} else {
				d.fused("", "RotaryEmbedding", 1, []*graph.Value{in, d.in(batch, 5, half), d.in(batch, 5, half)}, n, turned, attr(d, graph.Int("interleaved", 1)))
			}
		}},
		"Attention": {[]int64{23, 24}, 1e-5, func(d *drawn) {
			g, w, out, times := heads(d), width(d), width(d), one(1, 2)(d)
			h, keys := g*times, one(5, 7)(d)
			var in []*graph.Value
			var a, b *graph.Attr
			if d.flip() {
				in = []*graph.Value{d.in(batch, 5, h*w), d.in(batch, keys, g*w), d.in(batch, keys, g*out)}
				a, b = graph.Int("q_num_heads", h), graph.Int("kv_num_heads", g)
			} else {
				in = []*graph.Value{d.in(batch, h, 5, w), d.in(batch, g, keys, w), d.in(batch, g, keys, out)}
			}
			switch d.IntN(6) {
			case 4: // flags that are computed, rows without a key among them
				in = append(in, d.typed(graph.Bool, batch, 1, 5, keys))
			case 5:
				in = append(in, d.in(5, keys))
			case 0:
				in = append(in, d.weight(5, keys))
			case 1:
				in = append(in, d.weight(1, h, 5, keys))
			case 2:
				flags := make([]bool, 5*keys)
				for i := range flags {
					flags[i] = i%int(keys) == 0 || d.flip()
				}
				in = append(in, d.g.AddConst("flags", graph.NewTensor([]int64{5, keys}, flags)))
			}
			d.fused("", "Attention", 1, in, a, b, attr(d, graph.Float("scale", 0.3)), attr(d, graph.Float("softcap", 0.7)), attr(d, graph.Int("is_causal", 1)))
			if mode := d.IntN(6); mode < 4 {
				n := d.g.Outputs()[0].Producer()
				n.AddOutput("")
				n.AddOutput("")
				d.g.AddOutput(n.AddOutput("qk"))
				n.SetAttr(graph.Int("qk_matmul_output_mode", int64(mode)))
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			ran, expanded, worst := 0, 0, 0.0
			reasons := map[string]int{}
			for seed := range uint64(16) {
				for _, opset := range c.opsets {
					d := &drawn{Rand: rand.New(rand.NewPCG(seed, 9)), m: graph.NewModel(graph.Opset{Version: opset}), batch: graph.Sym("N")}
					d.m.IRVersion = 10
					d.g = d.m.Graph
					c.draw(d)
					ok, moved, why := tried(t, d.m)
					if !ok {
						reasons["ONNX Runtime: "+why]++
						continue
					}
					ran++
					if why != "" {
						reasons[why]++
						continue
					}
					expanded++
					worst = math.Max(worst, moved)
					if !(moved <= c.tol) {
						t.Errorf("seed %d, opset %d: moved by %.3g", seed, opset, moved)
						if os.Getenv("NUWA_PRINT") != "" {
							t.Log(d.m)
						}
					}
				}
			}
			t.Logf("%d ran, %d expanded, moved by at most %.2g; %v", ran, expanded, worst, reasons)
			if expanded < 10 {
				t.Errorf("only %d of %d were expanded: %v", expanded, ran, reasons)
			}
		})
	}
}

// dimsOf is [batch of v, n].
func (d *drawn) dimsOf(v *graph.Value, n int64) *graph.Value {
	s := d.g.Add("Shape", "", []*graph.Value{v}).Output(0)
	b := d.g.Add("Gather", "", []*graph.Value{s, d.g.AddConst("zero", graph.NewTensor([]int64{1}, []int64{0}))}).Output(0)
	return d.g.Add("Concat", "", []*graph.Value{b, d.g.AddConst("n", graph.NewTensor([]int64{1}, []int64{n}))}, graph.Int("axis", 0)).Output(0)
}

// tried expands m and runs it before and after. ok is false where ONNX Runtime
// does not run it before; why says why nothing was expanded.
func tried(t *testing.T, m *graph.Model) (ok bool, moved float64, why string) {
	t.Helper()
	before := m.Clone()
	batches := []int{1, 3}
	var want []map[string]*graph.Tensor
	for _, b := range batches {
		out, err := run(t, before, b)
		if err != nil {
			return false, 0, err.Error()
		}
		want = append(want, out)
	}
	shapes, err := eng.Shapes(t.Context(), m)
	if err != nil {
		return false, 0, err.Error()
	}
	done := expand.Expand(m, shapes)
	if err := m.Graph.Sort(); err != nil {
		t.Fatal(err)
	}
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	if done.Nodes == 0 {
		return true, 0, strings.Join(done.Kept, "; ")
	}
	if slices.ContainsFunc(m.Graph.Nodes(), func(n *graph.Node) bool { return n.Domain != "" }) || m.Opset("com.microsoft") != 0 {
		t.Errorf("the domain com.microsoft is left:\n%s", m)
	}
	for i, b := range batches {
		out, err := run(t, m, b)
		if err != nil {
			t.Errorf("expanded: %v", err)
			return true, math.Inf(1), ""
		}
		moved = math.Max(moved, distance(t, want[i], out))
	}
	return true, moved, ""
}
