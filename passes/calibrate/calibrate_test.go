package calibrate_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/passes/calibrate"
	"nuwa/passes/mlp"
	"nuwa/passes/passtest"
	"nuwa/testmodels"
)

// feeds gives the same batches of standard-normal inputs each time.
func feeds(m *graph.Model, batches ...int) calibrate.Feeds {
	return func(yield func(map[string]*graph.Tensor, error) bool) {
		for i, b := range batches {
			if !yield(engine.Inputs(m, b, uint64(i))) {
				return
			}
		}
	}
}

// brute sums the values themselves, in float64, over all positions.
func brute(t *testing.T, m *graph.Model, tap calibrate.Tap, batches ...int) (rows int, sum []float64, gram [][]float64) {
	t.Helper()
	sum = make([]float64, tap.Width)
	gram = make([][]float64, tap.Width)
	for i := range gram {
		gram[i] = make([]float64, tap.Width)
	}
	probe, err := engine.Tap(m, tap.Value)
	if err != nil {
		t.Fatal(err)
	}
	for feed := range feeds(m, batches...) {
		out, err := passtest.Engine.Run(t.Context(), probe, feed)
		if err != nil {
			t.Fatal(err)
		}
		x := out[tap.Value]
		xs, err := x.Floats()
		if err != nil {
			t.Fatal(err)
		}
		inner := int(graph.Elements(x.Dims[len(x.Dims)-tap.Axis+1:]))
		for at := 0; at < len(xs); at += inner * tap.Width {
			for in := range inner {
				rows++
				row := make([]float64, tap.Width)
				for c := range row {
					row[c] = xs[at+c*inner+in]
				}
				for i, a := range row {
					sum[i] += a
					for j, b := range row {
						gram[i][j] += a * b
					}
				}
			}
		}
	}
	return rows, sum, gram
}

func TestMomentsAreThoseOfTheActivations(t *testing.T) {
	cases, err := testmodels.Tiny()
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, c := range cases {
		switch c.File {
		case "mlp_conv.onnx", "mlp_swiglu_chunk.onnx", "packed_11_dynamic.onnx", "parallel.onnx", "mean_17_static.onnx":
		default:
			continue
		}
		batches := []int{3, 1, 4}
		if !c.Dynamic() {
			batches = []int{1, 1}
		}
		ran++
		t.Run(c.File, func(t *testing.T) {
			m := passtest.Load(t, c.Path())
			vit := passtest.Clean(t, m)
			taps, err := mlp.Taps(vit.Shapes, vit.MLPs)
			if err != nil {
				t.Fatal(err)
			}
			before := m.String()
			moments, err := calibrate.Collect(t.Context(), passtest.Engine, m, taps, feeds(m, batches...))
			if err != nil {
				t.Fatal(err)
			}
			if m.String() != before {
				t.Error("the model was changed")
			}
			for i, tap := range taps {
				rows, sum, gram := brute(t, m, tap, batches...)
				got := moments[i]
				if got.Rows != rows {
					t.Errorf("tap %d: %d rows, want %d", i, got.Rows, rows)
				}
				for a := range tap.Width {
					near(t, got.Sum[a], sum[a], rows)
					for b := range tap.Width {
						near(t, got.Gram.At(a, b), gram[a][b], rows)
					}
				}
			}
		})
	}
	if ran != 5 {
		t.Errorf("%d models ran, want 5", ran)
	}
}

// near allows for sums of rows in float32.
func near(t *testing.T, got, want float64, rows int) {
	t.Helper()
	if math.Abs(got-want) > 1e-5*(math.Abs(want)+math.Sqrt(float64(rows))) {
		t.Fatalf("%g, want %g", got, want)
	}
}

// doubled is a model whose inner value is its input doubled, so that moments are
// known by hand.
func doubled(typ graph.DType, opset int64) *graph.Model {
	m := graph.NewModel(graph.Opset{Version: opset})
	x := m.Graph.AddInput("x", graph.TensorType(typ, graph.Sym("batch"), graph.Fixed(2)))
	h := m.Graph.Add("Add", "h", []*graph.Value{x, x}).Output(0)
	m.Graph.AddOutput(m.Graph.Add("Neg", "y", []*graph.Value{h}).Output(0))
	return m
}

func given(typ graph.DType, rows ...[]float64) calibrate.Feeds {
	return func(yield func(map[string]*graph.Tensor, error) bool) {
		for _, r := range rows {
			x, err := graph.FromFloats(typ, []int64{int64(len(r) / 2), 2}, r)
			if !yield(map[string]*graph.Tensor{"x": x}, err) {
				return
			}
		}
	}
}

