package ort

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/internal/fault"
)

func mustOpen(t *testing.T, m testModel) *Session {
	t.Helper()
	s, err := NewSession(m.bytes(), Options{Name: "m.onnx"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// sample is a tensor with a different element everywhere, as far as the type
// has that many.
func sample(typ graph.DType, dims ...int64) *graph.Tensor {
	x := &graph.Tensor{Type: typ, Dims: append([]int64{}, dims...)}
	n := graph.Elements(dims)
	if typ == graph.String {
		for i := range n {
			x.Strings = append(x.Strings, fmt.Appendf(nil, "é%d", i))
		}
		return x
	}
	x.Data = make([]byte, typ.ByteLen(n))
	for i := range x.Data {
		x.Data[i] = byte(0x11 * (i%6 + 1)) // no NaN in any type
		if typ == graph.Bool {
			x.Data[i] = byte(i % 2)
		}
	}
	if rest := n * int64(typ.Bits()) % 8; rest > 0 {
		x.Data[len(x.Data)-1] &= 1<<rest - 1 // the unused bits of the last byte
	}
	return x
}

func equal(a, b *graph.Tensor) bool {
	return a.Type == b.Type && slices.Equal(a.Dims, b.Dims) && bytes.Equal(a.Data, b.Data) &&
		slices.EqualFunc(a.Strings, b.Strings, bytes.Equal)
}

// declarations are the ways in which a model may declare an output of known
// type and dims.
var declarations = map[string]func(Info) Info{
	"fixed":    func(i Info) Info { return i },
	"dynamic":  func(i Info) Info { return vec(i.Name, i.Type, slices.Repeat([]int64{-1}, len(i.Dims))...) },
	"rankless": func(i Info) Info { return rankless(i.Name, i.Type) },
	"untyped":  func(i Info) Info { return Info{Name: i.Name, Kind: UnknownKind} },
	"symbolic": func(i Info) Info {
		i = vec(i.Name, i.Type, slices.Repeat([]int64{-1}, len(i.Dims))...)
		for k := range i.Dims {
			i.params = append(i.params, fmt.Sprint("d", k))
		}
		return i
	},
}

func TestRunMovesEveryType(t *testing.T) {
	types := []graph.DType{
		graph.Float32, graph.Float64, graph.Float16, graph.BFloat16,
		graph.Int8, graph.Int16, graph.Int32, graph.Int64, graph.Uint8, graph.Uint16, graph.Uint32, graph.Uint64,
		graph.Bool, graph.String, graph.Float8E4M3FN, graph.Float8E4M3FNUZ, graph.Float8E5M2, graph.Float8E5M2FNUZ,
	}
	shapes := [][]int64{{}, {1}, {5}, {2, 3}, {0}, {2, 0, 3}}
	for _, typ := range types {
		for how, declare := range declarations {
			for _, dims := range shapes {
				if _, plain := codecs[typ]; !plain && len(dims) == 0 {
					continue // refused: TestRunRefuses
				}
				m := identity(typ, dims...)
				m.inputs[0], m.outputs[0] = declarations["symbolic"](m.inputs[0]), declare(m.outputs[0])
				checkIdentity(t, fmt.Sprintf("%s %v %s", typ, dims, how), m, sample(typ, dims...))
			}
		}
	}
}

// Identity has no kernels for types narrower than a byte; Cast has.
func TestRunMovesNarrowTypes(t *testing.T) {
	for typ, wide := range map[graph.DType]graph.DType{graph.Int4: graph.Int8, graph.Uint4: graph.Uint8} {
		for _, how := range []string{"fixed", "symbolic"} {
			for _, dims := range [][]int64{{1}, {5}, {2, 3}, {4}} {
				m := identity(typ, dims...)
				m.inputs[0], m.outputs[0] = declarations["symbolic"](m.inputs[0]), declarations[how](m.outputs[0])
				m.nodes = []testNode{
					{op: "Cast", in: []string{"x"}, out: []string{"wide"}, ints: map[string]int64{"to": int64(wide)}},
					{op: "Cast", in: []string{"wide"}, out: []string{"y"}, ints: map[string]int64{"to": int64(typ)}},
				}
				checkIdentity(t, fmt.Sprintf("%s %v %s", typ, dims, how), m, sample(typ, dims...))
			}
		}
	}
}

// checkIdentity runs y = x twice, so that both a guessed and a remembered
// shape are used, and once through Bind.
func checkIdentity(t *testing.T, label string, m testModel, x *graph.Tensor) {
	t.Helper()
	s, err := NewSession(m.bytes(), Options{})
	if err != nil {
		t.Errorf("%s: %v", label, err)
		return
	}
	defer s.Close()
	in := map[string]*graph.Tensor{"x": x}
	for range 2 {
		out, err := s.Run(t.Context(), in, nil)
		if err != nil {
			t.Errorf("%s: %v", label, err)
		} else if !equal(out["y"], x) {
			t.Errorf("%s: got %s % x %q, want % x %q", label, out["y"].Shape(), out["y"].Data, out["y"].Strings, x.Data, x.Strings)
		}
	}
	c, err := s.Bind(t.Context(), in)
	if err != nil {
		t.Errorf("%s: bind: %v", label, err)
		return
	}
	defer c.Close()
	if err := c.Run(); err != nil {
		t.Errorf("%s: call: %v", label, err)
	}
	if out, err := c.Outputs(); err != nil || !equal(out["y"], x) {
		t.Errorf("%s: call: got %v, %v", label, out["y"], err)
	}
}

// What a model declares about an output may be wrong; ONNX Runtime only warns.
func TestRunWrongDeclarations(t *testing.T) {
	for name, c := range map[string]struct {
		typ      graph.DType
		x        []int64
		declared []int64
		want     string // of the error; "" when it runs all the same
	}{
		"f32 of another length":     {graph.Float32, []int64{3}, []int64{7}, ""},
		"f32 of another rank":       {graph.Float32, []int64{2, 3}, []int64{6}, ""},
		"f32 declared scalar":       {graph.Float32, []int64{2}, []int64{}, ""},
		"f32 scalar of wrong rank":  {graph.Float32, []int64{}, []int64{1}, wrongShape},
		"f16 of another length":     {graph.Float16, []int64{3}, []int64{7}, wrongShape},
		"f16 of another rank":       {graph.Float16, []int64{2, 3}, []int64{-1}, wrongShape},
		"f16 of the same size":      {graph.Float16, []int64{2, 3}, []int64{6}, wrongShape},
		"f16 that is empty":         {graph.Float16, []int64{0}, []int64{2}, wrongShape},
		"f16 that is declared none": {graph.Float16, []int64{2}, []int64{0}, wrongShape},
	} {
		m := identity(c.typ)
		m.inputs[0], m.outputs[0] = rankless("x", c.typ), vec("y", c.typ, c.declared...)
		if c.want == "" {
			checkIdentity(t, name, m, sample(c.typ, c.x...))
			continue
		}
		out, err := mustOpen(t, m).Run(t.Context(), map[string]*graph.Tensor{"x": sample(c.typ, c.x...)}, nil)
		if fault.KindOf(err) != fault.Runtime || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v", name, out, err)
		}
	}
}

// The shape of a result may depend on the elements of the input, not on its
// shape alone.
func TestRunShapeDependsOnData(t *testing.T) {
	m := testModel{
		nodes: []testNode{
			{op: "Cast", in: []string{"x"}, out: []string{"b"}, ints: map[string]int64{"to": int64(graph.Bool)}},
			{op: "Compress", in: []string{"x", "b"}, out: []string{"y"}, ints: map[string]int64{"axis": 0}},
			{op: "Cast", in: []string{"y"}, out: []string{"h"}, ints: map[string]int64{"to": int64(graph.Float16)}},
		},
		inputs:  []Info{vec("x", graph.Float32, -1)},
		outputs: []Info{vec("h", graph.Float16, -1), vec("y", graph.Float32, -1)},
	}
	s := mustOpen(t, m)
	for _, x := range [][]float32{{1, 0, 2}, {0, 0, 0}, {1, 2, 3}, {1, 0, 2}} {
		out, err := s.Run(t.Context(), map[string]*graph.Tensor{"x": graph.NewTensor([]int64{3}, x)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := slices.DeleteFunc(slices.Clone(x), func(e float32) bool { return e == 0 })
		for _, name := range []string{"h", "y"} {
			got, err := out[name].Floats()
			if err != nil || len(got) != len(want) {
				t.Fatalf("%s of %v: %v, %v", name, x, got, err)
			}
			for i := range want {
				if got[i] != float64(want[i]) {
					t.Errorf("%s of %v: %v", name, x, got)
				}
			}
		}
	}
}

// ONNX Runtime does not write to the value it is given for such an output.
func TestRunPassesInputsThrough(t *testing.T) {
	for _, x := range []*graph.Tensor{sample(graph.Float16, 2, 3), sample(graph.Float32), sample(graph.String, 2)} {
		m := identity(x.Type, x.Dims...)
		m.outputs = append(m.outputs, m.inputs[0])
		checkIdentity(t, "beside a result", m, x)
		in := map[string]*graph.Tensor{"x": x}
		if out, err := mustOpen(t, m).Run(t.Context(), in, nil); err != nil || !equal(out["x"], x) {
			t.Errorf("%s beside a result: %v, %v", x.Shape(), out["x"], err)
		}
		m.nodes, m.outputs = nil, m.inputs
		if out, err := mustOpen(t, m).Run(t.Context(), in, nil); err != nil || !equal(out["x"], x) {
			t.Errorf("%s alone: %v, %v", x.Shape(), out["x"], err)
		}
	}
}

func TestRunConstantOutputs(t *testing.T) {
	for _, typ := range []graph.DType{graph.Float16, graph.Float32} {
		for how, declare := range declarations {
			if how == "symbolic" {
				continue // no input has such a symbol
			}
			m := identity(typ, 2, 3)
			w := sample(typ, 2, 3)
			w.Name, m.inits, m.nodes[0].in[0] = "w", []*graph.Tensor{w}, "w"
			m.outputs[0] = declare(m.outputs[0])
			out, err := mustOpen(t, m).Run(t.Context(), map[string]*graph.Tensor{"x": sample(typ, 2, 3)}, nil)
			if err != nil || !equal(out["y"], sample(typ, 2, 3)) {
				t.Errorf("%s %s: %v, %v", typ, how, out["y"], err)
			}
		}
	}
}

func TestRunWithoutInputs(t *testing.T) {
	w := graph.NewTensor([]int64{2}, []float32{3, 4})
	w.Name = "w"
	s := mustOpen(t, testModel{
		nodes:   []testNode{{op: "Neg", in: []string{"w"}, out: []string{"y"}}},
		outputs: []Info{vec("y", graph.Float32, 2)},
		inits:   []*graph.Tensor{w},
	})
	if len(s.Inputs()) != 0 {
		t.Errorf("inputs %v, want none", s.Inputs())
	}
	for _, in := range []map[string]*graph.Tensor{nil, {}} {
		out, err := s.Run(t.Context(), in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if want := graph.NewTensor([]int64{2}, []float32{-3, -4}); !equal(out["y"], want) {
			t.Errorf("got %v", out["y"])
		}
	}
}

// Before IR version 4 every initializer had to be listed as an input too.
func TestInputsLeaveOutInitializers(t *testing.T) {
	w := graph.NewTensor([]int64{2}, []float32{3, 4})
	w.Name = "w"
	s := mustOpen(t, testModel{
		ir: 3, opset: 8,
		nodes:   []testNode{{op: "Add", in: []string{"x", "w"}, out: []string{"y"}}},
		inputs:  []Info{vec("w", graph.Float32, 2), vec("x", graph.Float32, 2)},
		outputs: []Info{vec("y", graph.Float32, 2)},
		inits:   []*graph.Tensor{w},
	})
	if got := list(s.Inputs()); got != "x f32[2]" {
		t.Errorf("inputs: %s", got)
	}
	if got := list(s.Outputs()); got != "y f32[2]" {
		t.Errorf("outputs: %s", got)
	}
	out, err := s.Run(t.Context(), map[string]*graph.Tensor{"x": graph.NewTensor([]int64{2}, []float32{1, 2})}, []string{"y"})
	if err != nil || !equal(out["y"], graph.NewTensor([]int64{2}, []float32{4, 6})) {
		t.Errorf("got %v, %v", out["y"], err)
	}
}

func TestRunChosenOutputs(t *testing.T) {
	s := mustOpen(t, testModel{
		nodes: []testNode{
			{op: "Neg", in: []string{"x"}, out: []string{"n"}},
			{op: "SequenceConstruct", in: []string{"x"}, out: []string{"s"}},
		},
		inputs:  []Info{vec("x", graph.Float32, -1)},
		outputs: []Info{{Name: "s", Kind: SequenceKind, Type: graph.Float32}, vec("n", graph.Float32, -1)},
	})
	in := map[string]*graph.Tensor{"x": graph.NewTensor([]int64{1}, []float32{2})}
	out, err := s.Run(t.Context(), in, []string{"n"})
	if err != nil || len(out) != 1 || !equal(out["n"], graph.NewTensor([]int64{1}, []float32{-2})) {
		t.Errorf("got %v, %v", out, err)
	}
	for _, c := range []struct {
		outputs []string
		want    string
	}{
		{nil, `output "s": the binding of ONNX Runtime cannot return values of kind sequence`},
		{[]string{"q"}, `output "q": got a name that is no output, want one of s sequence, n f32[-1]`},
	} {
		if _, err := s.Run(t.Context(), in, c.outputs); fault.KindOf(err) != fault.Runtime || !strings.Contains(err.Error(), c.want) {
			t.Errorf("outputs %q: %v, want %s", c.outputs, err, c.want)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	f32 := func(dims ...int64) *graph.Tensor { return sample(graph.Float32, dims...) }
	type tensors = map[string]*graph.Tensor
	scalarOut := identity(graph.Float16)
	scalarOut.inputs[0] = vec("x", graph.Float16, 1)
	scalarOut.nodes[0] = testNode{op: "Squeeze", in: []string{"x"}, out: []string{"y"}}
	scalarOut.outputs[0] = rankless("y", graph.Float16)
	zero := &graph.Tensor{Type: graph.String, Dims: []int64{1}, Strings: [][]byte{[]byte("a\x00b")}}
	narrow := identity(graph.Int8, -1)
	narrow.nodes[0] = testNode{op: "Cast", in: []string{"x"}, out: []string{"y"}, ints: map[string]int64{"to": int64(graph.Int4)}}
	narrow.outputs[0] = vec("y", graph.Int4, -1)
	optional := testModel{
		nodes:   []testNode{{op: "OptionalGetElement", in: []string{"x"}, out: []string{"y"}}},
		inputs:  []Info{{Name: "x", Kind: OptionalKind, Type: graph.Float32}},
		outputs: []Info{vec("y", graph.Float32, -1)},
	}
	for _, c := range []struct {
		name string
		m    testModel
		in   tensors
		want string
	}{
		{"missing input", identity(graph.Float32, 2), nil, `input "x": got nothing, want x f32[2]`},
		{"nil tensor", identity(graph.Float32, 2), tensors{"x": nil}, `input "x": got nothing, want x f32[2]`},
		{"unknown input", identity(graph.Float32, 2), tensors{"x": f32(2), "z": f32(2)}, `input "z": got a name that is no input, want one of x f32[2]`},
		{"type", identity(graph.Float32, 2), tensors{"x": sample(graph.Float64, 2)}, `input "x": got f64[2], want x f32[2]`},
		{"rank", identity(graph.Float32, -1, 3), tensors{"x": f32(3)}, `input "x": got f32[3], want x f32[-1,3]`},
		{"dimension", identity(graph.Float32, -1, 3), tensors{"x": f32(1, 4)}, `dimension 1 is 4`},
		{"short data", identity(graph.Float32, 2), tensors{"x": {Type: graph.Float32, Dims: []int64{2}, Data: make([]byte, 7)}}, "holds 7 bytes, want 8"},
		{"negative dimension", identity(graph.Float32, -1), tensors{"x": {Type: graph.Float32, Dims: []int64{-1}}}, "negative"},
		{"scalar f16 in", identity(graph.Float16), tensors{"x": sample(graph.Float16)}, `cannot move a scalar of type f16`},
		{"scalar f16 out", scalarOut, tensors{"x": sample(graph.Float16, 1)}, `output "y": the binding of ONNX Runtime cannot move a scalar of type f16`},
		{"scalar string", identity(graph.String), tensors{"x": sample(graph.String)}, "cannot move a scalar string"},
		{"zero byte", identity(graph.String, 1), tensors{"x": zero}, "string 0: it has a zero byte"},
		{"narrow type of unknown shape", narrow, tensors{"x": sample(graph.Int8, 1)}, `output "y": its shape is not declared and cannot be asked for`},
		{"optional input", optional, tensors{"x": f32(1)}, "cannot pass values of kind optional"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := mustOpen(t, c.m).Run(t.Context(), c.in, nil)
			if fault.KindOf(err) != fault.Runtime || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "m.onnx: ") {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestScalarStringsComeOut(t *testing.T) {
	m := identity(graph.String, 1)
	m.nodes[0].op, m.outputs[0] = "Squeeze", vec("y", graph.String)
	out, err := mustOpen(t, m).Run(t.Context(), map[string]*graph.Tensor{"x": sample(graph.String, 1)}, nil)
	if err != nil || !equal(out["y"], sample(graph.String)) {
		t.Errorf("got %+v, %v", out["y"], err)
	}
}

func TestNewSessionFileFindsExternalData(t *testing.T) {
	dir := t.TempDir()
	w := graph.NewTensor([]int64{2}, []float32{3, 4})
	m := testModel{
		nodes:   []testNode{{op: "Add", in: []string{"x", "w"}, out: []string{"y"}}},
		inputs:  []Info{vec("x", graph.Float32, 2)},
		outputs: []Info{vec("y", graph.Float32, 2)},
		inits: []*graph.Tensor{{Name: "w", Type: graph.Float32, Dims: w.Dims, Storage: graph.StoreExternal,
			External: []graph.Entry{{Key: "location", Value: "w.bin"}}}},
	}
	path := filepath.Join(dir, "m.onnx")
	if err := os.WriteFile(path, m.bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := NewSessionFile(path, Options{})
	if fault.KindOf(err) != fault.Runtime || !strings.Contains(err.Error(), "put the file with the weights where the model names it") {
		t.Errorf("without the data: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "w.bin"), w.Data, 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := NewSessionFile(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.Run(context.Background(), map[string]*graph.Tensor{"x": graph.NewTensor([]int64{2}, []float32{1, 2})}, nil)
	if err != nil || !equal(out["y"], graph.NewTensor([]int64{2}, []float32{4, 6})) {
		t.Errorf("got %v, %v", out["y"], err)
	}
}
