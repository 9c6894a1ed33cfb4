package mlp_test

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/linalg"
	"nuwa/passes/mlp"
	"nuwa/passes/passtest"
	"nuwa/passes/structure"
	"nuwa/testmodels"
)

// moments are those of rows of numbers, one column per neuron.
func moments(t *testing.T, h [][]float64) *linalg.Moments {
	t.Helper()
	n := len(h[0])
	m := linalg.NewMoments(n)
	for _, row := range h {
		m.Rows++
		for i, a := range row {
			m.Sum[i] += a
			for j := i; j < n; j++ {
				m.Gram.SetSym(i, j, m.Gram.At(i, j)+a*row[j])
			}
		}
	}
	return m
}

func TestByActivation(t *testing.T) {
	m := moments(t, [][]float64{{1, -5, 3, 3, 0, -1}, {1, 4, 1, 1, 0, -3}}) // means 1, −0.5, 2, 2, 0, −2
	for width, want := range map[int][]int{1: {2}, 2: {2, 3}, 3: {0, 2, 3}, 4: {0, 2, 3, 4}, 6: {0, 1, 2, 3, 4, 5}, 9: {0, 1, 2, 3, 4, 5}} {
		if got := mlp.Top(mlp.ByActivation(m), width); !slices.Equal(got, want) {
			t.Errorf("width %d: kept %v, want %v", width, got, want)
		}
	}
}

// seen is a hidden layer of a model, with the activations that random images
// have in it.
func seen(t *testing.T) (*structure.ViT, *mat.Dense, *linalg.Moments) {
	t.Helper()
	dir, err := testmodels.Dir()
	if err != nil {
		t.Fatal(err)
	}
	m := passtest.Load(t, filepath.Join(dir, "tiny", "mlp_gelu_tanh.onnx"))
	vit := passtest.Clean(t, m)
	var all [][]float64
	for seed := range uint64(20) {
		h, _ := activations(t, m, vit.MLPs[0], seed)
		for i := range h.RawMatrix().Rows {
			all = append(all, h.RawRowView(i))
		}
	}
	h := mat.NewDense(len(all), len(all[0]), nil)
	for i, row := range all {
		h.SetRow(i, row)
	}
	return vit, h, moments(t, all)
}

// Each step of a path takes the neuron whose loss, all others solved again, is
// least; what it predicts is the error of that solution, weighted by the
// gradients' second moment.
func TestPathIsGreedyLeastSquares(t *testing.T) {
	vit, _, ms := seen(t)
	site := vit.MLPs[0]
	w, _, err := site.Second.Weight()
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	half := mat.NewDense(site.Second.OutDim, site.Second.OutDim, nil)
	half.Apply(func(_, _ int, _ float64) float64 { return rng.NormFloat64() }, half)
	f := mat.NewSymDense(site.Second.OutDim, nil)
	f.SymOuterK(1, half)
	wt := mat.DenseCopyOf(w.T())
	wt.Mul(wt, half) // errors in the metric F are plain errors of W·F^½
	path, err := mlp.NewPath(site, ms, f, vit.Shapes)
	if err != nil {
		t.Fatal(err)
	}
	o := linalg.Options{Affine: true, Ridge: mlp.Ridge}
	kept := make([]int, site.Hidden)
	for j := range kept {
		kept[j] = j
	}
	for width := site.Hidden - 1; width >= site.Hidden-4; width-- {
		best, least := []int(nil), math.Inf(1)
		for i := range kept {
			without := slices.Delete(slices.Clone(kept), i, i+1)
			fit, err := linalg.Reconstruct(ms, wt, without, o)
			if err != nil {
				t.Fatal(err)
			}
			gap := mat.DenseCopyOf(wt)
			for i, j := range without {
				floats.Sub(gap.RawRowView(j), fit.W.RawRowView(i))
			}
			var x mat.Dense
			x.Mul(ms.Second(true), gap)
			x.MulElem(&x, gap)
			if left := mat.Sum(&x); left < least {
				best, least = without, left
			}
		}
		got := path.Kept(width)
		if kept = best; !slices.Equal(got, kept) {
			t.Fatalf("width %d: kept %v, want %v", width, got, kept)
		}
		loss := path.Loss(width)
		if want := least * site.Second.Rows(vit.Shapes) / 2; math.Abs(loss-want) > 0.02*want+1e-9 {
			t.Errorf("width %d: predicted %g, want %g", width, loss, want)
		}
	}
	if all := path.Kept(site.Hidden); len(all) != site.Hidden {
		t.Errorf("kept %d neurons at full width", len(all))
	}
	if loss := path.Loss(site.Hidden); loss != 0 {
		t.Errorf("full width loses %g", loss)
	}
	if last := path.Kept(1); len(last) != 1 {
		t.Errorf("kept %v at width 1", last)
	}
}

