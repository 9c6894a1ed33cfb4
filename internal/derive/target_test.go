package derive_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"nuwa/exporter/target"
	"nuwa/internal/derive"
	"nuwa/internal/examine"
	"nuwa/internal/fault"
	"nuwa/internal/modelfile"
	"nuwa/internal/task"
)

// demoOptions are those of a small derivation of the shipped model.
func demoOptions(in func(string) string) task.Options {
	return task.Options{
		Model: in("vit.onnx"), Output: in("slim.onnx"), Data: in("vehicles.zip") + "/train", Test: in("vehicles.zip") + "/test",
		Labels: in("labels.txt"), Classes: []string{"car", "truck"}, Images: 32, Seed: 1, SkipBench: true, Cache: in("cache"), Runtime: modelfile.Runtime{Threads: 1},
	}
}

// Limits hold, nearly to the full, for the file that is written, in whatever
// form the target wants it.
func TestLimitsHoldForTheFile(t *testing.T) {
	if testing.Short() {
		t.Skip("three searches")
	}
	in := demoFiles(t, true)
	for _, x := range []struct {
		name   string
		target target.Target
		bytes  int64
	}{
		{"half", target.Target{Name: "half", Precision: "fp16"}, 800e3},
		{"int8", target.Target{Name: "int8", Precision: "int8", Align: 8}, 500e3},
		{"fused", target.Target{Name: "fused", Fuse: "ort"}, 1500e3},
	} {
		o := demoOptions(in)
		o.Force, o.Target, o.Budget.MaxBytes = true, x.target, x.bytes
		res, err := derive.Derive(t.Context(), o)
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		info, err := os.Stat(o.Output)
		if err != nil {
			t.Fatal(err)
		}
		if n := info.Size(); n > x.bytes || n < x.bytes*9/10 || float64(n) != res.Budget.Limits[0].Met {
			t.Errorf("%s: %d bytes where %d are allowed; the search met %v", x.name, n, x.bytes, res.Budget.Limits)
		}
	}
}

// The batch and the layout that a target wants are those of the file, which is
// judged and read as before.
func TestPortsOfTheTarget(t *testing.T) {
	in := demoFiles(t, true)
	o := demoOptions(in)
	o.Rate = 0.4
	plain, err := derive.Derive(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	o.Force, o.Target = true, target.Target{Name: "board", Batch: 3, Layout: "nhwc", MaxMemory: 1 << 30, MaxLatency: time.Minute}
	res, err := derive.Derive(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	seen, err := examine.Inspect(t.Context(), examine.InspectOptions{Model: o.Output})
	if err != nil || !strings.Contains(seen.Input, "[3,48,48,3]") || res.Target.Batch != 3 || len(res.Target.Violations) > 0 || len(res.Target.Limits) != 2 {
		t.Errorf("input %q, %+v, %v", seen.Input, res.Target, err)
	}
	alone, err := examine.Eval(t.Context(), examine.EvalOptions{Model: o.Output, Data: o.Test})
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []float64{res.Summary.Models[1].Accuracy.Restricted.Accuracy, alone.Restricted.Accuracy} {
		if want := plain.Summary.Models[1].Accuracy.Restricted.Accuracy; got != want {
			t.Errorf("accuracy %.3f with the target's ports, %.3f without", got, want)
		}
	}

	o.Target.MaxMemory = 1 << 20
	if _, err := derive.Derive(t.Context(), o); fault.KindOf(err) != fault.Unreachable || !strings.Contains(err.Error(), "max-memory") {
		t.Errorf("got %v, want an error about the target's memory", err)
	}
}
