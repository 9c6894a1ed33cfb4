package grad

import (
	"context"
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
)

// chain is a model that applies operators in turn to x [batch, 3] and sums up.
func chain(opset int64, ops ...string) *graph.Model {
	m := graph.NewModel(graph.Opset{Version: opset})
	m.Graph.AddInput("idle", graph.TensorType(graph.Float32, graph.Sym("batch"), graph.Fixed(3)))
	v := m.Graph.AddInput("x", graph.TensorType(graph.Float32, graph.Sym("batch"), graph.Fixed(3)))
	for _, op := range ops {
		in := []*graph.Value{v}
		if op == "CumSum" {
			in = append(in, m.Graph.AddConst("axis", graph.Scalar(int64(1))))
		}
		v = m.Graph.Add(op, "the "+op, in).Output(0)
	}
	m.Graph.Rename(v, "last")
	m.Graph.AddOutput(v)
	loss := m.Graph.Add("ReduceMean", "loss", []*graph.Value{v}, graph.Int("keepdims", 0)).Output(0)
	m.Graph.Rename(loss, "loss")
	m.Graph.AddOutput(loss)
	return m
}

func shapesOf(t *testing.T, m *graph.Model) *engine.Shapes {
	t.Helper()
	shapes, err := eng.Shapes(context.Background(), m)
	if err != nil {
		t.Fatal(err)
	}
	return shapes
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name, loss, wrt string
		m               *graph.Model
		kind            fault.Kind
		says            string
	}{
		{"no rule", "loss", "x", chain(14, "Tanh", "Hardmax", "Tanh"), fault.Unsupported, `Hardmax "the Hardmax"`},
		{"no such value", "loss", "y", chain(14, "Tanh"), fault.Usage, `"y"`},
		{"no such loss", "cost", "x", chain(14, "Tanh"), fault.Usage, `"cost"`},
		{"many losses", "last", "x", chain(14, "Tanh"), fault.Usage, `"last"`},
		{"no path", "loss", "idle", chain(14, "Tanh"), fault.Unsupported, `"idle"`},
		{"steps only", "loss", "x", chain(14, "Floor"), fault.Unsupported, `"x"`},
		{"old opset", "loss", "x", chain(8, "Tanh"), fault.Unsupported, "opset 8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := Backward(c.m, c.loss, []string{c.wrt}, shapesOf(t, c.m), Options{})
			if fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want kind %s and %s", err, c.kind, c.says)
			}
		})
	}
}

// An operator without a rule is no obstacle where no gradient goes through it.
func TestOnlyThePathMatters(t *testing.T) {
	m := chain(14, "CumSum", "Tanh", "Tanh")
	middle := m.Graph.Value("last").Producer().Input(0).Name()
	if _, _, err := Backward(m, "loss", []string{middle}, shapesOf(t, m), Options{}); err != nil {
		t.Fatal(err)
	}
}

// A condition that chooses between two computations has graphs inside that
// read values from outside.
func TestBranchesAreRefused(t *testing.T) {
	m := chain(14, "Tanh")
	x := m.Graph.Value("last")
	branch := func(op string) *graph.Graph {
		g := graph.NewGraph(op)
		n := g.NewNode(op, op)
		n.AddOutput(op + "_out")
		g.AddOutput(n.Output(0))
		n.SetInputs(x)
		return g
	}
	n := m.Graph.NewNode("If", "choice")
	yes, no := branch("Neg"), branch("Abs")
	n.SetAttr(&graph.Attr{Name: "then_branch", Kind: graph.AttrGraph, Graphs: []*graph.Graph{yes}})
	n.SetAttr(&graph.Attr{Name: "else_branch", Kind: graph.AttrGraph, Graphs: []*graph.Graph{no}})
	n.SetInputs(m.Graph.AddInput("flag", graph.TensorType(graph.Bool)))
	y := n.AddOutput("chosen")
	y.Type = graph.TensorType(graph.Float32, graph.Sym("batch"), graph.Fixed(3))
	loss := m.Graph.Add("ReduceMean", "total", []*graph.Value{y}, graph.Int("keepdims", 0)).Output(0)
	_, _, err := Backward(m, loss.Name(), []string{"x"}, shapesOf(t, m), Options{})
	if fault.KindOf(err) != fault.Unsupported || !strings.Contains(err.Error(), `If "choice"`) {
		t.Errorf("got %v", err)
	}
}