func TestScores(t *testing.T) {
	vit, h, ms := seen(t)
	site := vit.MLPs[0]
	w, _, _ := site.Second.Weight()
	magnitude, err := mlp.ByMagnitude(site)
	if err != nil {
		t.Fatal(err)
	}
	wanda, err := mlp.ByWanda(site, ms)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := h.Dims()
	for j := range site.Hidden {
		norm, square := 0.0, 0.0
		for c := range site.Second.OutDim {
			norm += w.At(c, j) * w.At(c, j)
		}
		for i := range n {
			square += h.At(i, j) * h.At(i, j) / float64(n)
		}
		if math.Abs(magnitude[j]-math.Sqrt(norm)) > 1e-12 || math.Abs(wanda[j]-math.Sqrt(norm*square)) > 1e-9 {
			t.Errorf("neuron %d: magnitude %g and wanda %g, want %g and %g", j, magnitude[j], wanda[j], math.Sqrt(norm), math.Sqrt(norm*square))
		}
	}
}

// The refit is the least squares over the very activations that calibration
// saw: no weight of the kept neurons stands in better for the full layer.
func TestPruneIsLeastSquares(t *testing.T) {
	cases, err := testmodels.Tiny()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(cases, func(c testmodels.Case) bool { return c.File == "mlp_gelu_tanh.onnx" })
	m := passtest.Load(t, cases[i].Path())
	vit := passtest.Clean(t, m)
	site := vit.MLPs[0]
	full := m.Clone()
	feeds := func(yield func(map[string]*graph.Tensor, error) bool) {
		for range 3 {
			if !yield(engine.Inputs(m, 1, 5)) { // one image: 17 rows, for the 7 neurons that are kept
				return
			}
		}
	}
	for _, o := range []linalg.Options{{}, {Affine: true}} {
		got, err := mlp.Calibrate(t.Context(), passtest.Engine, full, vit.Shapes, vit.MLPs[:1], feeds)
		if err != nil {
			t.Fatal(err)
		}
		keep := mlp.Top(mlp.ByActivation(got[0]), 7)
		slim := full.Clone()
		second := passtest.Find(t, slim).MLPs[0]
		fit, err := mlp.Prune(slim, second, got[0], keep, o)
		if err != nil {
			t.Fatal(err)
		}
		h, y := activations(t, full, site, 5)
		w, b, _ := site.Second.Weight()
		want := leastSquares(h, y, keep, b, o.Affine)
		hr := columnsOf(h, keep)
		have := residual(hr, y, mat.DenseCopyOf(fit.W.T()), b, fit.Shift)
		if have > want*(1+1e-3)+1e-7 {
			t.Errorf("affine %v: squared error %.6g, least squares has %.6g", o.Affine, have, want)
		}
		dropped := residual(hr, y, columnsOf(w, keep), b, nil)
		if have > dropped {
			t.Errorf("affine %v: the refit's error %.3g is above that of no refit, %.3g", o.Affine, have, dropped)
		}
		passtest.Tidy(t, slim)
		if site := passtest.Find(t, slim).MLPs[0]; site.Hidden != 7 || site.Reason != "" {
			t.Errorf("the slim layer has width %d, %q", site.Hidden, site.Reason)
		}
	}
}

// activations runs m and returns the hidden activations and the outputs of
// site's second map, one row per token.
func activations(t *testing.T, m *graph.Model, site *structure.MLP, seed uint64) (h, y *mat.Dense) {
	t.Helper()
	probe, err := engine.Tap(m, site.Second.In.Name(), site.Second.Out.Name())
	if err != nil {
		t.Fatal(err)
	}
	feed, err := engine.Inputs(m, 1, seed)
	if err != nil {
		t.Fatal(err)
	}
	out, err := passtest.Engine.Run(t.Context(), probe, feed)
	if err != nil {
		t.Fatal(err)
	}
	dense := func(name string, n int) *mat.Dense {
		xs, err := out[name].Floats()
		if err != nil {
			t.Fatal(err)
		}
		return mat.NewDense(len(xs)/n, n, xs)
	}
	return dense(site.Second.In.Name(), site.Hidden), dense(site.Second.Out.Name(), site.Second.OutDim)
}

func columnsOf(m *mat.Dense, at []int) *mat.Dense {
	r, _ := m.Dims()
	out := mat.NewDense(r, len(at), nil)
	for i, j := range at {
		out.SetCol(i, mat.Col(nil, j, m))
	}
	return out
}

// leastSquares is the smallest squared error that any weight on the kept
// activations has, by QR; with an intercept of its own, or with b.
func leastSquares(h, y *mat.Dense, keep []int, b []float64, affine bool) float64 {
	x := columnsOf(h, keep)
	n, k := x.Dims()
	target := mat.DenseCopyOf(y)
	target.Apply(func(_, j int, v float64) float64 { return v - b[j] }, target)
	if affine {
		wide := mat.NewDense(n, k+1, nil)
		wide.Apply(func(i, j int, _ float64) float64 {
			if j == k {
				return 1
			}
			return x.At(i, j)
		}, wide)
		x = wide
	}
	var w, fit mat.Dense
	if err := w.Solve(x, target); err != nil {
		return math.NaN()
	}
	fit.Mul(x, &w)
	fit.Sub(&fit, target)
	return math.Pow(mat.Norm(&fit, 2), 2)
}

func residual(h, y, w *mat.Dense, b, shift []float64) float64 {
	var fit mat.Dense
	fit.Mul(h, w.T())
	fit.Apply(func(_, j int, v float64) float64 {
		v += b[j]
		if shift != nil {
			v += shift[j]
		}
		return v
	}, &fit)
	fit.Sub(&fit, y)
	return math.Pow(mat.Norm(&fit, 2), 2)
}
