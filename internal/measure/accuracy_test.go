package measure

import (
	"context"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/internal/data"
	"nuwa/internal/fault"
	"nuwa/testmodels"
)

func TestEvaluateCounts(t *testing.T) {
	images := colorPhotos(t)
	var progress [][2]int
	a := evaluate(t, spec{}.open(t), images, colorOf, EvalOptions{Wanted: []int{0, 1, 2}, Batch: 4,
		Progress: func(done, total int) { progress = append(progress, [2]int{done, total}) }})
	if a.Images != 10 || a.PassedOver != 0 || a.Probabilities || a.Model != "colors" {
		t.Errorf("got %+v", a)
	}
	if a.All.Among != 4 || a.All.Correct != 7 || a.All.Accuracy != 0.7 {
		t.Errorf("all: %+v", a.All)
	}
	if a.Restricted.Among != 3 || a.Restricted.Correct != 9 || a.Restricted.Accuracy != 0.9 {
		t.Errorf("restricted: %+v", a.Restricted)
	}
	near(t, "macro all", a.All.Macro, (2./3+3./4+2./3)/3, 1e-12)
	near(t, "macro restricted", a.Restricted.Macro, (1+1+2./3)/3, 1e-12)
	want := []ClassScore{
		{Class: "blue", Logit: 2, Images: 3, All: 2. / 3, Restricted: 1},
		{Class: "green", Logit: 1, Images: 4, All: 0.75, Restricted: 1},
		{Class: "red", Logit: 0, Images: 3, All: 2. / 3, Restricted: 2. / 3, Mistakes: []Mistake{{"blue", 2, 1}}},
	}
	if !reflect.DeepEqual(a.Classes, want) {
		t.Errorf("classes: %+v, want %+v", a.Classes, want)
	}
	if got := a.Confusion([]int{0, 1, 2}); !reflect.DeepEqual(got, [][]int{{0, 0, 3}, {0, 4, 0}, {2, 0, 1}}) {
		t.Errorf("confusion: %v", got)
	}
	if !reflect.DeepEqual(progress, [][2]int{{4, 10}, {8, 10}, {10, 10}}) {
		t.Errorf("progress: %v", progress)
	}
}

func near(t *testing.T, what string, got, want, tol float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tol) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// The cross-entropy against its definition, computed from the pixels.
func TestEvaluateCrossEntropy(t *testing.T) {
	set, w := photos(t), colors
	m := spec{}.open(t)
	a := evaluate(t, m, FromSet(set, data.Default(side, side)), colorOf, EvalOptions{Wanted: []int{2, 0, 1}})
	var all, restricted float64
	for b, err := range set.Batches(t.Context(), nil, 1, data.Default(side, side)) {
		if err != nil {
			t.Fatal(err)
		}
		xs, err := b.X.Floats()
		if err != nil {
			t.Fatal(err)
		}
		exp := make([]float64, 4)
		for k := range exp {
			for c := range 3 {
				exp[k] += float64(w[c][k]) * xs[c*side*side]
			}
			exp[k] = math.Exp(exp[k])
		}
		y := exp[colorOf[b.Labels[0]]]
		all -= math.Log(y/(exp[0]+exp[1]+exp[2]+exp[3])) / 10
		restricted -= math.Log(y/(exp[0]+exp[1]+exp[2])) / 10
	}
	near(t, "all", a.All.CrossEntropy, all, 1e-6)
	near(t, "restricted", a.Restricted.CrossEntropy, restricted, 1e-6)
}

func TestEvaluateSomeClasses(t *testing.T) {
	images := colorPhotos(t)
	a := evaluate(t, spec{}.open(t), images, colorOf, EvalOptions{Wanted: []int{3, 0}, Names: []string{"r", "g", "b", "gray"}})
	if a.Images != 3 || a.PassedOver != 7 || len(a.Classes) != 1 || a.Classes[0].Class != "red" {
		t.Errorf("got %+v", a)
	}
	// The blue image among the red ones has a gray of half its red and blue.
	if want := []Mistake{{"gray", 3, 1}}; !reflect.DeepEqual(a.Classes[0].Mistakes, want) || a.Restricted.Correct != 2 {
		t.Errorf("mistakes %+v, want %+v", a.Classes[0].Mistakes, want)
	}
	if !slices.Equal(a.Unseen, []string{"gray"}) {
		t.Errorf("unseen %v", a.Unseen)
	}
	// A class that the model does not know is passed over.
	a = evaluate(t, spec{}.open(t), images, []int{2, -1, 0}, EvalOptions{})
	if a.Images != 6 || a.PassedOver != 4 || a.Restricted.Among != 4 || a.All != a.Restricted {
		t.Errorf("got %+v", a)
	}
}

