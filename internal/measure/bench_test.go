package measure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"nuwa/exporter"
	"nuwa/graph"
	"nuwa/importer"
	"nuwa/internal/fault"
	"nuwa/testmodels"
)

func TestBench(t *testing.T) {
	a, b, c := spec{}.open(t), spec{}.open(t), spec{batch: graph.Fixed(5)}.open(t)
	a.Name, b.Name, c.Name = "a", "b", "c"
	var progress []int
	r, err := Bench(t.Context(), []*Model{a, b, c}, BenchOptions{Runs: 12, Progress: func(done, total int) {
		if total != 12 {
			t.Errorf("progress: %d of %d", done, total)
		}
		progress = append(progress, done)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Batch != 5 || r.Rounds != 12 || len(r.Models) != 3 || len(r.Speedups) != 2 || len(progress) != 12 {
		t.Fatalf("got %+v, progress %v", r, progress)
	}
	for i, m := range r.Models {
		if m.Model != []string{"a", "b", "c"}[i] || m.Threads != 1 || m.Min <= 0 || m.Min > m.Median || m.Median > m.P90 || m.Spread < 0 {
			t.Errorf("model %d: %+v", i, m)
		}
		near(t, "throughput", m.Throughput*m.Median.Seconds(), 5, 0.01)
	}
	for i, s := range r.Speedups {
		if s.Over != "a" || s.Model != r.Models[i+1].Model || s.Ratios != 12 || s.Interval.Low <= 0 || s.Interval.Low > s.Median || s.Median > s.Interval.High {
			t.Errorf("speedup %d: %+v", i, s)
		}
	}
}

// The ratios are those of runs in the same round: a load that doubles the
// times of both models in half of the rounds changes none of them.
func TestBenchRatios(t *testing.T) {
	a, b := &Model{Name: "a"}, &Model{Name: "b"}
	times := [][]float64{nil, nil}
	for r := range 20 {
		load := float64(1 + r%2)
		times[0] = append(times[0], 4e6*load)
		times[1] = append(times[1], 2e6*load)
	}
	r := newBenchmark([]*Model{a, b}, times, 8)
	s := r.Speedups[0]
	if s.Median != 2 || s.Interval != (Interval{2, 2}) || s.Spread != 0 || s.Ratios != 20 {
		t.Errorf("speedup %+v", s)
	}
	m := r.Models[0]
	if m.Min != 4*time.Millisecond || m.Median != 6*time.Millisecond || m.P90 != 8*time.Millisecond || m.Spread != 4./6 {
		t.Errorf("timing %+v", m)
	}
	near(t, "throughput", m.Throughput, 8/0.006, 1e-6)
}

// A model that computes more is slower, in a ViT of real shape too.
func TestBenchTellsModelsApart(t *testing.T) {
	heavy := spec{tail: func(g *graph.Graph, y *graph.Value) []*graph.Value {
		n := int64(600)
		w := g.AddConst("big", graph.NewTensor([]int64{n, n}, make([]float32, n*n)))
		x := g.AddConst("wide", graph.NewTensor([]int64{4, n}, make([]float32, 4*n)))
		v := g.Add("MatMul", "widen", []*graph.Value{y, x}).Output(0)
		for i := range 20 {
			v = g.Add("MatMul", fmt.Sprint("more", i), []*graph.Value{v, w}).Output(0)
		}
		return []*graph.Value{v}
	}}
	r, err := Bench(t.Context(), []*Model{heavy.open(t), spec{}.open(t)}, BenchOptions{Runs: 15, Batch: 16})
	if err != nil {
		t.Fatal(err)
	}
	if s := r.Speedups[0]; s.Median < 2 {
		t.Errorf("got %+v", s)
	}
}

func TestBenchMinTime(t *testing.T) {
	r, err := Bench(t.Context(), []*Model{spec{}.open(t)}, BenchOptions{Runs: 1, Warmup: -1, MinTime: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if r.Rounds < 2 || len(r.Speedups) != 0 {
		t.Errorf("got %+v", r)
	}
}

// Models with several inputs, without a batch or of open image size have a
// latency like others.
func TestBenchInputs(t *testing.T) {
	m := graph.NewModel(graph.Opset{Version: 17})
	x := m.Graph.AddInput("x", graph.TensorType(graph.Float32, graph.Sym("n"), graph.Fixed(3), graph.Sym("h"), graph.Sym("w")))
	z := m.Graph.AddInput("z", graph.TensorType(graph.Float32, graph.Fixed(1)))
	m.Graph.AddOutput(m.Graph.Add("Mul", "", []*graph.Value{x, z}).Output(0))
	models := []*Model{open(t, Source{Graph: m})}
	_, err := Bench(t.Context(), models, BenchOptions{Runs: 1})
	if err == nil || !strings.Contains(err.Error(), `"x"`) {
		t.Errorf("open size: %v", err)
	}
	r, err := Bench(t.Context(), models, BenchOptions{Runs: 2, Batch: 2, Image: []int64{3, 5, 7}})
	if err != nil || r.Batch != 2 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestBenchRefuses(t *testing.T) {
	four, five, any := spec{batch: graph.Fixed(4)}.open(t), spec{batch: graph.Fixed(5)}.open(t), spec{}.open(t)
	four.Name, five.Name = "four", "five"
	for name, c := range map[string]struct {
		models []*Model
		opt    BenchOptions
		says   string
	}{
		"no model":       {nil, BenchOptions{}, "no model"},
		"another batch":  {[]*Model{any, four}, BenchOptions{Batch: 8}, "four: got a model of fixed batch 4, want batch 8"},
		"two batches":    {[]*Model{any, four, five}, BenchOptions{}, "want batch 4, to which four is fixed"},
		"negative runs":  {[]*Model{any}, BenchOptions{Runs: -1}, "-1 runs"},
		"negative batch": {[]*Model{any}, BenchOptions{Batch: -1}, "batch -1"},
	} {
		if _, err := Bench(t.Context(), c.models, c.opt); fault.KindOf(err) != fault.Usage || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Bench(ctx, []*Model{any}, BenchOptions{Runs: 1 << 30, Progress: func(done, total int) {
		if done == 3 {
			cancel()
		}
	}})
	if fault.KindOf(err) != fault.Interrupted || !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestOpen(t *testing.T) {
	images := colorPhotos(t)
	data := encode(t, spec{}.graph())
	path := filepath.Join(t.TempDir(), "colors.onnx")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	var results []string
	for _, src := range []Source{{Path: path, Name: "m"}, {Data: data, Name: "m"}, {Graph: spec{}.graph(), Name: "m"}} {
		m := open(t, src)
		if m.Name != "m" {
			t.Errorf("called %q", m.Name)
		}
		results = append(results, asJSON(t, evaluate(t, m, images, colorOf, EvalOptions{})))
	}
	if len(slices.Compact(results)) != 1 {
		t.Errorf("results differ: %v", results)
	}
	if m := open(t, Source{Path: path}); m.Name != path {
		t.Errorf("called %q", m.Name)
	}
	for name, c := range map[string]struct {
		src  Source
		kind fault.Kind
	}{
		"nothing": {Source{}, fault.Internal},
		"two":     {Source{Path: path, Data: data}, fault.Internal},
		"no file": {Source{Path: path + ".no"}, fault.IO},
		"no ONNX": {Source{Data: []byte("hello")}, fault.Model},
	} {
		if _, err := Open(c.src, eng); fault.KindOf(err) != c.kind {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestSizeOf(t *testing.T) {
	g := spec{}.graph()
	dir := t.TempDir()
	inside := filepath.Join(dir, "inside.onnx")
	if err := os.WriteFile(inside, encode(t, g), 0o644); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(dir, "outside.onnx")
	info, err := exporter.Write(g, outside, exporter.Options{Weights: exporter.External, Threshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	if info.DataBytes < 48 {
		t.Fatalf("%d bytes of external data, want 12 weights", info.DataBytes)
	}
	for path, want := range map[string]int64{"": 0, inside: int64(len(encode(t, g))), outside: info.Bytes + info.DataBytes} {
		m := g
		if path != "" {
			if m, err = importer.Load(path); err != nil {
				t.Fatal(err)
			}
		}
		s, err := SizeOf(t.Context(), eng, m, path)
		if err != nil {
			t.Fatal(err)
		}
		if s.MACs != 12 || s.Params != 12 || s.Bytes != want {
			t.Errorf("%s: %+v, want %d bytes", path, s, want)
		}
	}
	if _, err := SizeOf(t.Context(), eng, g, filepath.Join(dir, "none.onnx")); fault.KindOf(err) != fault.IO {
		t.Errorf("no file: %v", err)
	}
}

// A ViT with external data is measured from its path.
func TestOpenExternal(t *testing.T) {
	dir, err := testmodels.Dir()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "tiny", "external", "packed.onnx")
	m := open(t, Source{Path: path})
	images, err := Noise(m, 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	g, err := importer.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := SizeOf(t.Context(), eng, g, path)
	if err != nil {
		t.Fatal(err)
	}
	if s.Bytes < 4*s.Params {
		t.Errorf("%+v: the external data was not counted", s)
	}
	if a := agree(t, m, open(t, Source{Graph: g}), images, nil, AgreeOptions{}); a.MaxDiff > 1e-5 {
		t.Errorf("from the file and from the graph: %+v", a)
	}
}
