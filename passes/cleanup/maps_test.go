package cleanup_test

import (
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/passes/cleanup"
)

// norm is a batch norm of n channels.
func (b *builder) norm(x *graph.Value, n int64) *graph.Value {
	variance := make([]float32, n)
	for i := range variance {
		variance[i] = 0.5 + float32(i)
	}
	return b.node("BatchNormalization", "norm", values{x, b.floats("gamma", []int64{n}), b.floats("beta", []int64{n}), b.floats("mean", []int64{n}),
		b.g.AddConst("variance", graph.NewTensor([]int64{n}, variance))})
}

// Batch norms go into the maps before them, in every spelling, and stay behind
// anything else; what the model computes is the same.
func TestBatchNorms(t *testing.T) {
	for name, c := range map[string]struct {
		folded int
		make   func(b *builder) *graph.Value
	}{
		"Conv": {1, func(b *builder) *graph.Value {
			x := b.input("x", batchDim, graph.Fixed(3), four, four)
			return b.norm(b.node("Conv", "map", values{x, b.floats("w", []int64{5, 3, 2, 2}), b.floats("b", []int64{5})}), 5)
		}},
		"depthwise Conv without bias": {1, func(b *builder) *graph.Value {
			x := b.input("x", batchDim, four, four, four)
			return b.norm(b.node("Conv", "map", values{x, b.floats("w", []int64{4, 1, 3, 3})}, graph.Int("group", 4)), 4)
		}},
		"Gemm": {1, func(b *builder) *graph.Value {
			return b.norm(b.node("Gemm", "map", values{b.input("x", batchDim, four), b.floats("w", []int64{5, 4}), b.floats("b", []int64{5})}, graph.Int("transB", 1)), 5)
		}},
		"MatMul, flattened": {1, func(b *builder) *graph.Value {
			y := b.node("MatMul", "map", values{b.input("x", batchDim, four, graph.Fixed(3)), b.floats("w", []int64{3, 5})})
			return b.norm(b.node("Reshape", "flat", values{y, b.ints("rows", -1, 5)}), 5)
		}},
		"MatMul and Add": {1, func(b *builder) *graph.Value {
			y := b.node("MatMul", "map", values{b.input("x", batchDim, graph.Fixed(3)), b.floats("w", []int64{3, 5})})
			return b.norm(b.node("Add", "sum", values{b.floats("b", []int64{5}), y}), 5)
		}},
		"an activation between": {0, func(b *builder) *graph.Value {
			y := b.node("MatMul", "map", values{b.input("x", batchDim, graph.Fixed(3)), b.floats("w", []int64{3, 5})})
			return b.norm(b.node("Relu", "act", values{y}), 5)
		}},
		"another reader": {0, func(b *builder) *graph.Value {
			y := b.node("MatMul", "map", values{b.input("x", batchDim, graph.Fixed(3)), b.floats("w", []int64{3, 5})})
			return b.node("Mul", "both", values{b.norm(y, 5), y})
		}},
		"tokens are normalized": {0, func(b *builder) *graph.Value {
			y := b.node("MatMul", "map", values{b.input("x", batchDim, four, graph.Fixed(3)), b.floats("w", []int64{3, 4})})
			return b.norm(y, 4)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := build(14)
			b.output(b.node("Tanh", "y", values{b.node("Mul", "small", values{c.make(b), b.g.AddConst("tenth", graph.Scalar(float32(0.1)))})}))
			proveMaps(t, b.m, c.folded, func() (int, error) {
				shapes, err := eng.Shapes(t.Context(), b.m)
				if err != nil {
					return 0, err
				}
				return cleanup.BatchNorms(b.m, shapes)
			})
			if strings.Contains(b.m.String(), "BatchNormalization") == (c.folded > 0) {
				t.Errorf("the graph is\n%s", b.m)
			}
		})
	}
}

// proveMaps holds an edit to its number of changes and to equal outputs.
func proveMaps(t *testing.T, m *graph.Model, want int, edit func() (int, error)) {
	t.Helper()
	before, err := outputs(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	n, err := edit()
	if err != nil {
		t.Fatal(err)
	}
	cleanup.Dead(m)
	if err := m.Graph.Sort(); err != nil {
		t.Fatal(err)
	}
	after, err := outputs(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	if err := differ(before, after, 1e-5); err != nil || n != want {
		t.Errorf("%d changes, want %d; %v", n, want, err)
	}
}

// A hidden layer gets a map of its own where the same map gives queries; parts
// that are alike stay together.
func TestUnpack(t *testing.T) {
	for name, c := range map[string]struct {
		opset  int64
		gemm   bool
		hidden bool // of the second part as well
		apart  int
	}{
		"MatMul": {14, false, false, 1}, "MatMul before 13": {11, false, false, 1}, "Gemm": {14, true, false, 1}, "both hidden": {14, false, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := build(c.opset)
			var y *graph.Value
			if c.gemm {
				y = b.node("Gemm", "map", values{b.input("x", batchDim, four), b.floats("w", []int64{10, 4}), b.floats("b", []int64{10})}, graph.Int("transB", 1))
			} else {
				y = b.node("Add", "sum", values{b.node("MatMul", "map", values{b.input("x", batchDim, four), b.floats("w", []int64{4, 10})}), b.floats("b", []int64{10})})
			}
			n := b.g.NewNode("Split", "parts")
			n.SetInput(0, y)
			n.SetAttr(graph.Int("axis", -1))
			if c.opset < 13 {
				n.SetAttr(graph.Ints("split", 6, 2, 2))
			} else {
				n.SetInput(1, b.ints("sizes", 6, 2, 2))
			}
			h, q, k := n.AddOutput("h"), n.AddOutput("q"), n.AddOutput("k")
			out := b.node("MatMul", "second", values{b.node("Tanh", "act", values{h}), b.floats("w2", []int64{6, 3})})
			for i, v := range []*graph.Value{q, k} {
				if c.hidden {
					v = b.node("MatMul", "third", values{b.node("Tanh", "act", values{v}), b.floats("w3", []int64{2, 3})})
				} else {
					v = b.node("Reshape", "heads", values{v, b.ints("shape", -1, 2)})
				}
				b.output(b.node("Sigmoid", []string{"a", "b"}[i], values{v}))
			}
			b.output(b.node("Sigmoid", "y", values{out}))
			proveMaps(t, b.m, c.apart, func() (int, error) {
				shapes, err := eng.Shapes(t.Context(), b.m)
				if err != nil {
					return 0, err
				}
				return cleanup.Unpack(b.m, shapes)
			})
		})
	}
}
