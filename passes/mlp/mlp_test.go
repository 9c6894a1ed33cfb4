package mlp_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

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
		if got := mlp.ByActivation(m, width); !slices.Equal(got, want) {
			t.Errorf("width %d: kept %v, want %v", width, got, want)
		}
	}
}

func TestNextStep(t *testing.T) {
	for _, c := range []struct{ width, step, want int }{
		{64, 8, 8}, {60, 8, 4}, {16, 8, 8}, {8, 8, 0}, {9, 8, 1}, {7, 8, 0}, {2, 1, 1}, {1, 1, 0},
	} {
		if got := mlp.NextStep(c.width, c.step); got != c.want {
			t.Errorf("width %d, step %d: %d, want %d", c.width, c.step, got, c.want)
		}
	}
}

// layers draws hidden layers of the given widths with costs of their own.
func layers(t *testing.T, seed uint64, widths []int, costs []float64) []*mlp.Layer {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 8))
	var all []*mlp.Layer
	for i, n := range widths {
		h := make([][]float64, 3*n)
		mix := mat.NewDense(n, n, nil)
		mix.Apply(func(_, _ int, _ float64) float64 { return rng.NormFloat64() }, mix)
		for r := range h {
			x := mat.NewVecDense(n, nil)
			for j := range n {
				x.SetVec(j, rng.NormFloat64())
			}
			var y mat.VecDense
			y.MulVec(mix, x)
			h[r] = y.RawVector().Data
		}
		w := mat.NewDense(n, 5, nil)
		w.Apply(func(_, _ int, _ float64) float64 { return rng.NormFloat64() }, w)
		e, err := linalg.NewEliminator(moments(t, h), w, linalg.Options{Affine: true, Ridge: 1e-4})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &mlp.Layer{Eliminator: e, Cost: costs[i], Rows: float64(1 + i)})
	}
	return all
}

func TestEliminateMeetsTheBudgetInMultiples(t *testing.T) {
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 1))
		step := []int{1, 4, 8}[seed%3]
		widths, costs := make([]int, 3), make([]float64, 3)
		total, most := 0.0, 0.0
		for i := range widths {
			widths[i], costs[i] = 17+rng.IntN(30), float64(10+rng.IntN(90))
			total += float64(widths[i]) * costs[i]
			most = math.Max(most, costs[i]*float64(step))
		}
		saving := total * (0.1 + 0.6*rng.Float64())
		run := func() ([][]int, float64) {
			ls := layers(t, seed, widths, costs)
			if err := mlp.Eliminate(ls, saving, step); err != nil {
				t.Fatal(err)
			}
			var kept [][]int
			saved := 0.0
			for i, l := range ls {
				kept = append(kept, l.Eliminator.Kept())
				saved += float64(widths[i]-l.Width()) * costs[i]
				if w := l.Width(); w != widths[i] && w%step != 0 || w < min(step, widths[i]) {
					t.Errorf("seed %d: width %d of %d in steps of %d", seed, w, widths[i], step)
				}
			}
			return kept, saved
		}
		kept, saved := run()
		if math.Abs(saved-saving) > most/2+1e-9 {
			t.Errorf("seed %d: saved %g of %g asked, steps cost up to %g", seed, saved, saving, most)
		}
		again, _ := run()
		for i := range kept {
			if !slices.Equal(kept[i], again[i]) {
				t.Errorf("seed %d, layer %d: kept %v, then %v", seed, i, kept[i], again[i])
			}
		}
	}
}

func TestEliminateGoesByErrorPerCost(t *testing.T) {
	same := layers(t, 3, []int{24, 24}, []float64{10, 10})
	same[1] = layers(t, 3, []int{24, 24}, []float64{10, 10})[0] // two equal layers, but for the rows of an image
	same[1].Rows = 100
	if err := mlp.Eliminate(same, 80, 4); err != nil {
		t.Fatal(err)
	}
	if a, b := same[0].Width(), same[1].Width(); a != 16 || b != 24 {
		t.Errorf("widths %d and %d: the layer whose errors count a hundredfold lost neurons first", a, b)
	}
	dear := layers(t, 3, []int{24, 24}, []float64{10, 10})
	dear[1] = layers(t, 3, []int{24, 24}, []float64{10, 10})[0]
	dear[1].Rows, dear[1].Cost = 1, 1000
	if err := mlp.Eliminate(dear, 4000, 4); err != nil {
		t.Fatal(err)
	}
	if a, b := dear[0].Width(), dear[1].Width(); a != 24 || b != 20 {
		t.Errorf("widths %d and %d: the layer whose neurons cost a hundred times more lost none first", a, b)
	}
}

// A neuron that is a copy, and one that is silent, go first; no budget takes
// the last multiple.
func TestEliminateDropsTheRedundantFirst(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	h := make([][]float64, 60)
	for r := range h {
		h[r] = make([]float64, 6)
		for j := range h[r] {
			h[r][j] = rng.NormFloat64()
		}
		h[r][3], h[r][5] = h[r][1], 0
	}
	w := mat.NewDense(6, 4, nil)
	w.Apply(func(_, _ int, _ float64) float64 { return 1 + rng.Float64() }, w)
	e, err := linalg.NewEliminator(moments(t, h), w, linalg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l := &mlp.Layer{Eliminator: e, Cost: 1, Rows: 1}
	if err := mlp.Eliminate([]*mlp.Layer{l}, 2, 1); err != nil {
		t.Fatal(err)
	}
	kept := e.Kept()
	if len(kept) != 4 || slices.Contains(kept, 5) || slices.Contains(kept, 1) == slices.Contains(kept, 3) {
		t.Errorf("kept %v of neurons of which 1 and 3 are equal and 5 is silent", kept)
	}
	if err := mlp.Eliminate([]*mlp.Layer{l}, 100, 1); err != nil {
		t.Fatal(err)
	}
	if l.Width() != 1 {
		t.Errorf("width %d after an endless budget, want 1", l.Width())
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
		keep := mlp.ByActivation(got[0], 7)
		slim := full.Clone()
		second := passtest.Find(t, slim).MLPs[0]
		fit, err := mlp.Prune(slim, second, got[0], keep, o)
		if err != nil {
			t.Fatal(err)
		}
		h, y := activations(t, full, site)
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
func activations(t *testing.T, m *graph.Model, site *structure.MLP) (h, y *mat.Dense) {
	t.Helper()
	probe, err := engine.Tap(m, site.Second.In.Name(), site.Second.Out.Name())
	if err != nil {
		t.Fatal(err)
	}
	feed, err := engine.Inputs(m, 1, 5)
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
