// Package passtest is what tests of the passes share: loading and cleaning a
// model, running it, and comparing what two models give. It is imported by
// tests only.
//
//	m := passtest.Load(t, c.Path())
//	vit := passtest.Clean(t, m)
//	want := passtest.Run(t, m)
//	... edit m ...
//	passtest.Tidy(t, m)
//	passtest.Near(t, "slim", want, passtest.Run(t, m), 1e-4)
//
// It may import passes, passes/cleanup, passes/half, passes/structure, graph,
// importer, internal/engine and internal/ort.
package passtest

import (
	"math"
	"testing"

	"nuwa/graph"
	"nuwa/importer"
	"nuwa/internal/engine"
	"nuwa/internal/ort"
	"nuwa/passes"
	"nuwa/passes/cleanup"
	"nuwa/passes/half"
	"nuwa/passes/structure"
	"nuwa/testmodels"
)

// Engine runs models of the tests, on one thread.
var Engine = &engine.Engine{Threads: 1}

// plain runs models as they stand, which spares ONNX Runtime the rewriting that
// takes most of the time of a small one.
var plain = &engine.Engine{Threads: 1, Plain: true}

// Start loads ONNX Runtime on the first call.
func Start(t testing.TB) {
	t.Helper()
	if _, err := ort.Load(""); err != nil {
		t.Fatal(err)
	}
}

// Load reads a model file as the commands do: computing in types that ONNX
// Runtime knows, image sizes settled. It starts ONNX Runtime.
func Load(t testing.TB, path string) *graph.Model {
	t.Helper()
	Start(t)
	m, err := importer.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	half.Widen(m)
	if _, err := cleanup.Settle(t.Context(), plain, m, [2]int{}); err != nil {
		t.Fatal(err)
	}
	return m
}

// Tiny reads one of the tiny test models.
func Tiny(t testing.TB, file string) *graph.Model {
	t.Helper()
	cases, err := testmodels.Tiny()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.File == file {
			return Load(t, c.Path())
		}
	}
	t.Fatalf("no tiny model is called %s", file)
	return nil
}

// CleanTiny reads one of the tiny test models and cleans it.
func CleanTiny(t testing.TB, file string) *graph.Model {
	t.Helper()
	m := Tiny(t, file)
	Clean(t, m)
	return m
}

// Clean runs the cleaning passes over m, unchecked, and returns what they find.
func Clean(t testing.TB, m *graph.Model) *structure.ViT {
	t.Helper()
	s := &passes.State{Model: m, Engine: plain}
	for _, p := range passes.Cleaning {
		if _, err := p.Run(t.Context(), s); err != nil {
			t.Fatalf("pass %s: %v", p.Name, err)
		}
	}
	m.Graph.Infos = nil // which nobody corrected
	return s.ViT
}

// Find looks through a cleaned model.
func Find(t testing.TB, m *graph.Model) *structure.ViT {
	t.Helper()
	vit, err := structure.Find(t.Context(), plain, m)
	if err != nil {
		t.Fatal(err)
	}
	return vit
}

// Tidy removes what an edit left behind in m, types of inner values included,
// and checks the graph.
func Tidy(t testing.TB, m *graph.Model) {
	t.Helper()
	m.Graph.Infos = nil
	engine.Trim(m.Graph)
	if err := m.Graph.Sort(); err != nil {
		t.Fatal(err)
	}
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
}

// Batches are the batch sizes at which m is compared: 1 and 3, or only 1 where
// the batch is fixed.
func Batches(m *graph.Model) []int {
	if engine.DynamicBatch(m) {
		return []int{1, 3}
	}
	return []int{1}
}

// Outputs are the outputs of a model, by name.
type Outputs map[string]*graph.Tensor

// Run runs m at each of its Batches, on standard-normal inputs that are the
// same for the same signature and batch.
func Run(t testing.TB, m *graph.Model) []Outputs {
	t.Helper()
	out, err := TryRun(t, m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TryRun is Run for a model that may not run.
func TryRun(t testing.TB, m *graph.Model) ([]Outputs, error) {
	t.Helper()
	s, err := plain.Open(m)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var all []Outputs
	for _, b := range Batches(m) {
		feeds, err := engine.Inputs(m, b, 7)
		if err != nil {
			return nil, err
		}
		out, err := s.Run(t.Context(), feeds, nil)
		if err != nil {
			return nil, err
		}
		all = append(all, out)
	}
	return all, nil
}

// Distance is the largest difference between two results, relative to the
// largest value of that output; infinite where shapes differ or numbers are
// not finite.
func Distance(a, b Outputs) float64 {
	worst := 0.0
	if len(a) != len(b) {
		return math.Inf(1)
	}
	for name, x := range a {
		y := b[name]
		if y == nil || x.Shape() != y.Shape() {
			return math.Inf(1)
		}
		xs, err1 := x.Floats()
		ys, err2 := y.Floats()
		if err1 != nil || err2 != nil {
			return math.Inf(1)
		}
		top, diff := 1e-30, 0.0
		for i := range xs {
			d := math.Abs(xs[i] - ys[i])
			if d-d != 0 {
				return math.Inf(1)
			}
			top, diff = math.Max(top, math.Abs(xs[i])), math.Max(diff, d)
		}
		worst = math.Max(worst, diff/top)
	}
	return worst
}

// Near fails t when got is farther from want than tol at any batch size.
func Near(t testing.TB, what string, want, got []Outputs, tol float64) {
	t.Helper()
	if len(want) != len(got) {
		t.Errorf("%s: %d batch sizes, want %d", what, len(got), len(want))
		return
	}
	for i := range want {
		if d := Distance(want[i], got[i]); !(d <= tol) {
			t.Errorf("%s: outputs differ by %.3g of the largest, want at most %.0e", what, d, tol)
		}
	}
}

// Agree fails t when two models differ by more than tol at a batch size of
// theirs.
func Agree(t testing.TB, what string, want, got *graph.Model, tol float64) {
	t.Helper()
	Near(t, what, Run(t, want), Run(t, got), tol)
}
