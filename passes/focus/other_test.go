package focus_test

import (
	"math"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/passes/focus"
	"nuwa/passes/passtest"
)

// draws gives n batches of b random images, from the given seed on.
func draws(m *graph.Model, n, b int, seed uint64) func(func(map[string]*graph.Tensor, error) bool) {
	return func(yield func(map[string]*graph.Tensor, error) bool) {
		for i := range uint64(n) {
			if !yield(engine.Inputs(m, b, seed+i)) {
				return
			}
		}
	}
}

// observe returns the rows of the value called name over all feeds.
func observe(t *testing.T, m *graph.Model, name string, feeds func(func(map[string]*graph.Tensor, error) bool)) [][]float64 {
	t.Helper()
	probe, err := engine.Tap(m, name)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]float64
	for feed, err := range feeds {
		if err != nil {
			t.Fatal(err)
		}
		res, err := passtest.Engine.Run(t.Context(), probe, feed)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, rows(t, res[name])...)
	}
	return out
}

// The logit for everything else leaves the wanted ones alone, is the least
// squares to the base's other logits on what the classifier reads, and lets the
// asked part of the held other images pass.
func TestAddOther(t *testing.T) {
	const images, accept = 400, 0.1
	m := passtest.Tiny(t, "packed_17_dynamic.onnx")
	vit := passtest.Clean(t, m)
	fit, heldFeeds := draws(m, images/20, 20, 1), draws(m, 10, 20, 1000)
	targets, err := focus.OtherTargets(t.Context(), passtest.Engine, m, vit.Classifiers, wanted, fit)
	if err != nil {
		t.Fatal(err)
	}
	logits := vit.Classifiers[0].Output.Name()
	features := vit.Classifiers[0].Linears[0].Input().Name()
	base := observe(t, m, logits, fit)
	if len(targets) != len(base) {
		t.Fatalf("%d targets of %d images", len(targets), len(base))
	}
	for i, row := range base {
		sum := 0.0
		for c, x := range row {
			if !slices.Contains(wanted, c) {
				sum += math.Exp(x)
			}
		}
		if want := math.Log(sum); math.Abs(targets[i]-want) > 1e-4 {
			t.Fatalf("image %d: target %g, want %g", i, targets[i], want)
		}
	}

	if err := focus.Slice(m, vit.Classifiers, wanted); err != nil {
		t.Fatal(err)
	}
	passtest.Tidy(t, m)
	before := observe(t, m, logits, heldFeeds)
	held := focus.Samples{Feeds: heldFeeds, Other: make([]bool, len(before))}
	for i := range held.Other {
		held.Other[i] = i%3 != 0
	}
	x := observe(t, m, features, fit)
	o, err := focus.AddOther(t.Context(), passtest.Engine, m, passtest.Find(t, m).Classifiers, targets, fit, held, accept)
	if err != nil {
		t.Fatal(err)
	}
	passtest.Tidy(t, m)
	after := observe(t, m, logits, heldFeeds)
	passed, others := 0, 0
	for i, row := range after {
		if len(row) != len(wanted)+1 {
			t.Fatalf("%d logits, want %d", len(row), len(wanted)+1)
		}
		for c := range wanted {
			if math.Abs(row[c]-before[i][c]) > 1e-5 {
				t.Fatalf("image %d: wanted logit %d was %g, is %g", i, c, before[i][c], row[c])
			}
		}
		if held.Other[i] {
			others++
			if slices.Max(row[:len(wanted)]) > row[len(wanted)]+1e-6 {
				passed++
			}
		}
	}
	if got := float64(passed) / float64(others); math.Abs(got-accept) > 1.5/float64(others) {
		t.Errorf("%d of %d other images pass, want %g of them", passed, others, accept)
	}

	// By QR, with an intercept; the ridge can only add to its squared error.
	n, d := len(x), len(x[0])
	design, y := mat.NewDense(n, d+1, nil), mat.NewVecDense(n, targets)
	for i, row := range x {
		design.SetRow(i, append(slices.Clone(row), 1))
	}
	var w, best mat.VecDense
	if err := w.SolveVec(design, y); err != nil {
		t.Fatal(err)
	}
	best.MulVec(design, &w)
	squared := func(predict func(i int) float64) (sum float64) {
		for i := range n {
			sum += (predict(i) - targets[i]) * (predict(i) - targets[i])
		}
		return sum
	}
	fitted := observe(t, m, logits, fit)
	least := squared(func(i int) float64 { return best.AtVec(i) })
	mean := mat.Sum(y) / float64(n)
	flat := squared(func(int) float64 { return mean })
	got := squared(func(i int) float64 { return fitted[i][len(wanted)] - o.Offset })
	if got < least*(1-1e-3) || got > least+0.5*(flat-least) || o.Ridge <= 1e-2 && got > least+0.05*(flat-least) {
		t.Errorf("squared error %.4g with ridge %g; least squares has %.4g, the mean alone %.4g", got, o.Ridge, least, flat)
	}
}