func TestMomentsByHand(t *testing.T) {
	load(t)
	tap := []calibrate.Tap{{Value: "h", Rank: 2, Axis: 1, Width: 2}}
	for _, typ := range []graph.DType{graph.Float32, graph.Float16, graph.Float64} {
		for _, opset := range []int64{10, 13, 17} {
			m := doubled(typ, opset)
			got, err := calibrate.Collect(t.Context(), passtest.Engine, m, tap, given(typ, []float64{1, 2, 3, 4}, []float64{-1, 0.5}))
			if err != nil {
				t.Fatalf("%s, opset %d: %v", typ, opset, err)
			}
			x := got[0]
			if x.Rows != 3 || x.Sum[0] != 6 || x.Sum[1] != 13 || x.Gram.At(0, 0) != 44 || x.Gram.At(0, 1) != 54 || x.Gram.At(1, 1) != 81 {
				t.Errorf("%s, opset %d: rows %d, sum %v, gram %v", typ, opset, x.Rows, x.Sum, x.Gram)
			}
		}
	}
}

func TestCollectRefuses(t *testing.T) {
	load(t)
	m := doubled(graph.Float32, 17)
	tap := []calibrate.Tap{{Value: "h", Rank: 2, Axis: 1, Width: 2}}
	run := func(feeds calibrate.Feeds, taps []calibrate.Tap) error {
		_, err := calibrate.Collect(t.Context(), passtest.Engine, m, taps, feeds)
		return err
	}
	if err := run(given(graph.Float32), tap); fault.KindOf(err) != fault.Data || !strings.Contains(err.Error(), "--calibration synthetic") {
		t.Errorf("no samples: %v", err)
	}
	if err := run(given(graph.Float32, []float64{1, math.Inf(1)}), tap); err == nil || !strings.Contains(err.Error(), `"h"`) {
		t.Errorf("an infinite activation: %v, want an error that names the value", err)
	}
	if err := run(given(graph.Float32, []float64{math.NaN(), 1}), tap); err == nil || !strings.Contains(err.Error(), `"h"`) {
		t.Errorf("NaN: %v, want an error that names the value", err)
	}
	if err := run(given(graph.Float32, []float64{1, 1}), []calibrate.Tap{{Value: "nothing", Rank: 2, Axis: 1, Width: 2}}); err == nil {
		t.Error("a value that is not there: no error")
	}
	broken := errors.New("a broken image")
	if err := run(func(yield func(map[string]*graph.Tensor, error) bool) { yield(nil, broken) }, tap); !errors.Is(err, broken) {
		t.Errorf("got %v, want the error of the feed", err)
	}
}

// The squared gradients equal finite differences of the loss.
func TestGradientsAreThoseOfTheLoss(t *testing.T) {
	load(t)
	m := graph.NewModel(graph.Opset{Version: 13})
	x := m.Graph.AddInput("x", graph.TensorType(graph.Float32, graph.Sym("batch"), graph.Fixed(2)))
	h := m.Graph.Add("Tanh", "h", []*graph.Value{x}).Output(0)
	w := m.Graph.AddConst("w", graph.NewTensor([]int64{2, 3}, []float32{0.5, -1, 2, 1, 0.25, -0.75}))
	m.Graph.AddOutput(m.Graph.Add("MatMul", "logits", []*graph.Value{h, w}).Output(0))
	taps := []calibrate.Tap{{Value: "h", Rank: 2, Axis: 1, Width: 2}}
	images := []float64{0.3, -0.8, 1.2, 0.1, -0.4, 0.9}
	labels := []int{2, -1, 0}
	got, err := gradients(t, m, taps, calibrate.Labels{Class: labels}, given(graph.Float32, images[:4], images[4:]))
	if err != nil {
		t.Fatal(err)
	}
	ws := [][]float64{{0.5, -1, 2}, {1, 0.25, -0.75}}
	loss := func(h []float64, label int) float64 {
		sum, own := 0.0, 0.0
		for k := range 3 {
			z := h[0]*ws[0][k] + h[1]*ws[1][k]
			sum += math.Exp(z)
			if k == label {
				own = z
			}
		}
		return math.Log(sum) - own
	}
	for c := range 2 {
		want := 0.0
		for i, label := range labels {
			if label < 0 {
				continue
			}
			at := func(d float64) float64 {
				h := []float64{math.Tanh(images[2*i]), math.Tanh(images[2*i+1])}
				h[c] += d
				return loss(h, label)
			}
			g := (at(1e-4) - at(-1e-4)) / 2e-4
			want += g * g / float64(len(labels))
		}
		if math.Abs(got[0][c]-want) > 1e-4*(1+want) {
			t.Errorf("channel %d: %g, want %g", c, got[0][c], want)
		}
	}
	if _, err := gradients(t, m, taps, calibrate.Labels{Class: labels[:1]}, given(graph.Float32, images)); err == nil {
		t.Error("fewer labels than images: no error")
	}
}

