package passes_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/passes"
	"nuwa/passes/passtest"
	"nuwa/passes/purify"
	"nuwa/testmodels"
)

// noisy are labelled images of noise for m, and calibration inputs.
func noisy(m *graph.Model, n int) purify.Images {
	dims, _ := engine.Feeds(m)[0].Type.Dims()
	im := purify.Images{Batch: func(idx []int) *graph.Tensor {
		var xs []float32
		for _, i := range idx {
			rng := rand.New(rand.NewPCG(uint64(n), uint64(i)))
			for range graph.Elements(dims[1:]) {
				xs = append(xs, float32(rng.NormFloat64()))
			}
		}
		return graph.NewTensor(append([]int64{int64(len(idx))}, dims[1:]...), xs)
	}}
	for i := range n {
		im.Labels = append(im.Labels, i%2)
	}
	return im
}

// After purification the rest of the method goes on with what is left, in
// either recipe, for a rate and for explicit widths.
func TestPurifyThenPrune(t *testing.T) {
	cases, err := testmodels.Tiny()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.File != "packed_17_dynamic.onnx" && c.File != "mlp_swiglu.onnx" {
			continue
		}
		for _, o := range []passes.Options{
			{Recipe: passes.Recipes["paper"], Rate: 0.4, Align: 1}, {Recipe: passes.Recipes["best"], Rate: 0.4, Align: 1},
			{Recipe: passes.Recipes["paper"], Fixed: &passes.Width{Hidden: c.Hidden - 1}, Align: 1}, {Recipe: passes.Recipes["paper"], Align: 1},
		} {
			m := passtest.Load(t, c.Path())
			o.Classes = []int{0, 1}
			o.Purify = &purify.Options{Train: noisy(m, 12), Validate: noisy(m, 40), Wanted: o.Classes, Steps: 40, Every: 10, Rate: 0.05}
			input := engine.Feeds(m)[0].Name()
			s := &passes.State{Model: m, Engine: passtest.Engine, Options: o, Labels: []int{0, 1, 0, 1},
				Feeds: func(yield func(map[string]*graph.Tensor, error) bool) {
					yield(map[string]*graph.Tensor{input: noisy(m, 4).Batch([]int{0, 1, 2, 3})}, nil)
				}}
			reports, err := (&passes.Manager{}).Run(t.Context(), s, passes.Pipeline)
			if err != nil {
				t.Errorf("%s, %+v: %v", c.File, o, err)
				continue
			}
			changes := ""
			for _, r := range reports {
				if r.Pass == "purify" {
					changes = r.Changes
				}
			}
			if !strings.Contains(changes, "neurons removed") || s.Purified.Removed() == 0 {
				t.Errorf("%s, %+v: purification says %q", c.File, o, changes)
			}
			for i, w := range s.Widths {
				b := passtest.Find(t, s.Model).Blocks[i]
				switch {
				case b.MLP.Hidden != w.Hidden || b.Attention.QKDim != w.QK || b.Attention.VODim != w.VO:
					t.Errorf("%s, %+v: block %d has other widths than %+v", c.File, o, i, w)
				case w.Hidden > s.Purified.Layers[i].Kept || s.Base[i].Hidden != c.Hidden:
					t.Errorf("%s, %+v: block %d: %d neurons of %d, %d after purification", c.File, o, i, w.Hidden, s.Base[i].Hidden, s.Purified.Layers[i].Kept)
				}
			}
		}
	}
}

// A Vision Transformer that cannot be purified, here for the norms inside its
// hidden layers, is an error only to who asked for it.
func TestLenientPurification(t *testing.T) {
	cases, err := testmodels.Tiny()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.File != "mlp_sub_norm.onnx" {
			continue
		}
		for _, lenient := range []bool{true, false} {
			m := passtest.Load(t, c.Path())
			s := &passes.State{Model: m, Engine: passtest.Engine, Options: passes.Options{Recipe: passes.Recipes["paper"], Lenient: lenient,
				Purify: &purify.Options{Train: noisy(m, 12), Validate: noisy(m, 40)}}}
			_, err := (&passes.Manager{}).Run(t.Context(), s, passes.Pipeline)
			if lenient && (err != nil || len(s.Notes) == 0) || !lenient && fault.KindOf(err) != fault.Unsupported {
				t.Errorf("lenient %v: %v, notes %q", lenient, err, s.Notes)
			}
		}
		return
	}
	t.Error("no model mlp_sub_norm.onnx")
}
