package onnxgo

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"nuwa/exporter"
	"nuwa/graph"
	"nuwa/importer"
	"nuwa/internal/fault"
	"nuwa/internal/ort"

	"github.com/owulveryck/onnx-go"
	"github.com/owulveryck/onnx-go/backend/testbackend"
	_ "github.com/owulveryck/onnx-go/backend/testbackend/onnx"
)

var update = flag.Bool("update", false, "write the list of refused cases anew")

// decode takes a model through onnx-go.
func decode(data []byte) (g *graph.Model, err error) {
	b, err := New(data)
	if err != nil {
		return nil, err
	}
	m := onnx.NewModel(b)
	if err := m.UnmarshalBinary(data); err != nil {
		return nil, fmt.Errorf("onnx-go fails on a model that New accepts: %w", err)
	}
	return b.Model(m)
}

// TestCorpus takes every operator case of onnx-go through onnx-go. What comes
// out is the graph that importer makes, but for the losses that the package
// states, and runs to the same outputs.
func TestCorpus(t *testing.T) {
	_, noRuntime := ort.Load("")
	cases := map[string]*testbackend.TestCase{}
	for _, make := range testbackend.GetAllRegisteredTests() {
		tc := make()
		cases[tc.Title] = tc
	}
	if len(cases) != 348 {
		t.Errorf("the corpus has %d cases, want 348", len(cases))
	}
	var list strings.Builder
	carried, ran := 0, 0
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		tc := cases[name]
		got, err := decode(tc.ModelB)
		if err != nil {
			var e *fault.Error
			if !errors.As(err, &e) || e.Kind != fault.Model {
				t.Errorf("%s: %v", name, err)
				continue
			}
			fmt.Fprintf(&list, "%s: %s\n", name, e.Got)
			continue
		}
		carried++
		want, err := importer.Decode(name, tc.ModelB, "")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := got.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if g, w := normal(got), normal(want); g != w {
			t.Errorf("%s: onnx-go gives another graph:\n%s\nthan importer:\n%s", name, g, w)
		}
		if noRuntime == nil && runsAlike(t, tc, got, want) {
			ran++
		}
	}
	t.Logf("run %d, carried %d (of which %d ran to the outputs of the original), refused %d with reason",
		len(cases), carried, ran, len(cases)-carried)
	file := "testdata/refused.txt"
	if *update {
		if err := os.WriteFile(file, []byte(list.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(old) != list.String() {
		t.Errorf("%s is not what is refused now:\n%s", file, list.String())
	}
	if noRuntime != nil {
		t.Skipf("decoded only: %v", noRuntime)
	}
}

// runsAlike runs both graphs on the case's data, where that fits the model.
func runsAlike(t *testing.T, tc *testbackend.TestCase, got, want *graph.Model) bool {
	t.Helper()
	in := map[string]*graph.Tensor{}
	for i, v := range got.Graph.Inputs() {
		if i >= len(tc.Input) {
			return false
		}
		x, err := Tensor(tc.Input[i])
		if err != nil {
			return false
		}
		if dims, ok := v.Type.Dims(); ok && graph.Elements(dims) == x.Len() {
			x.Dims = dims
		}
		in[v.Name()] = x
	}
	var outs [2]map[string]*graph.Tensor
	for i, m := range []*graph.Model{want, got} {
		data, err := exporter.Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ort.NewSession(data, ort.Options{Name: tc.Title, Threads: 1})
		if err != nil {
			t.Errorf("%s: %v", tc.Title, err)
			return false
		}
		defer s.Close()
		if outs[i], err = s.Run(t.Context(), in, nil); err != nil {
			if i == 1 {
				t.Errorf("%s: the original runs, but not the graph from onnx-go: %v", tc.Title, err)
			}
			return false
		}
	}
	for name, w := range outs[0] {
		g := outs[1][name]
		if g == nil || w.Shape() != g.Shape() || !bytes.Equal(w.Data, g.Data) {
			t.Errorf("%s: output %q differs", tc.Title, name)
		}
	}
	return true
}

// normal prints what onnx-go is to carry of a model.
func normal(m *graph.Model) string {
	var b strings.Builder
	g := m.Graph
	fmt.Fprintln(&b, m.IRVersion, m.Opset(""))
	for _, v := range g.Inputs() {
		if v.Default() == nil {
			fmt.Fprintf(&b, "in %q %s\n", v.Name(), v.Type)
		}
	}
	for _, v := range g.Outputs() {
		fmt.Fprintf(&b, "out %q %s\n", v.Name(), v.Type)
	}
	var lines []string
	for _, v := range g.Consts() {
		if len(v.Uses()) > 0 {
			lines = append(lines, fmt.Sprintf("const %q %s %x\n", v.Name(), v.Default().Shape(), v.Default().Data))
		}
	}
	slices.Sort(lines)
	fmt.Fprint(&b, strings.Join(lines, ""))
	name := func(v *graph.Value) string {
		if v == nil {
			return "-"
		}
		return fmt.Sprintf("%q", v.Name())
	}
	for _, n := range g.Nodes() {
		fmt.Fprint(&b, n.Op)
		for _, v := range n.Inputs() {
			fmt.Fprint(&b, " ", name(v))
		}
		fmt.Fprint(&b, " ->")
		for _, v := range n.Outputs() {
			fmt.Fprint(&b, " ", name(v))
			if v != nil {
				fmt.Fprint(&b, v.Type)
			}
		}
		attrs := slices.Clone(n.Attrs())
		slices.SortFunc(attrs, func(x, y *graph.Attr) int { return strings.Compare(x.Name, y.Name) })
		for _, a := range attrs {
			fmt.Fprintf(&b, " %s:%d %x %d %q %x %d %q", a.Name, a.Kind, math.Float32bits(a.F), a.I, a.S, a.Floats, a.Ints, a.Strings)
			for _, x := range a.Tensors {
				fmt.Fprintf(&b, " %s %x", x.Shape(), x.Data)
			}
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}
