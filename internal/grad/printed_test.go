package grad

import (
	"os"
	"testing"

	"nuwa/graph"
)

// TestPrinted shows the gradient of a small hidden layer with respect to a
// mask and to the input, as it is printed: testdata/hidden.txt.
func TestPrinted(t *testing.T) {
	p := newProblem(17, graph.Float32, 1)
	g := p.m.Graph
	op := func(op, name string, in ...*graph.Value) *graph.Value { return g.Add(op, name, in).Output(0) }
	x := g.AddInput("x", graph.TensorType(graph.Float32, graph.Sym("batch"), graph.Fixed(5), graph.Fixed(4)))
	mask := g.AddInput("mask", graph.TensorType(graph.Float32, graph.Fixed(8)))
	h := op("MatMul", "fc1", op("LayerNormalization", "norm", x, p.add(w(4)), p.add(w(4))), p.add(w(4, 8)))
	erf := op("Erf", "erf", op("Div", "root", h, p.add(num(1.4142135))))
	gelu := op("Mul", "half", op("Mul", "gelu", h, op("Add", "plus", erf, p.add(num(1)))), p.add(num(0.5)))
	y := op("Add", "residual", x, op("MatMul", "fc2", op("Mul", "masked", gelu, mask), p.add(w(8, 4))))
	loss := g.Add("ReduceMean", "loss", []*graph.Value{op("Mul", "square", y, y)}, graph.Int("keepdims", 0)).Output(0)
	g.AddOutput(loss)
	cut := func(_ *emitter, nodes []*graph.Node, _ *graph.Value) []int { // the loss apart
		segment := make([]int, len(nodes))
		segment[len(nodes)-1], segment[len(nodes)-2] = 1, 1
		return segment
	}
	back, _, err := backward(p.m, loss.Name(), []string{"x", "mask"}, shapesOf(t, p.m), cut)
	if err != nil {
		t.Fatal(err)
	}
	const file = "testdata/hidden.txt"
	got := "The model.\n\n" + p.m.String() + "\nWith its gradients. Everything up to the residual is computed again.\n\n" + back.String()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
