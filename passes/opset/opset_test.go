package opset_test

import (
	"fmt"
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/internal/fault"
	"nuwa/passes/opset"
	"nuwa/passes/passtest"
	"nuwa/testmodels"
)

// newest is what the pinned ONNX Runtime runs.
const newest = 26

func convert(t *testing.T, m *graph.Model, version int64) error {
	t.Helper()
	shapes, err := passtest.Engine.Shapes(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	if err := opset.Convert(m, version, shapes); err != nil {
		return err
	}
	passtest.Tidy(t, m)
	return nil
}

// Models as exporters wrote them give the same at every version, and when they
// are brought back.
func TestModels(t *testing.T) {
	for _, file := range []string{"packed_11_dynamic.onnx", "torchvision_14_dynamic.onnx", "separate_17_dynamic.onnx"} {
		t.Run(file, func(t *testing.T) {
			cases, err := testmodels.Tiny()
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range cases {
				if c.File != file {
					continue
				}
				m := passtest.Load(t, c.Path())
				want, from := passtest.Run(t, m), m.Opset("")
				for _, to := range []int64{11, 12, 13, 16, 17, 18, 20, 23, newest, from} {
					if err := convert(t, m, to); err != nil {
						t.Fatalf("to %d: %v", to, err)
					}
					if m.Opset("") != to {
						t.Errorf("the model says opset %d, want %d", m.Opset(""), to)
					}
					passtest.Near(t, fmt.Sprintf("opset %d", to), want, passtest.Run(t, m), 1e-5)
				}
			}
		})
	}
}

// build makes a model of one operator of the given version over a [2,3,4,5]
// input, in 32-bit floats.
func build(version int64, add func(g *graph.Graph, x *graph.Value) *graph.Value) *graph.Model {
	m := graph.NewModel(graph.Opset{Version: version})
	m.IRVersion = 10
	x := m.Graph.AddInput("x", graph.TensorType(graph.Float32, graph.Sym("n"), graph.Fixed(3), graph.Fixed(4), graph.Fixed(5)))
	y := add(m.Graph, x)
	y.Type = &graph.Type{Elem: graph.Float32}
	m.Graph.AddOutput(y)
	return m
}

func ints(g *graph.Graph, xs ...int64) *graph.Value {
	return g.AddConst("ints", graph.NewTensor([]int64{int64(len(xs))}, xs))
}

// one adds a node.
func one(op string, attrs ...*graph.Attr) func(*graph.Graph, *graph.Value) *graph.Value {
	return func(g *graph.Graph, x *graph.Value) *graph.Value {
		return g.Add(op, "node", []*graph.Value{x}, attrs...).Output(0)
	}
}

// with adds a node with constant lists as further operands.
func with(op string, lists [][]int64, attrs ...*graph.Attr) func(*graph.Graph, *graph.Value) *graph.Value {
	return func(g *graph.Graph, x *graph.Value) *graph.Value {
		in := []*graph.Value{x}
		for _, xs := range lists {
			if xs == nil {
				in = append(in, nil)
			} else {
				in = append(in, ints(g, xs...))
			}
		}
		return g.Add(op, "node", in, attrs...).Output(0)
	}
}

func split(parts int, in [][]int64, attrs ...*graph.Attr) func(*graph.Graph, *graph.Value) *graph.Value {
	return func(g *graph.Graph, x *graph.Value) *graph.Value {
		y := with("Split", in, attrs...)(g, x).Producer()
		for i := 1; i < parts; i++ {
			y.AddOutput(fmt.Sprintf("part%d", i))
		}
		g.AddOutput(y.Output(parts - 1))
		y.Output(parts - 1).Type = &graph.Type{Elem: graph.Float32}
		return y.Output(0)
	}
}

// Every rule keeps what an operator computes, in both directions.
func TestRules(t *testing.T) {
	passtest.Start(t)
	for _, c := range []struct {
		name     string
		from, to int64
		add      func(*graph.Graph, *graph.Value) *graph.Value
		refused  string // part of the error; nothing where it goes
	}{
		{"reduce axes", 13, 18, one("ReduceMean", graph.Ints("axes", 1, -1), graph.Int("keepdims", 0)), ""},
		{"reduce all", 13, 18, one("ReduceMax", graph.Int("keepdims", 1)), ""},
		{"reduce axes operand", 18, 11, with("ReduceL2", [][]int64{{1, 3}}), ""},
		{"reduce noop", 18, 17, one("ReduceMean", graph.Int("noop_with_empty_axes", 1)), "reduces nothing"},
		{"sum", 11, 13, one("ReduceSum", graph.Ints("axes", 2)), ""},
		{"sum down", 13, 11, with("ReduceSum", [][]int64{{2, 3}}), ""},
		{"unsqueeze", 11, 21, one("Unsqueeze", graph.Ints("axes", 0, 3)), ""},
		{"unsqueeze down", 13, 12, with("Unsqueeze", [][]int64{{-1}}), ""},
		{"squeeze", 12, 13, func(g *graph.Graph, x *graph.Value) *graph.Value {
			return one("Squeeze", graph.Ints("axes", 1))(g, g.Add("ReduceMean", "m", []*graph.Value{x}, graph.Ints("axes", 1)).Output(0))
		}, ""},
		{"softmax last", 11, 13, one("Softmax", graph.Int("axis", 3)), ""},
		{"softmax many", 11, 13, one("Softmax", graph.Int("axis", 2)), ""},
		{"softmax default", 12, 18, one("Softmax"), ""},
		{"softmax inner down", 13, 12, one("LogSoftmax", graph.Int("axis", 1)), ""},
		{"softmax last down", 13, 11, one("Softmax"), ""},
		{"split sizes", 11, 13, split(2, nil, graph.Ints("split", 1, 3), graph.Int("axis", 2)), ""},
		{"split even", 13, 18, split(2, nil, graph.Int("axis", 2)), ""},
		{"split even down", 18, 11, split(2, nil, graph.Int("axis", 2), graph.Int("num_outputs", 2)), ""},
		{"split uneven", 18, 17, split(2, nil, graph.Int("axis", 1), graph.Int("num_outputs", 2)), ""},
		{"split uneven to attribute", 18, 12, split(2, nil, graph.Int("axis", -1), graph.Int("num_outputs", 2)), ""},
		{"slice", 9, 11, one("Slice", graph.Ints("starts", 1, 0), graph.Ints("ends", 3, -1), graph.Ints("axes", 1, 3)), ""},
		{"clip", 9, 13, one("Clip", graph.Float("min", -0.5), graph.Float("max", 0.25)), ""},
		{"clip below", 10, 11, one("Clip", graph.Float("min", -0.5)), ""},
		{"pad", 10, 11, one("Pad", graph.Ints("pads", 0, 0, 1, 2, 0, 0, 3, 4), graph.Float("value", 1.5)), ""},
		{"pad axes", 18, 13, with("Pad", [][]int64{{1, 2}, nil, {-1}}), ""},
		{"pad wrap", 19, 18, with("Pad", [][]int64{{0, 0, 1, 0, 0, 0, 0, 0}}, graph.Str("mode", "wrap")), "mode is"},
		{"topk", 9, 11, func(g *graph.Graph, x *graph.Value) *graph.Value {
			y := one("TopK", graph.Int("k", 2), graph.Int("axis", 3))(g, x)
			y.Producer().AddOutput("at")
			return y
		}, ""},
		{"resize", 10, 13, func(g *graph.Graph, x *graph.Value) *graph.Value {
			s := g.AddConst("scales", graph.NewTensor([]int64{4}, []float32{1, 1, 2, 2}))
			return g.Add("Resize", "node", []*graph.Value{x, s}, graph.Str("mode", "linear")).Output(0)
		}, ""},
		{"resize down", 18, 11, func(g *graph.Graph, x *graph.Value) *graph.Value {
			s := g.AddConst("scales", graph.NewTensor([]int64{4}, []float32{1, 1, 2, 2}))
			return g.Add("Resize", "node", []*graph.Value{x, nil, s}, graph.Str("mode", "nearest")).Output(0)
		}, ""},
		{"resize antialias", 18, 17, func(g *graph.Graph, x *graph.Value) *graph.Value {
			s := g.AddConst("scales", graph.NewTensor([]int64{4}, []float32{1, 1, 0.5, 0.5}))
			return g.Add("Resize", "node", []*graph.Value{x, nil, s}, graph.Str("mode", "linear"), graph.Int("antialias", 1)).Output(0)
		}, "antialias is 1"},
		{"shape part", 15, 14, func(g *graph.Graph, x *graph.Value) *graph.Value {
			s := g.Add("Shape", "node", []*graph.Value{x}, graph.Int("start", 1), graph.Int("end", -1)).Output(0)
			return g.Add("Cast", "cast", []*graph.Value{s}, graph.Int("to", int64(graph.Float32))).Output(0)
		}, ""},
		{"dropout", 11, 12, one("Dropout", graph.Float("ratio", 0.3)), ""},
		{"dropout down", 13, 10 + 1, one("Dropout"), ""},
		{"gelu", 20, 13, one("Gelu"), ""},
		{"gelu tanh", 20, 17, one("Gelu", graph.Str("approximate", "tanh")), ""},
		{"layer norm", 17, 11, func(g *graph.Graph, x *graph.Value) *graph.Value {
			w := g.AddConst("w", graph.NewTensor([]int64{5}, []float32{1, 2, 3, 4, 5}))
			return g.Add("LayerNormalization", "node", []*graph.Value{x, w, w}, graph.Float("epsilon", 1e-3)).Output(0)
		}, ""},
		{"attention", 23, 14, func(g *graph.Graph, x *graph.Value) *graph.Value {
			return g.Add("Attention", "node", []*graph.Value{x, x, x}).Output(0)
		}, ""},
		{"saturate", 19, 18, one("Cast", graph.Int("to", int64(graph.Float32)), graph.Int("saturate", 1)), ""},
		{"mish", 18, 17, one("Mish"), "it came with opset 18"},
		{"too old", 17, 10, one("Relu"), "want 11 or newer"},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			m := build(c.from, c.add)
			want := passtest.Run(t, m)
			err := convert(t, m, c.to)
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) || fault.KindOf(err) != fault.Unsupported && fault.KindOf(err) != fault.Usage {
					t.Errorf("got %v, want an error about %q", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			passtest.Near(t, c.name, want, passtest.Run(t, m), 1e-6)
		})
	}
}
