package measure

import (
	"fmt"
	"image"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/internal/data"
	"nuwa/internal/fault"
)

// shades are images of two colors at once, named by a table.
func shades(t *testing.T, rows ...string) (*data.Set, [][3]float64) {
	t.Helper()
	colors := [][3]uint8{{250, 200, 10}, {200, 0, 0}, {0, 220, 210}, {10, 10, 10}, {100, 240, 0}, {120, 60, 230}}
	list := map[string][]image.Image{}
	var means [][3]float64
	for _, c := range colors {
		list["all"] = append(list["all"], plain(c[0], c[1], c[2]))
		means = append(means, [3]float64{float64(c[0]) / 255, float64(c[1]) / 255, float64(c[2]) / 255})
	}
	dir := folder(t, list).Root
	for i := range rows {
		rows[i] = fmt.Sprintf("all/%03d.png,%s", i, rows[i])
	}
	file := filepath.Join(dir, "labels.csv")
	if err := os.WriteFile(file, []byte(strings.Join(rows, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := data.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set, means
}

// centred are logits of the colors that are positive above half.
var centred = spec{tail: func(g *graph.Graph, y *graph.Value) []*graph.Value {
	half := g.AddConst("half", graph.NewTensor([]int64{1}, []float32{0.5}))
	z := g.Add("Sub", "centred", []*graph.Value{y, half}).Output(0)
	z.Type = y.Type
	return []*graph.Value{z}
}}

// probable gives the probabilities of centred.
var probable = spec{tail: func(g *graph.Graph, y *graph.Value) []*graph.Value {
	z := g.Add("Sigmoid", "p", centred.tail(g, y)).Output(0)
	z.Type = y.Type
	return []*graph.Value{z}
}}

func TestEvaluateSeveralClasses(t *testing.T) {
	// Red and green by their values: 250 200 0 10 100 120 and 200 0 220 10 240 60.
	set, means := shades(t, "red;green", "red", "green", "", "green;blue", "red;blue")
	classOf := []int{2, 1, 0} // blue, green, red
	a := evaluate(t, centred.open(t), FromSet(set, data.Default(side, side)), classOf, EvalOptions{Wanted: []int{0, 1}})
	if !a.MultiLabel || a.Images != 6 || a.PassedOver != 0 || a.All.Among != 3 || a.Restricted.Among != 2 || len(a.Classes) != 2 || a.Probabilities {
		t.Errorf("%+v", a)
	}
	// Blue is at places 1 (120 60 230) and, of 10 10 0 0 210, behind all but
	// the last three: precision 1/1, then 2/6 as both zeros come in together.
	blue := 0.5*1 + 0.5*2/6
	near(t, "red", a.Classes[1].AveragePrecision, 1, 1e-9)
	near(t, "green", a.Classes[0].AveragePrecision, 1, 1e-9)
	near(t, "wanted", a.Restricted.MeanAveragePrecision, 1, 1e-9)
	near(t, "all", a.All.MeanAveragePrecision, (2+blue)/3, 1e-9)
	for _, q := range []struct {
		multi, balance bool
		want           float64
	}{{true, true, a.All.MeanAveragePrecision}, {false, true, a.All.Macro}, {false, false, a.All.Accuracy}} {
		near(t, "quality", a.All.Quality(q.multi, q.balance), q.want, 0)
	}
	if a.Classes[0].Class != "green" || a.Classes[0].Images != 3 || a.Classes[0].Logit != 1 {
		t.Errorf("%+v", a.Classes[0])
	}
	// Image 5 has red at 120/255 only: one wrong decision among six.
	near(t, "decisions on red", a.Classes[1].Restricted, 5.0/6, 1e-9)
	if a.Restricted.Correct != 5 {
		t.Errorf("%d images with every decision right, want 5", a.Restricted.Correct)
	}
	loss := 0.0
	for i, m := range means {
		for l, z := range m[:2] {
			has := slices.Contains(set.Of(i), slices.Index(classOf, l))
			p := 1 / (1 + math.Exp(-(z - 0.5)))
			if !has {
				p = 1 - p
			}
			loss -= math.Log(p) / 12
		}
	}
	near(t, "cross-entropy", a.Restricted.CrossEntropy, loss, 1e-6)
	// Probabilities give the same figures.
	b := evaluate(t, probable.open(t), FromSet(set, data.Default(side, side)), classOf, EvalOptions{Wanted: []int{0, 1}, Batch: 4})
	if !b.Probabilities || b.Restricted.Correct != a.Restricted.Correct {
		t.Errorf("%+v", b)
	}
	near(t, "cross-entropy of probabilities", b.Restricted.CrossEntropy, a.Restricted.CrossEntropy, 1e-6)
	near(t, "precision of probabilities", b.All.MeanAveragePrecision, a.All.MeanAveragePrecision, 1e-9)

	var text strings.Builder
	if err := (&Summary{Models: []Report{{Name: "m", Accuracy: a}}}).Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"classes                  all 3  wanted 2", "mean of classes          88.89    100.00", "  green                 100.00    100.00"} {
		if !strings.Contains(text.String(), line) {
			t.Errorf("no line %q in\n%s", line, text.String())
		}
	}
}

// A class without images has no precision; a class that the model does not
// know does not count.
func TestEvaluateSeveralClassesUnseen(t *testing.T) {
	set, _ := shades(t, "red;green", "red", "green", "", "green;blue", "red;blue")
	a := evaluate(t, centred.open(t), FromSet(set, data.Default(side, side)), []int{-1, 1, 0}, EvalOptions{Wanted: []int{0, 3}, Names: []string{"r", "g", "b", "gray"}})
	if !slices.Equal(a.Unseen, []string{"gray"}) || len(a.Classes) != 1 || a.All.Among != 2 {
		t.Errorf("%+v", a)
	}
	images := FromSet(set, data.Default(side, side))
	if _, err := Evaluate(t.Context(), centred.open(t), images, []int{-1, 1, 0}, EvalOptions{Wanted: []int{3}}); fault.KindOf(err) != fault.Data {
		t.Errorf("no wanted class: %v", err)
	}
}

func TestAgreeOnSeveralClasses(t *testing.T) {
	set, _ := shades(t, "red;green", "red", "green", "", "green;blue", "red;blue")
	images := FromSet(set, data.Default(side, side))
	// The same decisions, once as logits and once as probabilities.
	if g := agree(t, centred.open(t), probable.open(t), images, Kept([]int{0, 1, 2, 3}), AgreeOptions{}); g.Same != 6 {
		t.Errorf("%+v", g)
	}
	// Without the offset every color that is not 0 is there: the last three
	// images differ.
	strong := spec{weights: [][]float32{{9, 0}, {0, 9}, {0, 0}}}
	if g := agree(t, centred.open(t), strong.open(t), images, Kept([]int{0, 1}), AgreeOptions{}); g.Same != 3 {
		t.Errorf("%+v", g)
	}
}
