package purify_test

import (
	"path/filepath"
	"slices"
	"testing"

	"nuwa/internal/ranking"
	"nuwa/passes/passtest"
	"nuwa/passes/purify"
)

// several gives every image any number of the first three classes.
func several(o purify.Options) purify.Options {
	for _, im := range []*purify.Images{&o.Train, &o.Validate} {
		for i := range im.Labels {
			im.Several = append(im.Several, [][]int{{0}, {}, {1, 2}, {0, 1}, {2}}[i%5])
		}
		im.Labels = nil
	}
	return o
}

func TestSeveralClasses(t *testing.T) {
	for name, edit := range map[string]func(*purify.Options){
		"all":      func(o *purify.Options) {},
		"wanted":   func(o *purify.Options) { o.Loss = purify.Wanted },
		"balance":  func(o *purify.Options) { o.Balance, o.Batch = true, 3 },
		"first":    func(o *purify.Options) { o.Method = purify.First },
		"second":   func(o *purify.Options) { o.Method, o.Loss, o.Balance = purify.Second, purify.Wanted, true },
		"all kept": func(o *purify.Options) { o.Wanted = nil },
	} {
		m, vit, o := tiny(t, "packed_17_dynamic.onnx")
		o = several(o)
		edit(&o)
		r := learn(t, m, vit, o)
		before, after := r.Before.All, r.After.All
		if o.Loss == purify.Wanted {
			before, after = r.Before.Wanted, r.After.Wanted
		}
		if r.Metric != "mean average precision" || after < before {
			t.Errorf("%s: %+v", name, r)
		}
		// What is reported is the precision of the masked model.
		var rows [][]float64
		for i := range o.Validate.Several {
			row, err := purify.Masked(t.Context(), passtest.Engine, m, vit, o, r, o.Validate.Batch([]int{i}))
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, row)
		}
		mean := 0.0
		for c := range 3 {
			scores, has := make([]float64, len(rows)), make([]bool, len(rows))
			for i := range rows {
				scores[i], has[i] = rows[i][c], slices.Contains(o.Validate.Several[i], c)
			}
			ap, _ := ranking.AveragePrecision(scores, has)
			mean += ap / 3
		}
		if d := mean - r.After.All; d*d > 1e-6 { // batches of other sizes may turn the order of two that are nearly equal
			t.Errorf("%s: precision %g, reported %g", name, mean, r.After.All)
		}
	}
}

// Interrupted or not, and with a checkpoint of the same images only.
func TestSeveralClassesResume(t *testing.T) {
	m, vit, o := tiny(t, "packed_17_dynamic.onnx")
	o = several(o)
	o.Checkpoint = filepath.Join(t.TempDir(), "state")
	o.Steps = 30
	first := learn(t, m, vit, o)
	if again := learn(t, m, vit, o); text(t, again) != text(t, first) {
		t.Error("a finished run is not given back")
	}
	o.Train.Several[0] = []int{1}
	if _, err := purify.Learn(t.Context(), passtest.Engine, m, vit, o); err == nil {
		t.Error("a checkpoint of other classes was taken")
	}
}

func TestTargets(t *testing.T) {
	o := purify.Options{Train: purify.Images{Several: [][]int{{0, 3}, {}, {3}, {1}}}, Wanted: []int{3, 0, 2}, Loss: purify.Wanted}
	has, weights := purify.Targets(o, 3, []int{0, 1, 2})
	if !slices.Equal(has, []float64{1, 1, 0, 0, 0, 0, 1, 0, 0}) {
		t.Errorf("targets %v", has)
	}
	// Logit 3 is in two of four images, logit 0 in one, logit 2 in none.
	if !slices.Equal(weights, []float64{1, 2, 1, 1, 2.0 / 3, 1, 1, 2.0 / 3, 1}) {
		t.Errorf("weights %v", weights)
	}
	o.Loss = purify.All
	if has, _ = purify.Targets(o, 5, []int{0}); !slices.Equal(has, []float64{1, 0, 0, 1, 0}) {
		t.Errorf("targets over all classes %v", has)
	}
}
