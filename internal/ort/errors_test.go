package ort

import (
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/internal/fault"
)

// Each case is a model that ONNX Runtime refuses to load or to run; want is
// the whole error as far as the messages of releases agree.
func TestErrorsNameTheNode(t *testing.T) {
	f32 := func(dims ...int64) *graph.Tensor { return sample(graph.Float32, dims...) }
	node := func(op, name string, out string, in ...string) testNode {
		return testNode{op: op, name: name, in: in, out: []string{out}}
	}
	x2, y2 := vec("x", graph.Float32, 2), vec("y", graph.Float32, 2)
	short := f32(3)
	short.Name, short.Dims = "w", []int64{4}
	custom := node("Fancy", "f", "y", "x")
	custom.domain = "com.example"
	newIR, newOpset := identity(graph.Float32, 2), identity(graph.Float32, 2)
	newIR.ir, newOpset.opset = 99, 99
	inner := testModel{nodes: []testNode{node("MatMul", "inner", "y", "x", "w")},
		inputs: []Info{vec("x", graph.Float32, -1, -1), vec("w", graph.Float32, -1, -1)}, outputs: []Info{vec("y", graph.Float32, -1, -1)}}
	for _, c := range []struct {
		name string
		m    testModel
		in   map[string]*graph.Tensor
		want []string
	}{
		{"unknown operator", testModel{nodes: []testNode{node("Fancy", "f", "y", "x")}, inputs: []Info{x2}, outputs: []Info{y2}}, nil,
			[]string{`node "f" (Fancy)`, "No Op registered for Fancy", "(the opset that the model declares has no such operator"}},
		{"custom operator", testModel{nodes: []testNode{custom}, inputs: []Info{x2}, outputs: []Info{y2}}, nil,
			[]string{"(com.example:Fancy)", "is not a registered", "(the operator is not part of ONNX Runtime"}},
		{"no kernel", testModel{nodes: []testNode{node("Identity", "i", "y", "x")}, inputs: []Info{vec("x", graph.Int4, 2)}, outputs: []Info{vec("y", graph.Int4, 2)}}, nil,
			[]string{`node "i" (Identity)`, "(ONNX Runtime has no kernel"}},
		{"IR version", newIR, nil, []string{"IR version: 99", "(use a newer ONNX Runtime"}},
		{"opset", newOpset, nil, []string{"Opset 99", "(use a newer ONNX Runtime"}},
		{"shapes at load", testModel{nodes: []testNode{node("MatMul", "mm", "y", "x", "w")},
			inputs: []Info{vec("x", graph.Float32, 2, 3), vec("w", graph.Float32, 2, 3)}, outputs: []Info{vec("y", graph.Float32, 2, 3)}}, nil,
			[]string{`node "mm" (MatMul)`, "Incompatible dimensions"}},
		{"shapes at run", inner, map[string]*graph.Tensor{"x": f32(2, 3), "w": f32(2, 3)},
			[]string{`m.onnx: node "inner" (MatMul): `, "MatMul dimension mismatch"}},
		{"reshape", testModel{nodes: []testNode{node("Reshape", "/blocks.0/attn/Reshape_1", "y", "x", "s")},
			inputs: []Info{vec("x", graph.Float32, -1), vec("s", graph.Int64, -1)}, outputs: []Info{rankless("y", graph.Float32)}},
			map[string]*graph.Tensor{"x": f32(4), "s": graph.NewTensor([]int64{2}, []int64{3, 2})},
			[]string{`node "/blocks.0/attn/Reshape_1" (Reshape)`, "Input shape:{4}, requested shape:{3,2}"}},
		{"index", testModel{nodes: []testNode{node("Gather", "", "y", "x", "i")},
			inputs: []Info{vec("x", graph.Float32, -1), vec("i", graph.Int64, -1)}, outputs: []Info{vec("y", graph.Float32, -1)}},
			map[string]*graph.Tensor{"x": f32(4), "i": graph.NewTensor([]int64{1}, []int64{9})},
			[]string{"unnamed node (Gather)", "idx=9"}},
		{"memory", testModel{nodes: []testNode{node("Expand", "big", "y", "x", "s")},
			inputs: []Info{vec("x", graph.Float32, -1), vec("s", graph.Int64, -1)}, outputs: []Info{vec("y", graph.Float32, -1, -1)}},
			map[string]*graph.Tensor{"x": f32(1), "s": graph.NewTensor([]int64{2}, []int64{1 << 24, 1 << 24})},
			[]string{`node "big" (Expand)`, "(use a smaller batch"}},
		{"operand type", testModel{nodes: []testNode{node("MatMul", "mm", "y", "x", "x")}, inputs: []Info{vec("x", graph.Bool, 2, 2)}, outputs: []Info{vec("y", graph.Bool, 2, 2)}}, nil,
			[]string{`node "mm" (MatMul)`, "'tensor(bool)'"}},
		{"operand types", testModel{nodes: []testNode{node("Add", "a", "y", "x", "w")}, inputs: []Info{x2, vec("w", graph.Float64, 2)}, outputs: []Info{y2}}, nil,
			[]string{`node "a" (Add)`, "bound to different types"}},
		{"result type", testModel{nodes: []testNode{node("Relu", "r", "y", "x")}, inputs: []Info{x2}, outputs: []Info{vec("y", graph.Float64, 2)}}, nil,
			[]string{`node "r"`, "does not match expected type"}},
		{"arity", testModel{nodes: []testNode{node("Relu", "r", "y", "x", "x")}, inputs: []Info{x2}, outputs: []Info{y2}}, nil,
			[]string{`node "r" (Relu)`, "input size 2"}},
		{"attribute", testModel{nodes: []testNode{{op: "Relu", name: "r", in: []string{"x"}, out: []string{"y"}, ints: map[string]int64{"slope": 1}}}, inputs: []Info{x2}, outputs: []Info{y2}}, nil,
			[]string{`node "r" (Relu)`, "Unrecognized attribute: slope"}},
		{"cycle", testModel{nodes: []testNode{node("Add", "a", "u", "x", "v"), node("Relu", "b", "v", "u"), node("Relu", "c", "y", "v")}, inputs: []Info{x2}, outputs: []Info{y2}}, nil,
			[]string{"not acyclic", "(the model is damaged"}},
		{"no such value", testModel{nodes: []testNode{node("Add", "a", "y", "x", "zz")}, inputs: []Info{x2}, outputs: []Info{y2}}, nil,
			[]string{"'zz' is not a graph input"}},
		{"cut initializer", testModel{nodes: []testNode{node("Add", "a", "y", "x", "w")}, inputs: []Info{vec("x", graph.Float32, 4)}, outputs: []Info{vec("y", graph.Float32, 4)}, inits: []*graph.Tensor{short}}, nil,
			[]string{"size", "(the model is damaged"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := NewSession(c.m.bytes(), Options{Name: "m.onnx"})
			if err == nil {
				defer s.Close()
				if c.in == nil {
					t.Fatal("the model loads")
				}
				_, err = s.Run(t.Context(), c.in, nil)
			}
			if fault.KindOf(err) != fault.Runtime {
				t.Fatalf("got %v, want a runtime error", err)
			}
			for _, want := range append(c.want, "m.onnx: ") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v\nwant %s", err, want)
				}
			}
			for _, noise := range []string{"/onnxruntime_src/", "Non-zero status code", "[ONNXRuntimeError]", "Error creating", "Error running"} {
				if strings.Contains(err.Error(), noise) {
					t.Errorf("got %v\nwith %s", err, noise)
				}
			}
		})
	}
}

func TestBlamesTheInnermostNode(t *testing.T) {
	text := "Non-zero status code returned while running If node. Name:'outer' Status Message: " +
		"Non-zero status code returned while running Add node. Name:'inner' Status Message: no"
	if got := blamed(text); got != `node "inner" (Add)` {
		t.Error(got)
	}
}

func TestNotAModel(t *testing.T) {
	good := identity(graph.Float32, 2).bytes()
	empty := testModel{inputs: []Info{vec("x", graph.Float32, 2)}}
	for name, b := range map[string][]byte{
		"nothing":    nil,
		"text":       []byte("this is not a model, whatever its name says"),
		"cut short":  good[:len(good)-5],
		"no outputs": empty.bytes(),
		"ir only":    number(nil, 1, 8),
	} {
		if _, err := NewSession(b, Options{Name: "m.onnx"}); fault.KindOf(err) != fault.Model || !strings.HasPrefix(err.Error(), "m.onnx: ") {
			t.Errorf("%s: %v, want a model error", name, err)
		}
	}
	for n := range good { // whatever the cut, an error or a session, no crash
		if s, err := NewSession(good[:n], Options{}); err == nil {
			s.Close()
		}
	}
}
