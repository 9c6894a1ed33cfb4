package purify_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"nuwa/graph"
	"nuwa/internal/data"
	"nuwa/passes/passtest"
	"nuwa/passes/purify"
	"nuwa/passes/structure"
)

// cifar loads a ViT trained on CIFAR-10 and photos that it was not trained on,
// which lie beside the repository where they are at all.
func cifar(t testing.TB, logits []int) (*graph.Model, *structure.ViT, purify.Options) {
	t.Helper()
	shared := filepath.Join("..", "..", "..", "shared")
	model, zip := filepath.Join(shared, "models", "cifar10_vit.onnx"), filepath.Join(shared, "cifar10.zip")
	for _, f := range []string{model, zip} {
		if _, err := os.Stat(f); err != nil {
			t.Skipf("needs %s, which is not part of the repository: %v", f, err)
		}
	}
	m := passtest.Load(t, model)
	vit := passtest.Clean(t, m)
	set, err := data.Open(zip + "/cifar10/test")
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	var names []string
	for _, l := range logits {
		names = append(names, set.Classes[l])
	}
	if set, err = set.Select(names); err != nil {
		t.Fatal(err)
	}
	pre := data.Default(32, 32)
	pre.Resize, pre.Mean, pre.Std = data.Keep, []float32{.4914, .4822, .4465}, []float32{.2470, .2435, .2616}
	images := func(s *data.Set) purify.Images {
		loaded, err := s.Preload(t.Context(), pre, 1<<26)
		if err != nil {
			t.Fatal(err)
		}
		im := purify.Images{Batch: func(idx []int) *graph.Tensor { return loaded.Batch(idx).X }}
		for _, x := range s.Samples {
			im.Labels = append(im.Labels, logits[x.Class])
		}
		return im
	}
	held, rest := set.Split(0, 0.25)
	return m, vit, purify.Options{Train: images(rest), Validate: images(held), Wanted: logits}
}

// A few hundred steps with the loss over all classes teach a trained model to
// silence the classes that nobody asked for.
func TestPurificationLiftsTheAccuracyOverAllClasses(t *testing.T) {
	m, vit, o := cifar(t, []int{2, 8})
	o.Steps, o.Every = 300, 100
	r := learn(t, m, vit, o)
	t.Logf("%v → %v, %d neurons removed, best after step %d, %.1f s", r.Before, r.After, r.Removed(), r.Best, r.Seconds)
	if r.After.All < r.Before.All+0.03 || r.Removed() == 0 {
		t.Errorf("accuracy over all classes %.3f became %.3f with %d neurons removed", r.Before.All, r.After.All, r.Removed())
	}
}

// BenchmarkStep tells what a gradient costs, as a multiple of a plain forward
// pass of the same batch.
func BenchmarkStep(b *testing.B) {
	for _, batch := range []int{1, 8, 32} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			m, vit, o := cifar(b, []int{2, 8})
			o.Batch = batch
			forward, gradient, err := purify.Parts(b.Context(), passtest.Engine, m, vit, o)
			if err != nil {
				b.Fatal(err)
			}
			best := [2]time.Duration{time.Hour, time.Hour}
			for b.Loop() { // in turns, and the best of each, as other programs may run
				for i, f := range []func() error{forward, gradient} {
					began := time.Now()
					if err := f(); err != nil {
						b.Fatal(err)
					}
					best[i] = min(best[i], time.Since(began))
				}
			}
			b.ReportMetric(best[0].Seconds()*1e3, "forward-ms")
			b.ReportMetric(best[1].Seconds()*1e3, "gradient-ms")
			b.ReportMetric(best[1].Seconds()/best[0].Seconds(), "gradient/forward")
		})
	}
}
