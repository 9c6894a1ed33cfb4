package target

import (
	"errors"
	"slices"
	"testing"

	"nuwa/graph"
	"nuwa/internal/fault"
)

func TestPresets(t *testing.T) {
	for _, name := range Presets() {
		p, err := Preset(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Validate(); err != nil {
			t.Error(err)
		}
		if !slices.IsSorted(p.Operators) {
			// Domains of others come last; within one domain operators are in order.
			own := slices.DeleteFunc(slices.Clone(p.Operators), func(s string) bool { return len(s) > 4 && s[:4] == "com." })
			if !slices.IsSorted(own) {
				t.Errorf("%s: its operators are out of order", name)
			}
		}
		if len(slices.Compact(slices.Sorted(slices.Values(p.Operators)))) != len(p.Operators) {
			t.Errorf("%s: an operator is listed twice", name)
		}
	}
	_, err := Preset("rasberry-pi")
	var e *fault.Error
	if !errors.As(err, &e) || e.Kind != fault.Usage || e.Remedy != "did you mean raspberry-pi?" {
		t.Errorf("got %v", err)
	}
}

func TestValidate(t *testing.T) {
	for _, bad := range []Target{{Precision: "fp8"}, {Layout: "chw"}, {Fuse: "all"}, {Norms: "slow"}, {Opset: -1}, {MaxLatency: -1}, {ProviderOptions: map[string]string{"threads": "1"}}} {
		if fault.KindOf(bad.Validate()) != fault.Usage {
			t.Errorf("%+v: got %v, want a usage error", bad, bad.Validate())
		}
	}
}

func TestCheck(t *testing.T) {
	m := graph.NewModel(graph.Opset{Version: 21})
	x := m.Graph.AddInput("x", graph.TensorType(graph.Float32, graph.Sym("batch"), graph.Fixed(3), graph.Fixed(8), graph.Fixed(8)))
	y := m.Graph.Add("Erf", "gelu", []*graph.Value{x}).Output(0)
	m.Graph.AddOutput(m.Graph.Add("Relu", "act", []*graph.Value{y}).Output(0))
	got := Check(m, Target{Name: "dev", Opset: 17, Batch: 1, Layout: "nhwc", Operators: []string{"Relu"}})
	want := []string{"the model", `input "x"`, `input "x"`, `Erf "gelu"`}
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i, v := range got {
		if v.Where != want[i] {
			t.Errorf("violation %d is at %s, want %s", i, v.Where, want[i])
		}
	}
	if got := Check(m, Target{}); got != nil {
		t.Errorf("no wishes, yet %v", got)
	}
}