// However many images a model takes at once, and wherever the last batch ends,
// the result is the same.
func TestEvaluateBatches(t *testing.T) {
	images := colorPhotos(t)
	want := evaluate(t, spec{}.open(t), images, colorOf, EvalOptions{Wanted: []int{0, 1, 2}})
	for _, batch := range []graph.Dim{graph.Sym("n"), graph.Fixed(1), graph.Fixed(3), graph.Fixed(10), graph.Fixed(16)} {
		m := spec{batch: batch}.open(t)
		if fixed := int(batch.Value); m.Batch() != fixed {
			t.Errorf("batch of %v: %d", batch, m.Batch())
		}
		for _, size := range []int{0, 1, 3, 7, 100} {
			a := evaluate(t, m, images, colorOf, EvalOptions{Wanted: []int{0, 1, 2}, Batch: size})
			if asJSON(t, a) != asJSON(t, want) {
				t.Errorf("fixed %d, read by %d: %+v, want %+v", batch.Value, size, a, want)
			}
		}
	}
}

func TestEvaluateFromMemory(t *testing.T) {
	set, pre := photos(t), data.Default(side, side)
	loaded, err := set.Preload(t.Context(), pre, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	m := spec{}.open(t)
	a := evaluate(t, m, FromSet(set, pre), colorOf, EvalOptions{})
	if b := evaluate(t, m, FromMemory(loaded), colorOf, EvalOptions{}); !reflect.DeepEqual(a, b) {
		t.Errorf("from memory %+v, from the set %+v", b, a)
	}
}

// A model that keeps the wanted logits decides as its base does among them.
func TestEvaluateSliced(t *testing.T) {
	kept := []int{2, 0}
	slim := spec{weights: [][]float32{{0, 1}, {0, 0}, {1, 0}}}.open(t)
	images := colorPhotos(t)
	base := evaluate(t, spec{}.open(t), images, colorOf, EvalOptions{Wanted: kept})
	a := evaluate(t, slim, images, Sliced(colorOf, kept), EvalOptions{})
	if a.Restricted != base.Restricted || a.All != a.Restricted || base.All == base.Restricted {
		t.Errorf("slim %+v, base %+v", a, base)
	}
	if got := Sliced(colorOf, kept); !slices.Equal(got, []int{0, -1, 1}) {
		t.Errorf("sliced %v", got)
	}
}

// A mask on the other logits is the same decision once more; an infinite one
// must not spoil the numbers.
func TestEvaluateMasked(t *testing.T) {
	mask := func(x float32) spec {
		return spec{tail: func(g *graph.Graph, y *graph.Value) []*graph.Value {
			bias := g.AddConst("bias", graph.NewTensor([]int64{4}, []float32{0, x, 0, x}))
			return []*graph.Value{g.Add("Add", "mask", []*graph.Value{y, bias}).Output(0)}
		}}
	}
	images := colorPhotos(t)
	base := evaluate(t, spec{}.open(t), images, colorOf, EvalOptions{Wanted: []int{0, 2}})
	for _, x := range []float32{-1e4, -1e9, float32(math.Inf(-1))} {
		a := evaluate(t, mask(x).open(t), images, colorOf, EvalOptions{Wanted: []int{0, 2}})
		if a.All.Correct != base.Restricted.Correct || a.Restricted != base.Restricted || a.All.CrossEntropy != a.Restricted.CrossEntropy {
			t.Errorf("mask %v: %+v, want %+v", x, a, base)
		}
		a = evaluate(t, mask(x).open(t), images, colorOf, EvalOptions{})
		if !strings.Contains(asJSON(t, a), "cross_entropy") || a.All.CrossEntropy < 1e3 {
			t.Errorf("mask %v, all classes: %+v", x, a)
		}
	}
}

// softmax appends an operator over the classes.
func softmax(op string) spec {
	return spec{tail: func(g *graph.Graph, y *graph.Value) []*graph.Value {
		return []*graph.Value{g.Add(op, "out", []*graph.Value{y}, graph.Int("axis", -1)).Output(0)}
	}}
}

func TestEvaluateProbabilities(t *testing.T) {
	images := colorPhotos(t)
	want := evaluate(t, spec{}.open(t), images, colorOf, EvalOptions{Wanted: []int{0, 1, 2}})
	for _, op := range []string{"Softmax", "LogSoftmax"} {
		a := evaluate(t, softmax(op).open(t), images, colorOf, EvalOptions{Wanted: []int{0, 1, 2}})
		if a.Probabilities != (op == "Softmax") || a.Restricted.Correct != want.Restricted.Correct {
			t.Errorf("%s: %+v", op, a)
		}
		near(t, op+" all", a.All.CrossEntropy, want.All.CrossEntropy, 1e-6)
		near(t, op+" restricted", a.Restricted.CrossEntropy, want.Restricted.CrossEntropy, 1e-6)
	}
}

func TestOutputs(t *testing.T) {
	images := colorPhotos(t)
	want := evaluate(t, spec{}.open(t), images, colorOf, EvalOptions{})
	reshape := func(g *graph.Graph, y *graph.Value, dims ...int64) *graph.Value {
		to := g.AddConst("to", graph.NewTensor([]int64{int64(len(dims))}, dims))
		return g.Add("Reshape", "row", []*graph.Value{y, to}).Output(0)
	}
	typed := func(v *graph.Value, dims ...graph.Dim) *graph.Value {
		v.Type = graph.TensorType(graph.Float32, dims...)
		return v
	}
	negated := func(g *graph.Graph, y *graph.Value) *graph.Value {
		return g.Add("Neg", "neg", []*graph.Value{y}).Output(0)
	}
	batch := graph.Sym("batch")
	for name, c := range map[string]struct {
		output string
		tail   func(g *graph.Graph, y *graph.Value) []*graph.Value
	}{
		"one row": {"", func(g *graph.Graph, y *graph.Value) []*graph.Value {
			return []*graph.Value{typed(reshape(g, y, -1, 1, 4), batch, graph.Fixed(1), graph.Fixed(4))}
		}},
		"one pixel": {"", func(g *graph.Graph, y *graph.Value) []*graph.Value {
			return []*graph.Value{typed(reshape(g, y, -1, 4, 1, 1), batch, graph.Fixed(4), graph.Fixed(1), graph.Fixed(1))}
		}},
		"undeclared": {"", func(g *graph.Graph, y *graph.Value) []*graph.Value {
			return []*graph.Value{reshape(g, y, -1, 1, 4)}
		}},
		"behind tokens": {"", func(g *graph.Graph, y *graph.Value) []*graph.Value {
			return []*graph.Value{typed(reshape(g, y, -1, 2, 2), batch, graph.Fixed(2), graph.Fixed(2)), y}
		}},
		"the first": {"", func(g *graph.Graph, y *graph.Value) []*graph.Value {
			return []*graph.Value{y, typed(negated(g, y), batch, graph.Fixed(4))}
		}},
		"the second": {"head_out", func(g *graph.Graph, y *graph.Value) []*graph.Value {
			n := typed(negated(g, y), batch, graph.Fixed(4))
			g.Rename(y, "head_out")
			return []*graph.Value{n, y}
		}},
		"behind integers": {"", func(g *graph.Graph, y *graph.Value) []*graph.Value {
			top := g.Add("ArgMax", "top", []*graph.Value{y}, graph.Int("axis", 1)).Output(0)
			top.Type = graph.TensorType(graph.Int64, batch, graph.Fixed(1))
			return []*graph.Value{top, y}
		}},
		"half precision": {"", func(g *graph.Graph, y *graph.Value) []*graph.Value {
			h := g.Add("Cast", "half", []*graph.Value{y}, graph.Int("to", int64(graph.Float16))).Output(0)
			h.Type = graph.TensorType(graph.Float16, batch, graph.Fixed(4))
			return []*graph.Value{h}
		}},
	} {
		m := open(t, Source{Graph: spec{tail: c.tail}.graph(), Output: c.output})
		a, err := Evaluate(t.Context(), m, images, colorOf, EvalOptions{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		near(t, name, a.All.CrossEntropy, want.All.CrossEntropy, 1e-3)
		if a.All.Correct != want.All.Correct {
			t.Errorf("%s: %+v, want %+v", name, a, want)
		}
		if n, err := m.Logits(t.Context(), images); n != 4 || err != nil {
			t.Errorf("%s: %d logits, %v", name, n, err)
		}
	}
}

func TestEvaluateRefuses(t *testing.T) {
	images := colorPhotos(t)
	noClasses := folderOfOne(t)
	for name, c := range map[string]struct {
		model   spec
		output  string
		images  Images
		classOf []int
		opt     EvalOptions
		kind    fault.Kind
		says    string
	}{
		"NaN": {model: spec{tail: func(g *graph.Graph, y *graph.Value) []*graph.Value {
			return []*graph.Value{g.Add("Log", "log", []*graph.Value{g.Add("Neg", "neg", []*graph.Value{y}).Output(0)}).Output(0)}
		}}, kind: fault.Model, says: "NaN"},
		"infinity":       {model: spec{weights: [][]float32{{float32(math.Inf(1)), 0, 0}, {0, 1, 0}, {0, 0, 1}}}, kind: fault.Model, says: "finite"},
		"unknown output": {output: "nope", kind: fault.Usage, says: `"nope"`},
		"no logits": {model: spec{tail: func(g *graph.Graph, y *graph.Value) []*graph.Value {
			top := g.Add("ArgMax", "top", []*graph.Value{y}, graph.Int("axis", 1)).Output(0)
			top.Type = graph.TensorType(graph.Int64, graph.Sym("batch"), graph.Fixed(1))
			return []*graph.Value{top}
		}}, kind: fault.Unsupported, says: "want floating-point logits"},
		"a row per token": {model: spec{tail: func(g *graph.Graph, y *graph.Value) []*graph.Value {
			to := g.AddConst("to", graph.NewTensor([]int64{3}, []int64{-1, 2, 2}))
			return []*graph.Value{g.Add("Reshape", "row", []*graph.Value{y, to}).Output(0)}
		}}, kind: fault.Unsupported, says: "f32[4,2,2]"},
		"two inputs": {model: spec{tail: func(g *graph.Graph, y *graph.Value) []*graph.Value {
			z := g.AddInput("z", graph.TensorType(graph.Float32, graph.Fixed(4)))
			return []*graph.Value{g.Add("Add", "sum", []*graph.Value{y, z}).Output(0)}
		}}, kind: fault.Unsupported, says: "2 inputs"},
		"another size":         {images: FromSet(photos(t), data.Default(8, 8)), kind: fault.Usage, says: "f32[4,3,8,8]"},
		"images without class": {images: noClasses, kind: fault.Data, says: "without classes"},
		"wanted not there":     {opt: EvalOptions{Wanted: []int{3}}, kind: fault.Data, says: "no image of a wanted class"},
		"wanted out of range":  {opt: EvalOptions{Wanted: []int{0, 4}}, kind: fault.Usage, says: "logit 4"},
		"wanted twice":         {opt: EvalOptions{Wanted: []int{0, 0}}, kind: fault.Usage, says: "logit 0"},
		"class out of range":   {classOf: []int{0, 1, 7}, kind: fault.Usage, says: "logit 7"},
		"too few classes":      {classOf: []int{0, 1}, kind: fault.Internal, says: "2 classes"},
		"negative batch":       {opt: EvalOptions{Batch: -1}, kind: fault.Usage, says: "batch size"},
	} {
		if c.images == nil {
			c.images = images
		}
		if c.classOf == nil {
			c.classOf = colorOf
		}
		m := open(t, Source{Graph: c.model.graph(), Output: c.output})
		a, err := Evaluate(t.Context(), m, c.images, c.classOf, c.opt)
		if a != nil || fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v of kind %v, want %q of kind %v", name, err, fault.KindOf(err), c.says, c.kind)
		}
	}
}

func folderOfOne(t *testing.T) Images {
	n, err := Noise(spec{}.open(t), 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestEvaluateStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Evaluate(ctx, spec{}.open(t), colorPhotos(t), colorOf, EvalOptions{})
	if fault.KindOf(err) != fault.Interrupted {
		t.Errorf("got %v", err)
	}
}

// On real ViTs: however random the model, restricting the decision to the
// wanted classes never hurts, and twice the same images give the same answer.
func TestEvaluateTinyViTs(t *testing.T) {
	cases, err := testmodels.Tiny()
	if err != nil {
		t.Fatal(err)
	}
	set := noisyFolder(t, 16, 5, 7)
	images := FromSet(set, data.Default(16, 16))
	classOf := []int{7, 1, 4, 0, 9}
	seen, byLayout := 0, map[string]*Accuracy{}
	for _, c := range cases {
		switch c.Spelling {
		case "packed", "separate", "torchvision":
		default:
			continue
		}
		if c.Image != 16 || c.Dim != 32 || !c.Prunable.QK {
			continue
		}
		seen++
		m := open(t, Source{Path: c.Path()})
		for _, wanted := range [][]int{{7, 1}, {4, 0, 9}, {9, 4, 7, 1, 0}} {
			a := evaluate(t, m, images, classOf, EvalOptions{Wanted: wanted})
			if a.Restricted.Correct < a.All.Correct || a.Images != 7*len(wanted) {
				t.Errorf("%s, classes %v: %+v", c.File, wanted, a)
			}
			if b := evaluate(t, m, images, classOf, EvalOptions{Wanted: wanted}); asJSON(t, a) != asJSON(t, b) {
				t.Errorf("%s, classes %v: %+v, then %+v", c.File, wanted, a, b)
			}
		}
		// All spellings hold the same weights.
		a := evaluate(t, m, images, classOf, EvalOptions{})
		if first := byLayout["any"]; first == nil {
			byLayout["any"] = a
		} else {
			near(t, c.File, a.All.CrossEntropy, first.All.CrossEntropy, 1e-5)
			if a.All.Correct != first.All.Correct {
				t.Errorf("%s: %+v, want %+v", c.File, a.All, first.All)
			}
		}
	}
	if seen < 12 {
		t.Errorf("%d models seen, want 12", seen)
	}
}
