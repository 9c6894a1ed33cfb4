package measure

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nuwa/internal/data"
	"nuwa/internal/engine"
	"nuwa/internal/ranking"
)

// cifar opens a ViT trained on CIFAR-10 and the photos it is tested on, which
// lie beside the repository where they are at all.
func cifar(t *testing.T) (*Model, *data.Set, data.Preprocess) {
	t.Helper()
	shared := filepath.Join("..", "..", "..", "shared")
	path := filepath.Join(shared, "models", "cifar10_vit.onnx")
	zip := filepath.Join(shared, "cifar10.zip")
	for _, f := range []string{path, zip} {
		if _, err := os.Stat(f); err != nil {
			t.Skipf("needs %s, which is not part of the repository: %v", f, err)
		}
	}
	m, err := Open(Source{Name: "cifar10_vit", Path: path}, &engine.Engine{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	set, err := data.Open(zip + "/cifar10/test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	pre := data.Default(32, 32)
	pre.Resize = data.Keep
	pre.Mean, pre.Std = []float32{.4914, .4822, .4465}, []float32{.2470, .2435, .2616}
	return m, set, pre
}

// The accuracies are those of a reference in PyTorch on the same photos.
func TestCIFARAccuracy(t *testing.T) {
	m, set, pre := cifar(t)
	loaded, err := set.Preload(t.Context(), pre, 1<<26)
	if err != nil {
		t.Fatal(err)
	}
	images := FromMemory(loaded)
	n, err := m.Logits(t.Context(), images)
	if err != nil {
		t.Fatal(err)
	}
	classOf, err := data.MatchClasses(set.Classes, nil, n)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		classes         []string
		all, restricted float64
	}{
		{[]string{"bird", "ship"}, 79.0, 98.75},
		{[]string{"airplane", "cat", "frog", "horse", "truck"}, 76.1, 87.7},
		{[]string{"airplane", "automobile", "bird", "deer", "frog", "horse", "ship", "truck"}, 80.94, 83.19},
	} {
		wanted, err := data.Resolve(c.classes, set.Classes, n)
		if err != nil {
			t.Fatal(err)
		}
		a := evaluate(t, m, images, classOf, EvalOptions{Wanted: wanted})
		if a.Images != 200*len(wanted) || a.PassedOver != 200*(10-len(wanted)) {
			t.Errorf("%v: %d images, %d passed over", c.classes, a.Images, a.PassedOver)
		}
		near(t, "all", 100*a.All.Accuracy, c.all, 0.3)
		near(t, "restricted", 100*a.Restricted.Accuracy, c.restricted, 0.3)
		t.Logf("%v: all %.2f %%, restricted %.2f %% (%+v)", c.classes, 100*a.All.Accuracy, 100*a.Restricted.Accuracy, a.Restricted.Interval)
	}
}

// Reading by ones, by a number that leaves a rest, and from the archive
// itself changes nothing but the last bits of the loss.
func TestCIFARBatches(t *testing.T) {
	m, set, pre := cifar(t)
	few := set.Take(90, 1)
	images := FromSet(few, pre)
	wanted := []int{0, 3, 6, 7, 9}
	want := evaluate(t, m, images, ranking.UpTo(10), EvalOptions{Wanted: wanted})
	for _, batch := range []int{1, 7, 45} {
		a := evaluate(t, m, images, ranking.UpTo(10), EvalOptions{Wanted: wanted, Batch: batch})
		near(t, "cross-entropy", a.Restricted.CrossEntropy, want.Restricted.CrossEntropy, 1e-5)
		if a.All.Correct != want.All.Correct || a.Restricted.Correct != want.Restricted.Correct ||
			!slices.EqualFunc(a.Classes, want.Classes, func(x, y ClassScore) bool { return x.Restricted == y.Restricted && x.All == y.All }) {
			t.Errorf("by %d: %+v, want %+v", batch, a, want)
		}
	}
	if again := evaluate(t, m, images, ranking.UpTo(10), EvalOptions{Wanted: wanted}); asJSON(t, again) != asJSON(t, want) {
		t.Errorf("%+v, then %+v", want, again)
	}
}

// A model beside itself is as fast as itself, whatever else the machine does.
func TestCIFARBench(t *testing.T) {
	m, _, _ := cifar(t)
	r, err := Bench(t.Context(), []*Model{m, m}, BenchOptions{Runs: 25})
	if err != nil {
		t.Fatal(err)
	}
	if s := r.Speedups[0]; s.Median < 0.67 || s.Median > 1.5 {
		t.Errorf("%+v over itself", s)
	}
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + b.String())
}