// The gradient of a loss with respect to itself is one; that with respect to
// an output of the model, or asked for twice, is there once.
func TestEnds(t *testing.T) {
	m := chain(14, "Tanh")
	back, names, err := Backward(m, "loss", []string{"loss", "last", "last", "x"}, shapesOf(t, m), Options{})
	if err != nil {
		t.Fatal(err)
	}
	feeds := map[string]*graph.Tensor{"idle": graph.NewTensor([]int64{1, 3}, []float32{0, 0, 0}), "x": graph.NewTensor([]int64{1, 3}, []float32{0, 0, 0})}
	out, err := eng.Run(context.Background(), back, feeds)
	if err != nil {
		t.Fatalf("%v\n%s", err, back)
	}
	if len(names) != 3 {
		t.Errorf("names are %v", names)
	}
	for name, want := range map[string][]float64{"loss": {1}, "last": {1. / 3, 1. / 3, 1. / 3}, "x": {1. / 3, 1. / 3, 1. / 3}} {
		got := floatsOf(t, out[names[name]])
		for i := range want {
			if d := got[i] - want[i]; d > 1e-6 || d < -1e-6 {
				t.Errorf("gradient of %s is %v, want %v", name, got, want)
			}
		}
	}
}

// The model itself stays as it is, and its gradient is the same every time.
func TestBackwardIsPure(t *testing.T) {
	m := chain(14, "Tanh", "Exp", "Sigmoid")
	before, shapes := m.String(), shapesOf(t, m)
	a, _, err := Backward(m, "loss", []string{"x"}, shapes, Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := Backward(m, "loss", []string{"x"}, shapes, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if m.String() != before {
		t.Error("the model changed")
	}
	if a.String() != b.String() {
		t.Errorf("first\n%s\nthen\n%s", a, b)
	}
}

// Half precision: every constant of the gradient is of the model's own type.
func TestHalf(t *testing.T) {
	ctx := context.Background()
	var grads [][]float64
	for _, elem := range []graph.DType{graph.Float32, graph.Float16} {
		p := newProblem(17, elem, 4)
		g := p.m.Graph
		a := p.add(x(2, 3, 8).batched())
		h := g.Add("MatMul", "fc1", []*graph.Value{a, p.add(w(8, 8))}).Output(0)
		h = g.Add("LayerNormalization", "norm", []*graph.Value{h, p.add(w(8)), p.add(w(8))}).Output(0)
		h = g.Add("Mul", "swish", []*graph.Value{h, g.Add("Sigmoid", "gate", []*graph.Value{h}).Output(0)}).Output(0)
		h = g.Add("Softmax", "softmax", []*graph.Value{h}).Output(0)
		loss := g.Add("ReduceMean", "loss", []*graph.Value{g.Add("Mul", "square", []*graph.Value{h, h}).Output(0)}).Output(0)
		back, names, err := backward(p.m, loss.Name(), p.wrt, shapesOf(t, p.m), func(_ *emitter, nodes []*graph.Node, _ *graph.Value) []int {
			segment := make([]int, len(nodes))
			for i := range segment {
				segment[i] = i / 3
			}
			return segment
		})
		if err != nil {
			t.Fatal(err)
		}
		out, err := eng.Run(ctx, back, p.feeds)
		if err != nil {
			t.Fatalf("%v\n%s", err, back)
		}
		grads = append(grads, floatsOf(t, out[names[p.wrt[0]]]))
	}
	size := 0.0
	for _, v := range grads[0] {
		size = max(size, v, -v)
	}
	for i, v := range grads[0] {
		if d := v - grads[1][i]; d > 0.02*size || d < -0.02*size {
			t.Errorf("element %d is %g in single, %g in half precision", i, v, grads[1][i])
		}
	}
}
