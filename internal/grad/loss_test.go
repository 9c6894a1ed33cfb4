package grad

import (
	"context"
	"math"
	"slices"
	"testing"

	"nuwa/graph"
	"nuwa/internal/fault"
)

// logitsModel returns what it is given, through an operator where op is not
// empty.
func logitsModel(opset int64, op string, attrs ...*graph.Attr) (m *graph.Model, out string) {
	m = graph.NewModel(graph.Opset{Version: opset})
	z := m.Graph.AddInput("z", graph.TensorType(graph.Float64, graph.Sym("batch"), graph.Fixed(4)))
	if op == "" {
		op = "Identity"
	}
	y := m.Graph.Add(op, "out", []*graph.Value{z}, attrs...).Output(0)
	m.Graph.AddOutput(y)
	return m, y.Name()
}

var (
	zs      = []float64{0.3, -1.2, 2, 0.1, 1.5, 0.2, -0.4, -2, 0.9, 1.1, 0.2, -0.7}
	labels3 = []int64{2, 0, 1}
	weights = []float64{1, 2, 0.5}
)

// crossEntropy is written down as in a textbook: −log softmax(z)[label].
func crossEntropy(z []float64, label int64) float64 {
	sum := 0.0
	for _, x := range z {
		sum += math.Exp(x)
	}
	return math.Log(sum) - z[label]
}

func rowsOf(z []float64, width int) [][]float64 { return slices.Collect(slices.Chunk(z, width)) }

func TestCrossEntropy(t *testing.T) {
	ctx := context.Background()
	softmax := func(row []float64) []float64 {
		p, sum := make([]float64, len(row)), 0.0
		for i, x := range row {
			p[i] = math.Exp(x)
			sum += p[i]
		}
		for i := range p {
			p[i] /= sum
		}
		return p
	}
	for _, c := range []struct {
		name  string
		op    string
		attrs []*graph.Attr
		opset int64
		opt   LossOptions
		feed  func(row []float64) []float64
	}{
		{name: "logits", opset: 13},
		{name: "sum", opset: 9, opt: LossOptions{Sum: true}},
		{name: "weighted", opset: 18, opt: LossOptions{Weighted: true}},
		{name: "weighted sum", opset: 18, opt: LossOptions{Weighted: true, Sum: true}},
		{name: "some classes", opset: 17, opt: LossOptions{Classes: []int64{3, 0, 2}}},
		{name: "behind a softmax", opset: 13, op: "Softmax"},
		{name: "behind an old softmax", opset: 11, op: "Softmax"},
		{name: "some classes behind a softmax", opset: 13, op: "Softmax", opt: LossOptions{Classes: []int64{1, 3, 0}}},
		{name: "probabilities", opset: 13, opt: LossOptions{Probabilities: true}, feed: softmax},
		{name: "some classes of probabilities", opset: 13, opt: LossOptions{Probabilities: true, Classes: []int64{2, 3, 1}}, feed: softmax},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, out := logitsModel(c.opset, c.op, c.attrs...)
			shapes, err := eng.Shapes(ctx, m)
			if err != nil {
				t.Fatal(err)
			}
			l, err := AddLoss(m, shapes, out, c.opt)
			if err != nil {
				t.Fatal(err)
			}
			if (l.Weights != "") != c.opt.Weighted {
				t.Errorf("weights are called %q", l.Weights)
			}
			each, want := []float64{}, 0.0
			for i, row := range rowsOf(zs, 4) {
				if len(c.opt.Classes) > 0 {
					var some []float64
					for _, k := range c.opt.Classes {
						some = append(some, row[k])
					}
					row = some
				}
				each = append(each, crossEntropy(row, labels3[i]))
				x := each[i]
				if c.opt.Weighted {
					x *= weights[i]
				}
				if !c.opt.Sum {
					x /= 3
				}
				want += x
			}
			z := zs
			if c.feed != nil {
				z = nil
				for _, row := range rowsOf(zs, 4) {
					z = append(z, c.feed(row)...)
				}
			}
			feeds := map[string]*graph.Tensor{"z": graph.NewTensor([]int64{3, 4}, z), l.Labels: graph.NewTensor([]int64{3}, labels3)}
			if c.opt.Weighted {
				feeds[l.Weights] = graph.NewTensor([]int64{3}, weights)
			}
			m.Graph.AddOutput(m.Graph.Value(l.PerSample))
			checkLoss(t, m, l, feeds, each, want)
		})
	}
}

