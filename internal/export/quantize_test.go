package export_test

import (
	"os"
	"path/filepath"
	"testing"

	"nuwa/exporter"
	"nuwa/graph"
	"nuwa/importer"
	"nuwa/internal/export"
	"nuwa/internal/modelfile"
	"nuwa/internal/report"
	"nuwa/passes"
	"nuwa/passes/structure"
	"nuwa/testmodels"
)

// outlier gives a hidden layer one more thing to hold: a neuron that is always
// far larger than all others and that nothing listens to. In single precision
// the model computes what it did; in integers the others have no level left
// between them. It returns the linear map that this harms.
func outlier(t *testing.T, mlp *structure.MLP) *graph.Node {
	t.Helper()
	set := func(v *graph.Value, at func(i int) bool, x float32) {
		xs, err := v.Const().Floats()
		if err != nil {
			t.Fatal(err)
		}
		out := make([]float32, len(xs))
		for i := range xs {
			if out[i] = float32(xs[i]); at(i) {
				out[i] = x
			}
		}
		v.SetConst(graph.NewTensor(v.Const().Dims, out))
	}
	const neuron = 7
	first, second := mlp.First[0], mlp.Second // both [in, out]
	set(first.W, func(i int) bool { return i%mlp.Hidden == neuron }, 0)
	set(first.B, func(i int) bool { return i == neuron }, 3000)
	set(second.W, func(i int) bool { return i/second.OutDim == neuron }, 0)
	return second.Node
}

// A linear map that integers harm stays in single precision, alone, and the
// accuracy is what it was.
func TestHarmfulLayersStayInSinglePrecision(t *testing.T) {
	dir, err := testmodels.Dir()
	if err != nil {
		t.Fatal(err)
	}
	m, err := importer.Load(filepath.Join(dir, "vit_vehicles.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	runtime := modelfile.Runtime{Threads: 1}
	eng, err := runtime.Start()
	if err != nil {
		t.Fatal(err)
	}
	s := &passes.State{Model: m, Engine: eng}
	if _, err := (&passes.Manager{SkipProof: true}).Run(t.Context(), s, passes.Cleaning); err != nil {
		t.Fatal(err)
	}
	planted := outlier(t, s.ViT.Blocks[0].MLP)
	text, err := exporter.Encode(s.Model)
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	path := filepath.Join(work, "planted.onnx")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	quantized := func(drop float64) *report.Quantized {
		t.Helper()
		r, err := export.Export(t.Context(), export.Options{Model: path, Output: filepath.Join(work, "int8.onnx"), Force: true, Precision: "int8",
			Data: filepath.Join(dir, "data", "vehicles.zip") + "/train", Labels: filepath.Join(dir, "labels.txt"), Classes: []string{"car", "bus", "boat", "tank"}, Images: 32, Drop: drop, Tolerance: 10, Runtime: runtime,
			Preprocess: modelfile.Preprocess{Mean: []float32{.5, .5, .5}, Std: []float32{.5, .5, .5}}})
		if err != nil {
			t.Fatal(err)
		}
		return r.Quantized
	}
	harmed := quantized(1)
	if harmed.Accuracy > harmed.Single-0.1 || len(harmed.Float) != 1 { // the patch embedding has no form in integers
		t.Fatalf("all in integers, the model is as accurate as before: %+v", harmed)
	}
	q := quantized(0.01)
	var left []report.FloatLayer
	for _, l := range q.Float {
		if l.Harm != 0 {
			left = append(left, l)
		}
	}
	if q.Accuracy < q.Single-0.01 || q.Layers != harmed.Layers-1 || len(left) != 1 || left[0].Layer != planted.String() || left[0].Harm < 0.1 {
		t.Errorf("accuracy %.3f, in single precision %.3f; left in it: %v, want %s", q.Accuracy, q.Single, left, planted)
	}
}
