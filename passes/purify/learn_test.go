package purify_test

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/passes/passtest"
	"nuwa/passes/purify"
	"nuwa/passes/structure"
	"nuwa/testmodels"
)

// tiny loads a model of random weights, and noise as its images.
func tiny(t testing.TB, file string) (*graph.Model, *structure.ViT, purify.Options) {
	t.Helper()
	cases, err := testmodels.Tiny()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.File != file {
			continue
		}
		m := passtest.Load(t, c.Path())
		vit := passtest.Clean(t, m)
		return m, vit, noise(t, m, c.Classes)
	}
	t.Fatalf("no model %s", file)
	return nil, nil, purify.Options{}
}

func noise(t testing.TB, m *graph.Model, classes int) purify.Options {
	images := func(n int, seed uint64) purify.Images {
		rng := rand.New(rand.NewPCG(seed, 1))
		dims, _ := engine.Feeds(m)[0].Type.Dims()
		each := graph.Elements(dims[1:])
		xs := make([]float32, int64(n)*each)
		for i := range xs {
			xs[i] = float32(rng.NormFloat64())
		}
		im := purify.Images{Batch: func(idx []int) *graph.Tensor {
			var out []float32
			for _, i := range idx {
				out = append(out, xs[int64(i)*each:int64(i+1)*each]...)
			}
			return graph.NewTensor(append([]int64{int64(len(idx))}, dims[1:]...), out)
		}}
		for i := range n {
			im.Labels = append(im.Labels, i%min(2, classes))
		}
		return im
	}
	return purify.Options{Train: images(12, 1), Validate: images(70, 2), Wanted: []int{0, 1}, Steps: 60, Every: 10, Rate: 0.05, Seed: 3}
}

