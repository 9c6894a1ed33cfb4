package derive_test

import (
	"path/filepath"
	"testing"

	"nuwa/internal/derive"
	"nuwa/internal/task"
	"nuwa/testmodels"
)

// The demo's anchor is written and judged, keeps every logit, leaves no
// checkpoint, and recipe paper purifies before it prunes.
func TestPurifyTheDemo(t *testing.T) {
	in := demoFiles(t, true)
	classes := []string{"car", "truck"}
	learn := task.Purification{Steps: 150}
	res, err := derive.Purify(t.Context(), derive.PurifyOptions{
		Model: in("vit.onnx"), Output: in("anchor.onnx"), Data: in("vehicles.zip") + "/train", Test: in("vehicles.zip") + "/test",
		Labels: in("labels.txt"), Classes: classes, Purification: learn,
	})
	if err != nil {
		t.Fatal(err)
	}
	p := res.Purification
	if p == nil || p.Removed() == 0 || p.After.All < p.Before.All || res.Rate <= 0 {
		t.Errorf("rate %.3f, %+v", res.Rate, p)
	}
	for i, a := range res.Summary.Models {
		if a.Accuracy == nil || a.Accuracy.All.Among != len(testmodels.Labels()) || a.Accuracy.Restricted.Among != 2 {
			t.Errorf("model %d: %+v", i, a.Accuracy)
		}
	}
	if left, _ := filepath.Glob(in("*.purify")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	slim, err := derive.Derive(t.Context(), task.Options{
		Model: in("vit.onnx"), Output: in("slim.onnx"), Data: in("vehicles.zip") + "/train", Test: in("vehicles.zip") + "/test",
		Labels: in("labels.txt"), Classes: classes, Rate: 0.4, Recipe: "paper", Purification: learn, SkipBench: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if slim.Purification == nil || slim.Rate < 0.38 || slim.Blocks[0].Hidden[0] != p.Layers[0].Hidden {
		t.Errorf("rate %.3f, blocks %+v, purification %+v", slim.Rate, slim.Blocks, slim.Purification)
	}
	t.Logf("anchor: all %.3f → %.3f, wanted %.3f → %.3f, rate %.3f", res.Summary.Models[0].Accuracy.All.Accuracy, res.Summary.Models[1].Accuracy.All.Accuracy,
		res.Summary.Models[0].Accuracy.Restricted.Accuracy, res.Summary.Models[1].Accuracy.Restricted.Accuracy, res.Rate)
}
