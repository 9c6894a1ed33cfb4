package derive_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nuwa/exporter"
	"nuwa/graph"
	"nuwa/importer"
	"nuwa/internal/derive"
	"nuwa/internal/examine"
	"nuwa/internal/report"
	"nuwa/internal/task"
	"nuwa/testmodels"
)

// demoFiles writes the shipped model, its images and labels to a folder, and
// what tells how pixel values are scaled if asked for.
func demoFiles(t *testing.T, preprocessor bool) (in func(name string) string) {
	t.Helper()
	dir := t.TempDir()
	in = func(name string) string { return filepath.Join(dir, name) }
	files := map[string][]byte{
		"vit.onnx": testmodels.Demo(), "vehicles.zip": testmodels.Images(), "labels.txt": []byte(strings.Join(testmodels.Labels(), "\n")),
	}
	if preprocessor {
		files["preprocessor_config.json"] = testmodels.Preprocessor()
	}
	for name, content := range files {
		if err := os.WriteFile(in(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return in
}

// expecting makes the model in file, which takes values in -1..1, take values
// of the given mean and deviation.
func expecting(t *testing.T, file string, mean, std []float32) {
	t.Helper()
	m, err := importer.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	g := m.Graph
	in := g.Inputs()[0]
	var scale, shift []float32
	for c := range mean {
		scale, shift = append(scale, std[c]/.5), append(shift, (mean[c]-.5)/.5)
	}
	dims := []int64{1, 3, 1, 1}
	mul := g.Add("Mul", "scaled", []*graph.Value{in, g.AddConst("scale", graph.NewTensor(dims, scale))})
	add := g.Add("Add", "shifted", []*graph.Value{mul.Output(0), g.AddConst("shift", graph.NewTensor(dims, shift))})
	in.ReplaceUses(add.Output(0))
	mul.SetInput(0, in)
	if err := g.Sort(); err != nil {
		t.Fatal(err)
	}
	data, err := exporter.Encode(m)
	if err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Where nothing says how pixel values are scaled, the calibration images do:
// the base is as accurate as it is when fed right, and the slim model
// remembers.
func TestNormalizationIsFound(t *testing.T) {
	options := func(preprocessor bool) task.Options {
		in := demoFiles(t, preprocessor)
		return task.Options{
			Model: in("vit.onnx"), Output: in("slim.onnx"), Data: in("vehicles.zip") + "/train", Test: in("vehicles.zip") + "/test",
			Labels: in("labels.txt"), Classes: []string{"car", "truck"}, Rate: 0.2, Recipe: "paper", Purify: "none", Images: 32, SkipBench: true,
		}
	}
	run := func(o task.Options) (*report.Result, string) {
		t.Helper()
		res, err := derive.Derive(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return res, strings.Join(res.Notes, "\n")
	}
	const unsaid, chosen = "nothing says how pixel values are scaled", "fits best"

	told, notes := run(options(true))
	if strings.Contains(notes, unsaid) {
		t.Errorf("with a preprocessor_config.json: notes %q", notes)
	}

	o := options(false)
	o.DryRun = true
	if _, notes := run(o); !strings.Contains(notes, unsaid) || strings.Contains(notes, chosen) {
		t.Errorf("where the default is right: notes %q", notes)
	}

	o = options(false)
	expecting(t, o.Model, []float32{.485, .456, .406}, []float32{.229, .224, .225})
	found, notes := run(o)
	if !strings.Contains(notes, unsaid) || !strings.Contains(notes, chosen) {
		t.Errorf("where the default is wrong: notes %q", notes)
	}
	if got, want := found.Summary.Models[0].Accuracy.All.Accuracy, told.Summary.Models[0].Accuracy.All.Accuracy; got < want-0.03 {
		t.Errorf("the base has accuracy %.3f as told, %.3f as found", want, got)
	}
	slim, err := examine.Eval(t.Context(), examine.EvalOptions{Model: o.Output, Data: o.Test})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := slim.Restricted.Accuracy, found.Summary.Models[1].Accuracy.Restricted.Accuracy; got != want {
		t.Errorf("the slim model alone has accuracy %.3f, when derived %.3f", got, want)
	}
}
