package measure

import (
	"math"
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/internal/data"
	"nuwa/internal/fault"
	"nuwa/testmodels"
)

func agree(t *testing.T, a, b *Model, images Images, pairs []Pair, opt AgreeOptions) *Agreement {
	t.Helper()
	g, err := Agree(t.Context(), a, b, images, pairs, opt)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestAgreeWithItself(t *testing.T) {
	images := colorPhotos(t)
	a := spec{}.open(t)
	b := spec{batch: graph.Fixed(4)}.open(t)
	g := agree(t, a, b, images, nil, AgreeOptions{ClassOf: colorOf})
	if g.Images != 10 || g.Classes != 4 || g.Same != 10 || g.Top1 != 1 || g.MaxDiff != 0 || g.MeanDiff != 0 || g.RMS == 0 {
		t.Errorf("got %+v", g)
	}
	if p := g.Paired; p == nil || p.Images != 10 || p.OnlyFirst+p.OnlySecond != 0 || p.Difference != 0 || p.Interval.High <= 0 {
		t.Errorf("paired: %+v", p)
	}
}

// Against sums taken one number at a time.
func TestAgreeNumbers(t *testing.T) {
	set, pre := photos(t), data.Default(side, side)
	// The second model has blue and red only, and leans to red.
	kept := []int{2, 0}
	other := [][]float32{{0, 1.5}, {0, 0}, {1, 0.75}}
	a, b := spec{}.open(t), spec{weights: other}.open(t)
	g := agree(t, a, b, FromSet(set, pre), Kept(kept), AgreeOptions{ClassOf: colorOf})

	var sum, squares, largest float64
	same, labelled, onlyFirst, onlySecond := 0, 0, 0, 0
	for batch, err := range set.Batches(t.Context(), nil, 1, pre) {
		if err != nil {
			t.Fatal(err)
		}
		xs, err := batch.X.Floats()
		if err != nil {
			t.Fatal(err)
		}
		var x, y [2]float64
		for k := range x {
			for c := range 3 {
				x[k] += float64(colors[c][kept[k]]) * xs[c*side*side]
				y[k] += float64(other[c][k]) * xs[c*side*side]
			}
			d := math.Abs(x[k] - y[k])
			sum, squares, largest = sum+d, squares+x[k]*x[k], max(largest, d)
		}
		bx, by := x[1] > x[0], y[1] > y[0] // red
		if bx == by {
			same++
		}
		if y := colorOf[batch.Labels[0]]; y != 1 {
			labelled++
			if bx == (y == 0) && by != bx {
				onlyFirst++
			}
			if by == (y == 0) && by != bx {
				onlySecond++
			}
		}
	}
	if onlyFirst == 0 || same == 10 {
		t.Fatal("the models are too much alike to test anything")
	}
	if g.Same != same || g.Classes != 2 || g.Paired.Images != labelled || g.Paired.OnlyFirst != onlyFirst || g.Paired.OnlySecond != onlySecond {
		t.Errorf("got %+v, %+v; want %d the same, %d and %d of %d only one", g, g.Paired, same, onlyFirst, onlySecond, labelled)
	}
	near(t, "mean", g.MeanDiff, sum/20, 1e-6)
	near(t, "max", g.MaxDiff, largest, 1e-6)
	near(t, "rms", g.RMS, math.Sqrt(squares/20), 1e-6)
	near(t, "difference", g.Paired.Difference, float64(onlySecond-onlyFirst)/float64(labelled), 1e-12)
}

func TestAgreeOnNoise(t *testing.T) {
	cases, err := testmodels.Tiny()
	if err != nil {
		t.Fatal(err)
	}
	models := map[string]*Model{}
	for _, c := range cases {
		switch c.File {
		case "packed_17_dynamic.onnx", "separate_11_static.onnx", "mean_17_dynamic.onnx":
			models[c.Spelling] = open(t, Source{Path: c.Path()})
		}
	}
	images, err := Noise(models["packed"], 20, 9)
	if err != nil {
		t.Fatal(err)
	}
	g := agree(t, models["packed"], models["separate"], images, nil, AgreeOptions{Batch: 6})
	if g.Top1 != 1 || g.MaxDiff > 1e-5 || g.Images != 20 || g.Paired != nil {
		t.Errorf("two spellings of one model: %+v", g)
	}
	if h := agree(t, models["packed"], models["separate"], images, nil, AgreeOptions{Batch: 20}); math.Abs(h.RMS-g.RMS) > 1e-6 {
		t.Errorf("in one batch: %+v, want %+v", h, g)
	}
	if g = agree(t, models["packed"], models["mean"], images, nil, AgreeOptions{}); g.Top1 == 1 || g.MaxDiff < 0.1 {
		t.Errorf("two models: %+v", g)
	}
}

func TestAgreeRefuses(t *testing.T) {
	images := colorPhotos(t)
	a, b := spec{}.open(t), spec{weights: [][]float32{{0, 1}, {0, 0}, {1, 0}}}.open(t)
	empty, err := Noise(a, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		pairs  []Pair
		opt    AgreeOptions
		images Images
		kind   fault.Kind
		says   string
	}{
		"other width":     {kind: fault.Usage, says: "2 logits, want 4"},
		"nothing common":  {pairs: []Pair{}, kind: fault.Data, says: "no class"},
		"out of range":    {pairs: []Pair{{0, 2}}, kind: fault.Usage, says: "logit 2 of colors"},
		"too few classes": {pairs: []Pair{{0, 1}}, opt: AgreeOptions{ClassOf: []int{0}}, kind: fault.Internal, says: "1 classes"},
		"no images":       {pairs: []Pair{{0, 1}}, images: empty, kind: fault.Data, says: "no images"},
	} {
		if c.images == nil {
			c.images = images
		}
		if _, err := Agree(t.Context(), a, b, c.images, c.pairs, c.opt); fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	open := graph.NewModel(graph.Opset{Version: 17})
	x := open.Graph.AddInput("x", graph.TensorType(graph.Float32, graph.Sym("n"), graph.Fixed(3), graph.Sym("h"), graph.Sym("w")))
	open.Graph.AddOutput(open.Graph.Add("Neg", "", []*graph.Value{x}).Output(0))
	m, err := Open(Source{Graph: open}, eng)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := Noise(m, 1, 1); fault.KindOf(err) != fault.Unsupported {
		t.Errorf("noise of no size: %v", err)
	}
}