func learn(t testing.TB, m *graph.Model, vit *structure.ViT, o purify.Options) *purify.Result {
	t.Helper()
	r, err := purify.Learn(t.Context(), passtest.Engine, m, vit, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// text is all of a result but the time it took.
func text(t testing.TB, r *purify.Result) string {
	c := *r
	c.Seconds = 0
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range r.Layers {
		k, _ := json.Marshal(l.Keep)
		b = append(b, k...)
	}
	return string(b)
}

// On every tiny model whose hidden layers can be narrowed, older opsets left
// out, removing neurons
// gives what the mask gave.
func TestRemovalEqualsTheMask(t *testing.T) {
	cases, err := testmodels.Tiny()
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, c := range cases {
		if !c.Prunable.Hidden || c.Opset == 11 || c.Opset == 14 && !c.Dynamic() {
			continue
		}
		m := passtest.Load(t, c.Path())
		vit := passtest.Clean(t, m)
		if len(vit.Classifiers) == 0 || len(vit.MLPs) == 0 {
			continue
		}
		o := noise(t, m, c.Classes)
		rng := rand.New(rand.NewPCG(9, uint64(ran)))
		r := &purify.Result{}
		for _, s := range vit.MLPs {
			l := purify.Layer{Hidden: s.Hidden, Reason: s.Reason}
			for j := range s.Hidden {
				if s.Reason != "" || j == 0 || rng.IntN(3) > 0 {
					l.Keep = append(l.Keep, j)
				}
			}
			l.Kept = len(l.Keep)
			r.Layers = append(r.Layers, l)
		}
		x := o.Train.Batch([]int{4})
		masked, err := purify.Masked(t.Context(), passtest.Engine, m, vit, o, r, x)
		if err != nil {
			t.Errorf("%s: %v", c.File, err)
			continue
		}
		input, output := engine.Feeds(m)[0].Name(), vit.Classifiers[0].Output.Name()
		if err := purify.Remove(m, vit, r); err != nil {
			t.Errorf("%s: %v", c.File, err)
			continue
		}
		passtest.Tidy(t, m)
		out, err := passtest.Engine.Run(t.Context(), m, map[string]*graph.Tensor{input: x})
		if err != nil {
			t.Errorf("%s: %v", c.File, err)
			continue
		}
		removed, _ := out[output].Floats()
		for i := range masked {
			if d := masked[i] - removed[i]; !(d*d < 1e-10) {
				t.Errorf("%s: masked %v, removed %v", c.File, masked, removed)
				break
			}
		}
		ran++
	}
	if ran < 20 {
		t.Errorf("only %d models ran", ran)
	}
	t.Logf("%d models", ran)
}

func TestSameSeedSameResult(t *testing.T) {
	m, vit, o := tiny(t, "packed_17_dynamic.onnx")
	first := learn(t, m, vit, o)
	if got := text(t, learn(t, m, vit, o)); got != text(t, first) {
		t.Errorf("%s, then %s", text(t, first), got)
	}
	if first.Steps != 60 || first.Stopped != "all steps were taken" {
		t.Errorf("%+v", first)
	}
	if first.After.All < first.Before.All {
		t.Errorf("validation accuracy %v became %v", first.Before, first.After)
	}
	if first.Removed() == 0 {
		t.Error("nothing was removed, so the test shows nothing")
	}
}

// Every loss, weighting, method and a model of fixed batch run.
func TestVariants(t *testing.T) {
	for name, edit := range map[string]func(*purify.Options){
		"wanted":   func(o *purify.Options) { o.Loss = purify.Wanted },
		"balance":  func(o *purify.Options) { o.Balance = true; o.Train.Labels[1] = 0 },
		"batch":    func(o *purify.Options) { o.Batch = 5 },
		"first":    func(o *purify.Options) { o.Method = purify.First; o.Batch = 8 },
		"second":   func(o *purify.Options) { o.Method, o.Loss = purify.Second, purify.Wanted },
		"patience": func(o *purify.Options) { o.Patience = 1 },
	} {
		m, vit, o := tiny(t, "separate_14_dynamic.onnx")
		edit(&o)
		r := learn(t, m, vit, o)
		decided := func(s purify.Score) float64 {
			if o.Loss == purify.Wanted {
				return s.Wanted
			}
			return s.All
		}
		if decided(r.After) < decided(r.Before) {
			t.Errorf("%s: %v became %v", name, r.Before, r.After)
		}
		if name == "patience" && (r.Steps == o.Steps) != (r.Stopped == "all steps were taken") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	for _, method := range []string{purify.STE, purify.First} {
		m, vit, o := tiny(t, "packed_14_static.onnx")
		o.Method = method
		learn(t, m, vit, o)
	}
}

func TestTimeEnds(t *testing.T) {
	m, vit, o := tiny(t, "packed_17_dynamic.onnx")
	o.Steps, o.Time = 1<<40, 300*time.Millisecond
	r := learn(t, m, vit, o)
	if r.Stopped != "the time was over" || r.Steps == 0 || r.Steps == o.Steps {
		t.Errorf("%+v", r)
	}
}

func TestProgress(t *testing.T) {
	m, vit, o := tiny(t, "packed_17_dynamic.onnx")
	var steps []purify.Progress
	o.Progress = func(p purify.Progress) { steps = append(steps, p) }
	r := learn(t, m, vit, o)
	last := steps[len(steps)-1]
	if len(steps) != 60 || last.Step != 60 || len(last.Kept) != len(r.Layers) || last.Left != 0 || last.Loss <= 0 {
		t.Errorf("%d reports, the last %+v", len(steps), last)
	}
}

// Interrupted at random moments and resumed, learning ends with what it ends
// with undisturbed.
func TestResumeAfterInterruption(t *testing.T) {
	m, vit, o := tiny(t, "packed_17_dynamic.onnx")
	want := text(t, learn(t, m, vit, o))
	rng := rand.New(rand.NewPCG(1, 1))
	stops := 0
	for round := range 5 {
		o.Checkpoint = filepath.Join(t.TempDir(), "state")
		for {
			ctx, cancel := context.WithCancel(t.Context())
			left := 1 + rng.IntN(25)
			o.Progress = func(purify.Progress) {
				if left--; left == 0 {
					cancel()
				}
			}
			r, err := purify.Learn(ctx, passtest.Engine, m, vit, o)
			cancel()
			if err == nil {
				if got := text(t, r); got != want {
					t.Errorf("round %d: %s, want %s", round, got, want)
				}
				break
			}
			if fault.KindOf(err) != fault.Interrupted {
				t.Fatal(err)
			}
			stops++
		}
	}
	if stops < 10 {
		t.Errorf("only %d interruptions", stops)
	}
}

func TestForeignCheckpointIsRefused(t *testing.T) {
	m, vit, o := tiny(t, "packed_17_dynamic.onnx")
	o.Checkpoint = filepath.Join(t.TempDir(), "state")
	first := learn(t, m, vit, o)
	if again := learn(t, m, vit, o); text(t, again) != text(t, first) {
		t.Error("a finished run is not given back")
	}
	refused := func(what string, m *graph.Model, vit *structure.ViT, o purify.Options) {
		t.Helper()
		_, err := purify.Learn(t.Context(), passtest.Engine, m, vit, o)
		var f *fault.Error
		if !errors.As(err, &f) || f.File != o.Checkpoint || !strings.Contains(f.Remedy, "delete") {
			t.Errorf("%s: %v", what, err)
		}
	}
	seed := o
	seed.Seed++
	refused("another seed", m, vit, seed)
	images := o
	images.Train.Labels = append([]int{1}, o.Train.Labels[1:]...)
	refused("other labels", m, vit, images)
	pixels := o
	pixels.Train.Batch = func(idx []int) *graph.Tensor {
		x := o.Train.Batch(idx)
		x.Data[0] ^= 1
		return x
	}
	refused("other images", m, vit, pixels)
	other, otherViT, _ := tiny(t, "packed_14_dynamic.onnx")
	refused("another model", other, otherViT, o)
	if err := os.WriteFile(o.Checkpoint, []byte("no state"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused("no checkpoint", m, vit, o)
}

func TestModelWithoutHiddenLayers(t *testing.T) {
	m, vit, o := tiny(t, "cnn.onnx")
	if _, err := purify.Learn(t.Context(), passtest.Engine, m, vit, o); fault.KindOf(err) != fault.Unsupported {
		t.Errorf("%v", err)
	}
}
