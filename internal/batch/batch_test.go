package batch_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nuwa/configs"
	"nuwa/exporter"
	"nuwa/exporter/target"
	"nuwa/importer"
	"nuwa/internal/batch"
	"nuwa/internal/derive"
	"nuwa/internal/fault"
	"nuwa/internal/modelfile"
	"nuwa/internal/task"
	"nuwa/testmodels"
)

// The models of a batch are bit for bit those of separate runs. Run again, it
// keeps what is there; what is gone or damaged is made again, the same.
func TestBatchEqualsSeparateRuns(t *testing.T) {
	dir, err := testmodels.Dir()
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	config := func() *configs.Config {
		c, err := configs.Parse("batch.yaml", []byte(`
base: `+in("vit_vehicles.onnx")+`
data: {train: `+in("data/vehicles.zip")+`/train, labels: `+in("labels.txt")+`}
defaults: {images: 16, seed: 3}
tasks:
  - {name: cars, classes: [car, truck]}
  - {name: wrong, classes: [car, starship]}
sizes: [{rate: 0.4}, {max-bytes: 1.5MB}]
targets: [cpu, raspberry-pi]
output: {dir: `+filepath.Join(work, "out")+`}`), nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	began := map[string]int{}
	run := func() *batch.Result {
		t.Helper()
		clear(began)
		r, err := batch.Run(t.Context(), batch.Options{Config: config(), Cores: 2, Cache: filepath.Join(work, "cache"), Progress: func(p batch.Progress) {
			if p.State == "done" {
				began[p.Step]++
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		if failed := r.Failed(); len(failed) != 4 || failed[0].Task != "wrong" || fault.KindOf(failed[0].Err) != fault.Data {
			t.Errorf("failed: %+v", failed)
		}
		return r
	}
	first := run()
	for _, step := range []string{"base", "task cars", "cars rate-0.4", "cars bytes-1.5MB cpu", "cars bytes-1.5MB raspberry-pi", "cars-rate-0.4-cpu.onnx"} {
		if began[step] != 1 {
			t.Errorf("%s was done %d times: %v", step, began[step], began)
		}
	}
	content := map[string][]byte{}
	for _, m := range first.Models {
		if m.Task == "wrong" {
			continue
		}
		if m.Status != batch.Made {
			t.Fatalf("%+v", m)
		}
		if content[m.Output], err = os.ReadFile(m.Output); err != nil {
			t.Fatal(err)
		}
	}
	o := task.Options{Model: in("vit_vehicles.onnx"), Data: in("data/vehicles.zip") + "/train", Labels: in("labels.txt"), Images: 16, Seed: 3,
		Classes: []string{"car", "truck"}, SkipBench: true, Runtime: modelfile.Runtime{Threads: 1}}
	for i, change := range map[int]func(*task.Options){
		1: func(o *task.Options) { o.Rate, o.Target = 0.4, preset(t, "raspberry-pi") },
		2: func(o *task.Options) { o.Budget.MaxBytes, o.Target = 1.5e6, preset(t, "cpu") },
	} {
		alone := o
		alone.Output = filepath.Join(work, "alone.onnx")
		alone.Force = true
		change(&alone)
		if _, err := derive.Derive(t.Context(), alone); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(alone.Output)
		if err != nil || !bytes.Equal(b, content[first.Models[i].Output]) {
			t.Errorf("%s differs from a run of its own, %v", first.Models[i].Output, err)
		}
	}
	if m := first.Models[2]; len(content[m.Output]) > 1.5e6 || len(content[m.Output]) < 1.35e6 || m.Result.Budget == nil {
		t.Errorf("%d bytes where 1.5 MB are allowed", len(content[m.Output]))
	}

	// Nothing is done twice.
	for _, m := range run().Models[:4] {
		if m.Status != batch.Kept || m.Result == nil {
			t.Errorf("%s: %s", m.Output, m.Status)
		}
	}
	if len(began) > 0 {
		t.Errorf("done again: %v", began)
	}

	// What is gone is made again; a damaged entry is no harm.
	lost := first.Models[1].Output
	if err := os.Remove(lost); err != nil {
		t.Fatal(err)
	}
	entries, err := filepath.Glob(filepath.Join(work, "cache", "*", "*.entry"))
	if err != nil || len(entries) < 6 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	largest, size := "", int64(0)
	for _, e := range entries {
		if info, err := os.Stat(e); err == nil && info.Size() > size {
			largest, size = e, info.Size()
		}
	}
	if err := os.Truncate(largest, size-1); err != nil {
		t.Fatal(err)
	}
	second := run()
	if began["cars-rate-0.4-cpu.onnx"] != 0 || began["cars-rate-0.4-raspberry-pi.onnx"] != 1 || second.Models[1].Status != batch.Made {
		t.Errorf("done again: %v", began)
	}
	for name, want := range content {
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s became another, %v", name, err)
		}
	}

	// A file of someone else's is not replaced; one that a run made is, when the
	// configuration asks for another.
	if err := os.WriteFile(lost, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	edited := config()
	edited.Defaults.Seed, edited.Sizes, edited.Tasks = 4, edited.Sizes[:1], edited.Tasks[:1]
	finished := 0
	third, err := batch.Run(t.Context(), batch.Options{Config: edited, Cores: 2, Cache: filepath.Join(work, "cache"), Progress: func(p batch.Progress) {
		if p.State != "done" || filepath.Ext(p.Step) != ".onnx" {
			return
		}
		finished++
		doc, err := os.ReadFile(filepath.Join(work, "out", strings.TrimSuffix(p.Step, ".onnx")+".json"))
		if err != nil || !bytes.Contains(doc, []byte(`"seed": 4`)) {
			t.Errorf("%s is finished, and its report is of another model: %v", p.Step, err)
		}
	}})
	if err != nil || fault.KindOf(third.Models[1].Err) != fault.Exists || third.Models[0].Status != batch.Made || finished != 1 {
		t.Errorf("%+v, %v", third, err)
	}
	if got, err := os.ReadFile(lost); err != nil || string(got) != "mine" {
		t.Errorf("someone's file became %q, %v", got, err)
	}
	if got, err := os.ReadFile(third.Models[0].Output); err != nil || bytes.Equal(got, content[third.Models[0].Output]) {
		t.Errorf("the model of another seed is that of the first, %v", err)
	}

	// Nor is a report of someone else's.
	page := strings.TrimSuffix(third.Models[0].Output, ".onnx") + ".html"
	if err := os.WriteFile(page, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	fourth, err := batch.Run(t.Context(), batch.Options{Config: edited, Cores: 2, Cache: filepath.Join(work, "cache")})
	if err != nil || fault.KindOf(fourth.Models[0].Err) != fault.Exists {
		t.Errorf("%+v, %v", fourth, err)
	}
}

func preset(t *testing.T, name string) target.Target {
	t.Helper()
	p, err := target.Preset(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A base whose weights lie in another file is another base when those change.
func TestExternalWeightsCount(t *testing.T) {
	dir, err := testmodels.Dir()
	if err != nil {
		t.Fatal(err)
	}
	m, err := importer.Load(filepath.Join(dir, "vit_vehicles.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	base := filepath.Join(work, "base.onnx")
	if _, err := exporter.Write(m, base, exporter.Options{Weights: exporter.External}); err != nil {
		t.Fatal(err)
	}
	c, err := configs.Parse("batch.yaml", []byte(`
base: `+base+`
defaults: {calibration: synthetic, images: 16}
tasks: [{name: all, classes: all}]
sizes: [{rate: 0.4}]
targets: [cpu]
output: {dir: `+filepath.Join(work, "out")+`}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	run := func() (string, []byte) {
		r, err := batch.Run(t.Context(), batch.Options{Config: c, Cache: filepath.Join(work, "cache")})
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(r.Models[0].Output)
		if err != nil {
			t.Fatal(err)
		}
		return r.Models[0].Status, text
	}
	_, first := run()
	if status, _ := run(); status != batch.Kept {
		t.Errorf("the second run: %v", status)
	}
	all, err := filepath.Glob(base + "?*")
	if err != nil || len(all) != 1 {
		t.Fatalf("beside the base lie %q, %v", all, err)
	}
	weights, err := os.ReadFile(all[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := 3; i < len(weights); i += 4 {
		weights[i] ^= 0x80 // the sign
	}
	if err := os.WriteFile(all[0], weights, 0o600); err != nil {
		t.Fatal(err)
	}
	if status, second := run(); status != batch.Made || bytes.Equal(first, second) {
		t.Errorf("with other weights: %v, the same file %v", status, bytes.Equal(first, second))
	}
}