// checkLoss compares the loss with what is wanted, and its gradient with
// finite differences.
func checkLoss(t *testing.T, m *graph.Model, l Loss, feeds map[string]*graph.Tensor, each []float64, want float64) {
	t.Helper()
	ctx := context.Background()
	shapes, err := eng.Shapes(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	back, names, err := Backward(m, l.Value, []string{"z"}, shapes, Options{})
	if err != nil {
		t.Fatal(err)
	}
	out, err := eng.Run(ctx, back, feeds)
	if err != nil {
		t.Fatal(err)
	}
	if got := floatsOf(t, out[l.PerSample]); !near(got, each) {
		t.Errorf("losses are %v, want %v", got, each)
	}
	if got := floatsOf(t, out[l.Value]); !near(got, []float64{want}) {
		t.Errorf("the loss is %v, want %v", got, want)
	}
	g := floatsOf(t, out[names["z"]])
	base := floatsOf(t, feeds["z"])
	for i := range base {
		at := func(d float64) float64 {
			moved := slices.Clone(base)
			moved[i] += d
			f := map[string]*graph.Tensor{}
			for k, v := range feeds {
				f[k] = v
			}
			f["z"] = graph.NewTensor(feeds["z"].Dims, moved)
			res, err := eng.Run(ctx, back, f)
			if err != nil {
				t.Fatal(err)
			}
			return floatsOf(t, res[l.Value])[0]
		}
		if slope := (at(1e-5) - at(-1e-5)) / 2e-5; math.Abs(slope-g[i]) > 1e-6*(1+math.Abs(slope)) {
			t.Errorf("gradient %d is %g, finite differences say %g", i, g[i], slope)
		}
	}
}

func near(a, b []float64) bool {
	return len(a) == len(b) && !slices.ContainsFunc(rangeOf(len(a)), func(i int) bool { return math.Abs(a[i]-b[i]) > 1e-9*(1+math.Abs(b[i])) })
}

func rangeOf(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// Several classes per image: the mean over classes of log(1+e^z) − t·z. ONNX
// Runtime has no Softplus in float64, so this one is in float32.
func TestMultiHot(t *testing.T) {
	ctx := context.Background()
	targets := []float64{1, 0, 1, 0, 0, 0, 0.5, 1, 1, 1, 0, 0}
	for _, c := range []struct {
		op       string
		weighted bool
	}{{"Identity", false}, {"Sigmoid", false}, {"Identity", true}} {
		op, each := c.op, slices.Repeat([]float64{1}, 12)
		if c.weighted {
			each = []float64{1, 2, 0.5, 1, 3, 1, 1, 0, 0.25, 1, 2, 1}
		}
		m := graph.NewModel(graph.Opset{Version: 13})
		z := m.Graph.AddInput("z", graph.TensorType(graph.Float32, graph.Sym("batch"), graph.Fixed(4)))
		y := m.Graph.Add(op, "out", []*graph.Value{z}).Output(0)
		m.Graph.AddOutput(y)
		shapes, err := eng.Shapes(ctx, m)
		if err != nil {
			t.Fatal(err)
		}
		l, err := AddLoss(m, shapes, y.Name(), LossOptions{MultiHot: true, Weighted: c.weighted})
		if err != nil {
			t.Fatal(err)
		}
		if shapes, err = eng.Shapes(ctx, m); err != nil {
			t.Fatal(err)
		}
		back, names, err := Backward(m, l.Value, []string{"z"}, shapes, Options{})
		if err != nil {
			t.Fatal(err)
		}
		single := func(xs []float64) *graph.Tensor { v, _ := graph.FromFloats(graph.Float32, []int64{3, 4}, xs); return v }
		feeds := map[string]*graph.Tensor{"z": single(zs), l.Labels: single(targets)}
		if c.weighted {
			feeds[l.Weights] = single(each)
		}
		out, err := eng.Run(ctx, back, feeds)
		if err != nil {
			t.Fatal(err)
		}
		want := 0.0
		g := floatsOf(t, out[names["z"]])
		for i, x := range zs {
			want += each[i] * (math.Log1p(math.Exp(x)) - targets[i]*x) / 12
			if d := each[i] * (1/(1+math.Exp(-x)) - targets[i]) / 12; math.Abs(d-g[i]) > 1e-6 {
				t.Errorf("%s: gradient %d is %g, want %g", op, i, g[i], d)
			}
		}
		if got := floatsOf(t, out[l.Value])[0]; math.Abs(got-want) > 1e-6 {
			t.Errorf("%s: the loss is %g, want %g", op, got, want)
		}
	}
}

func TestLossRefusals(t *testing.T) {
	ctx := context.Background()
	m, out := logitsModel(13, "")
	seq := m.Graph.Add("Unsqueeze", "tokens", []*graph.Value{m.Graph.Value(out), m.Graph.AddConst("axes", graph.NewTensor([]int64{1}, []int64{1}))}).Output(0)
	seq = m.Graph.Add("Concat", "two", []*graph.Value{seq, seq}, graph.Int("axis", 1)).Output(0)
	m.Graph.AddOutput(seq)
	shapes, err := eng.Shapes(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		logits string
		opt    LossOptions
		kind   fault.Kind
	}{
		{"nothing", LossOptions{}, fault.Usage},
		{seq.Name(), LossOptions{}, fault.Unsupported},
		{out, LossOptions{Classes: []int64{4}}, fault.Usage},
		{out, LossOptions{Classes: []int64{-1}}, fault.Usage},
	} {
		if _, err := AddLoss(m.Clone(), shapes, c.logits, c.opt); fault.KindOf(err) != c.kind {
			t.Errorf("%s %+v: %v", c.logits, c.opt, err)
		}
	}
}