// Where a sample has several classes, the loss is the mean over classes of
// log(1 + e^z) − t·z.
func TestGradientsOfSeveralClasses(t *testing.T) {
	load(t)
	m := graph.NewModel(graph.Opset{Version: 13})
	x := m.Graph.AddInput("x", graph.TensorType(graph.Float32, graph.Sym("batch"), graph.Fixed(2)))
	h := m.Graph.Add("Tanh", "h", []*graph.Value{x}).Output(0)
	ws := [][]float64{{0.5, -1, 2}, {1, 0.25, -0.75}}
	w := m.Graph.AddConst("w", graph.NewTensor([]int64{2, 3}, []float32{0.5, -1, 2, 1, 0.25, -0.75}))
	m.Graph.AddOutput(m.Graph.Add("MatMul", "logits", []*graph.Value{h, w}).Output(0))
	images := []float64{0.3, -0.8, 1.2, 0.1, -0.4, 0.9}
	labels := [][]int{{0, 2}, nil, {1}}
	taps := []calibrate.Tap{{Value: "h", Rank: 2, Axis: 1, Width: 2}}
	got, err := gradients(t, m, taps, calibrate.Labels{Several: labels}, given(graph.Float32, images[:4], images[4:]))
	if err != nil {
		t.Fatal(err)
	}
	for c := range 2 {
		want := 0.0
		for i, has := range labels {
			g := 0.0
			for k := range 3 {
				z := math.Tanh(images[2*i])*ws[0][k] + math.Tanh(images[2*i+1])*ws[1][k]
				d := 1 / (1 + math.Exp(-z))
				if slices.Contains(has, k) {
					d--
				}
				g += d * ws[c][k] / 3
			}
			want += g * g / 3
		}
		if math.Abs(got[0][c]-want) > 1e-6 {
			t.Errorf("channel %d: %g, want %g", c, got[0][c], want)
		}
	}
}

// gradients returns E[(∂ℓ/∂y_c)²] at taps.
func gradients(t *testing.T, m *graph.Model, taps []calibrate.Tap, labels calibrate.Labels, feeds calibrate.Feeds) ([][]float64, error) {
	t.Helper()
	var watches []calibrate.Watch
	for _, tap := range taps {
		watches = append(watches, calibrate.Watch{Tap: tap, Felt: true})
	}
	of, err := calibrate.Sense(t.Context(), passtest.Engine, m, calibrate.Ask{Loss: "logits", Labels: labels}, watches, feeds)
	if err != nil {
		return nil, err
	}
	var out [][]float64
	for i, tap := range taps {
		var d []float64
		for c := range tap.Width {
			d = append(d, of.Watched[i].Felt.Second(false).At(c, c))
		}
		out = append(out, d)
	}
	return out, nil
}

// load loads ONNX Runtime.
func load(t *testing.T) {
	t.Helper()
	cases, err := testmodels.Tiny()
	if err != nil {
		t.Fatal(err)
	}
	passtest.Load(t, cases[0].Path())
}

// Samples are counted along the axis that they lie on.
func TestFirst(t *testing.T) {
	for _, shape := range [][]graph.Dim{{graph.Sym("n"), graph.Fixed(3)}, {graph.Fixed(3), graph.Sym("n"), graph.Fixed(2)}} {
		m := graph.NewModel(graph.Opset{Version: 17})
		x := m.Graph.AddInput("x", graph.TensorType(graph.Float32, shape...))
		m.Graph.AddOutput(m.Graph.Add("Relu", "y", []*graph.Value{x}).Output(0))
		feeds := func(yield func(map[string]*graph.Tensor, error) bool) {
			for range 5 {
				if feed, err := engine.Inputs(m, 4, 1); !yield(feed, err) {
					return
				}
			}
		}
		for n, want := range map[int]int{1: 1, 4: 1, 5: 2, 20: 5, 99: 5} {
			got := 0
			for _, err := range calibrate.First(m, feeds, n) {
				if err != nil {
					t.Fatal(err)
				}
				got++
			}
			if got != want {
				t.Errorf("%v: the first %d samples: %d batches, want %d", shape, n, got, want)
			}
		}
	}
}
