package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// growing is x[batch,4] → y = x·w, with a weight large enough to be handed
// over, n = the batch as a scalar, h = y in half precision, and s = y·yᵀ.
func growing(t *testing.T) *graph.Model {
	t.Helper()
	m := graph.NewModel(graph.Opset{Version: 13})
	g := m.Graph
	x := g.AddInput("x", graph.TensorType(graph.Float32, graph.Sym("batch"), graph.Fixed(4)))
	w := g.AddConst("w", graph.NewTensor([]int64{4, 8192}, make([]float32, 4*8192)))
	y := g.Add("MatMul", "y", []*graph.Value{x, w}).Output(0)
	shape := g.Add("Shape", "shape", []*graph.Value{y}).Output(0)
	g.Add("Gather", "n", []*graph.Value{shape, g.AddConst("zero", graph.Scalar(int64(0)))})
	g.Add("Cast", "h", []*graph.Value{x}, graph.Int("to", int64(graph.Float16)))
	g.Add("Reshape", "flat", []*graph.Value{x, g.AddConst("all", graph.NewTensor([]int64{1}, []int64{-1}))})
	g.Add("NonZero", "some", []*graph.Value{x})
	g.AddOutput(y)
	return m
}

func TestObserve(t *testing.T) {
	e := &engine.Engine{Threads: 1}
	m := growing(t)
	o, err := e.Observe(context.Background(), m, []string{"n", "h", "w"}, 1, 2, 3, 5)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"x": "[{0 1} {4 0}]", "w": "[{4 0} {8192 0}]", "y": "[{0 1} {8192 0}]", "n": "[]", "flat": "[{0 4}]", "shape": "[{2 0}]",
	} {
		if sizes, ok := o.Shapes.Of(m.Graph.Value(name)); !ok || fmt.Sprint(sizes) != want {
			t.Errorf("%s: got %v, %t, want %s", name, sizes, ok, want)
		}
	}
	for i, b := range o.Batches {
		n := o.Values[i]["n"]
		if xs, err := n.Ints(); err != nil || len(n.Dims) != 0 || xs[0] != int64(b) {
			t.Errorf("n at batch %d: got %s %v, %v", b, n.Shape(), xs, err)
		}
		if h := o.Values[i]["h"]; h.Type != graph.Float16 || h.Len() != int64(4*b) || h.Check() != nil {
			t.Errorf("h at batch %d: got %s, %v", b, h.Shape(), h.Check())
		}
		if w := o.Values[i]["w"]; w.Len() != 4*8192 {
			t.Errorf("w: got %s", w.Shape())
		}
	}
	if typ := o.Shapes.Elem(m.Graph.Value("h")); typ != graph.Float16 {
		t.Errorf("h has type %s", typ)
	}
}

// A model without inputs whose only operand is a weight that is handed over.
func TestComputeOfWeightsAlone(t *testing.T) {
	m := graph.NewModel(graph.Opset{Version: 13})
	g := m.Graph
	xs := make([]float32, 300*200)
	for i := range xs {
		xs[i] = float32(i)
	}
	w := g.AddConst("w", graph.NewTensor([]int64{300, 200}, xs))
	g.AddOutput(g.Add("Transpose", "turned", []*graph.Value{w}, graph.Ints("perm", 1, 0)).Output(0))
	outs, err := (&engine.Engine{Threads: 1}).Compute(t.Context(), m, []string{"turned"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := outs[0]["turned"].Floats()
	if err != nil || len(got) != len(xs) {
		t.Fatalf("%d elements, %v", len(got), err)
	}
	for i := range 300 {
		for j := range 200 {
			if want := float64(200*i + j); got[300*j+i] != want {
				t.Fatalf("[%d %d]: got %v, want %v", j, i, got[300*j+i], want)
			}
		}
	}
}

// A size that two batch sizes explain and the third contradicts is not known.
func TestShapesAreProven(t *testing.T) {
	m := graph.NewModel(graph.Opset{Version: 13})
	g := m.Graph
	x := g.AddInput("x", graph.TensorType(graph.Float32, graph.Sym("batch"), graph.Fixed(4)))
	back := g.Add("Transpose", "back", []*graph.Value{x}, graph.Ints("perm", 1, 0)).Output(0)
	s := g.Add("MatMul", "square", []*graph.Value{x, back}).Output(0)
	flat := g.Add("Reshape", "flat", []*graph.Value{s, g.AddConst("all", graph.NewTensor([]int64{1}, []int64{-1}))}).Output(0)
	g.AddOutput(flat)
	o, err := (&engine.Engine{Threads: 1}).Observe(context.Background(), m, nil, 1, 2, 3, 5)
	if err != nil {
		t.Fatal(err)
	}
	if sizes, ok := o.Shapes.Of(s); !ok || sizes[1] != (engine.Size{PerBatch: 1}) {
		t.Errorf("square: %v, %t", sizes, ok)
	}
	if sizes, ok := o.Shapes.Of(flat); ok {
		t.Errorf("the square of the batch passes as %v", sizes)
	}
}

func TestCompute(t *testing.T) {
	m := growing(t)
	var feeds []map[string]*graph.Tensor
	for _, b := range []int{1, 4} {
		f, err := engine.Inputs(m, b, 7)
		if err != nil {
			t.Fatal(err)
		}
		feeds = append(feeds, f)
	}
	got, err := (&engine.Engine{Threads: 1}).Compute(context.Background(), m, []string{"y", "n"}, feeds...)
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range []int64{1, 4} {
		if n, err := got[i]["n"].Ints(); err != nil || n[0] != b || got[i]["y"].Dims[0] != b {
			t.Errorf("at batch %d: n %v, y %s, %v", b, n, got[i]["y"].Shape(), err)
		}
	}
}

// What sizes are asked of is given back as soon as it has been read: a chain of
// 200 values of 4 MiB never takes 800.
func TestObserveGivesMemoryBack(t *testing.T) {
	e := &engine.Engine{Threads: 1}
	if err := e.Ready(); err != nil {
		t.Fatal(err)
	}
	m := graph.NewModel(graph.Opset{Version: 13})
	v := m.Graph.AddInput("x", graph.TensorType(graph.Float32, graph.Fixed(1), graph.Fixed(1<<20)))
	for i := range 200 {
		v = m.Graph.Add("Neg", fmt.Sprint("y", i), []*graph.Value{v}).Output(0)
	}
	m.Graph.AddOutput(v)
	before := peak(t)
	o, err := e.Observe(context.Background(), m, []string{v.Name()}, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if sizes, ok := o.Shapes.Of(v); !ok || fmt.Sprint(sizes) != "[{1 0} {1048576 0}]" {
		t.Errorf("sizes %v, %t", sizes, ok)
	}
	if took := peak(t) - before; took > 200 {
		t.Errorf("it took %d MiB", took)
	}
}

// peak returns the most memory that the process has taken so far, in MiB.
func peak(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skipf("how much memory a process takes is not told here: %v", err)
	}
	_, text, _ = bytes.Cut(text, []byte("VmHWM:"))
	kib, err := strconv.Atoi(string(bytes.Fields(text)[0]))
	if err != nil {
		t.Fatal(err)
	}
	return kib >> 10
}
