package passes_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/linalg"
	"nuwa/passes"
	"nuwa/passes/attention"
	"nuwa/passes/passtest"
	"nuwa/passes/structure"
)

// unrelated are moments of n channels that have nothing to do with each other
// and no mean: nothing can make up for one of them.
func unrelated(n int) *linalg.Moments {
	m := linalg.NewMoments(n)
	m.Rows = 1
	for i := range n {
		m.Gram.SetSym(i, i, 1)
	}
	return m
}

// silence makes the maps from the given channels of what l reads zero.
func (r *reference) silence(l *structure.Linear, channels []int) {
	w, _ := r.weight(l)
	for _, c := range channels {
		for o := range l.OutDim {
			w.Set(o, c, 0)
		}
	}
	r.store(l)
}

// Every untrained model without some of its heads equals the base in which the
// output projection takes nothing from them, and costs as much less as is
// predicted; without some of its attentions and hidden layers, it equals the
// base in which they add a constant.
func TestRemovedEqualsSilent(t *testing.T) {
	heads, branches := 0, 0
	for _, c := range untrained(t) {
		t.Run(c.name, func(t *testing.T) {
			m, rng := passtest.Load(t, c.path), seeded(c.name)
			vit := passtest.Clean(t, m)
			tolerance := equal
			if computesInHalf(m) {
				tolerance = 5e-3
			}
			ref, predicted, moved := newReference(t, m), macs(t, m), 0
			copied := m.Clone()
			specs, err := attention.Decompose(vit.Moved(m, copied).Attentions)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range specs {
				if s.Site.HeadsReason(vit.Shapes) == "" && s.Site.Heads > 1 {
					predicted -= removeHeads(t, copied, s, vit.Shapes, rng, ref)
					moved++
				}
			}
			if moved > 0 {
				passtest.Tidy(t, copied)
				passtest.Agree(t, "heads silenced", ref.model, copied, tolerance)
				if got := macs(t, copied); math.Abs(got-predicted) > 0.5 {
					t.Errorf("%.0f multiply-accumulates, predicted %.0f", got, predicted)
				}
			}
			heads, moved = heads+moved, 0
			ref = newReference(t, m)
			for _, l := range ends(vit) {
				if rng.IntN(2) == 0 || l.BranchReason(vit.Shapes) != "" {
					continue
				}
				ref.silence(l, upTo(l.InDim))
				if err := l.Fix(m.Graph, unrelated(l.InDim)); err != nil {
					t.Fatal(err)
				}
				moved++
			}
			if moved > 0 {
				passtest.Tidy(t, m)
				passtest.Agree(t, "branches constant", ref.model, m, tolerance)
			}
			branches += moved
		})
	}
	t.Logf("%d attentions lost heads, %d branches went", heads, branches)
	if heads < 200 || branches < 150 {
		t.Errorf("only %d attentions lost heads, and %d branches went", heads, branches)
	}
}

// removeHeads takes some heads and q/k channels from an attention, and silences
// them in the reference. It returns what that saves.
func removeHeads(t *testing.T, m *graph.Model, s *attention.Spectrum, shapes *engine.Shapes, rng *rand.Rand, ref *reference) float64 {
	t.Helper()
	a := s.Site
	qk, vo := a.UnitMACs(shapes)
	keep := some(rng, a.Heads)
	for h, rows := range a.Out.Rows(a.VODim) {
		if !slices.Contains(keep, h) {
			ref.silence(a.Out.Linear, rows)
		}
	}
	width := 1 + rng.IntN(a.QKDim)
	ref.lowRank(&attention.Spectrum{Site: a, QK: s.QK}, width, 0)
	slim, err := s.Keep(keep, attention.Evidence{O: unrelated(a.Out.Linear.InDim)}, shapes)
	if err != nil {
		t.Fatal(err)
	}
	if err := slim.Prune(m, width, 0); err != nil {
		t.Fatal(err)
	}
	left := float64(len(keep)) / float64(a.Heads)
	return qk*(float64(a.QKDim)-left*float64(width)) + vo*float64(a.VODim)*(1-left)
}

// ends lists the last maps of the attentions and hidden layers of vit that are
// understood.
func ends(vit *structure.ViT) []*structure.Linear {
	var last []*structure.Linear
	for _, a := range vit.Attentions {
		if a.VOReason == "" {
			last = append(last, a.Out.Linear)
		}
	}
	for _, p := range vit.MLPs {
		if p.Reason == "" {
			last = append(last, p.Second)
		}
	}
	return last
}

func upTo(n int) []int {
	xs := make([]int, n)
	for i := range xs {
		xs[i] = i
	}
	return xs
}

// planted runs the pipeline over m with the given moves, at the rate that takes
// away the part of all multiply-accumulates given.
func planted(t *testing.T, m *graph.Model, moves string, rate float64) *passes.State {
	t.Helper()
	recipe := passes.Recipes["best"]
	recipe.Moves, recipe.Tokens, recipe.Refit, recipe.Errors = moves, passes.TokensAll, passes.RefitNone, passes.ErrorsPlain
	s := &passes.State{Model: m.Clone(), Engine: passtest.Engine, Options: passes.Options{Recipe: recipe, Rate: rate, Align: 1},
		Feeds: func(yield func(map[string]*graph.Tensor, error) bool) {
			for i := range uint64(4) {
				if !yield(engine.Inputs(m, 16, i)) {
					return
				}
			}
		}}
	if _, err := (&passes.Manager{}).Run(t.Context(), s, passes.Pipeline); err != nil {
		t.Fatal(err)
	}
	return s
}

// A head that adds nothing goes as a whole, before anything else, and the
// outputs stay.
func TestSilentHeadGoes(t *testing.T) {
	m := passtest.CleanTiny(t, "packed_17_dynamic.onnx")
	vit := passtest.Find(t, m)
	ref, saved := newReference(t, m), 0.0
	for _, a := range vit.Attentions {
		ref.silence(a.Out.Linear, a.Out.Rows(a.VODim)[1])
		uq, uv := a.UnitMACs(vit.Shapes)
		saved += (uq*float64(a.QKDim) + uv*float64(a.VODim)) / float64(a.Heads)
	}
	passtest.Tidy(t, ref.model)
	s := planted(t, ref.model, passes.MovesHeads, saved/macs(t, m))
	for i, w := range s.Widths {
		if b := s.Base[i]; w.Heads != b.Heads-1 || w.QK != b.QK || w.VO != b.VO || w.Hidden != b.Hidden {
			t.Errorf("block %d becomes %+v of %+v, want one head less", i, w, b)
		}
	}
	passtest.Agree(t, "without silent heads", ref.model, s.Model, equal)
}

// An attention or a hidden layer that adds the same everywhere goes as a whole.
func TestConstantBranchesGo(t *testing.T) {
	m := passtest.CleanTiny(t, "packed_17_dynamic.onnx")
	vit := passtest.Find(t, m)
	a, p := vit.Blocks[0].Attention, vit.Blocks[1].MLP
	ref := newReference(t, m)
	for _, l := range []*structure.Linear{a.Out.Linear, p.Second} {
		_, b := ref.weight(l)
		for i := range b {
			b[i] = float64(i%5) - 2
		}
		ref.silence(l, upTo(l.InDim))
	}
	uq, uv := a.UnitMACs(vit.Shapes)
	saved := uq*float64(a.QKDim) + uv*float64(a.VODim) + p.UnitMACs(vit.Shapes)*float64(p.Hidden)
	passtest.Tidy(t, ref.model)
	s := planted(t, ref.model, passes.MovesBlocks, saved/macs(t, m))
	want := append([]passes.Width(nil), s.Base...)
	want[0].Heads, want[0].QK, want[0].VO, want[1].Hidden = 0, 0, 0, 0
	for i, w := range s.Widths {
		if w != want[i] {
			t.Errorf("block %d becomes %+v, want %+v", i, w, want[i])
		}
	}
	passtest.Agree(t, "without constant branches", ref.model, s.Model, equal)
	if got := macs(t, s.Model); math.Abs(got-macs(t, m)+saved) > 0.5 {
		t.Errorf("%.0f multiply-accumulates, want %.0f", got, macs(t, m)-saved)
	}
}

// Heads that another head can stand in for go, and the output projection makes
// up for them.
func TestTwinHeadsAreMadeUpFor(t *testing.T) {
	m := passtest.CleanTiny(t, "separate_17_dynamic.onnx")
	vit := passtest.Find(t, m)
	ref, saved := newReference(t, m), 0.0
	for _, a := range vit.Attentions {
		for _, o := range []*structure.Operand{a.Q, a.K, a.V} {
			w, b := ref.weight(o.Linear)
			heads := make([]*mat.Dense, a.Heads)
			for h := range heads {
				heads[h] = o.Head(w, b, h)
			}
			heads[1] = heads[0]
			ref.operand(o, heads)
		}
		uq, uv := a.UnitMACs(vit.Shapes)
		saved += (uq*float64(a.QKDim) + uv*float64(a.VODim)) / float64(a.Heads)
	}
	passtest.Tidy(t, ref.model)
	s := planted(t, ref.model, passes.MovesHeads, saved/macs(t, m))
	for i, w := range s.Widths {
		if w.Heads != s.Base[i].Heads-1 {
			t.Errorf("block %d becomes %+v of %+v, want one head less", i, w, s.Base[i])
		}
	}
	passtest.Agree(t, "without twin heads", ref.model, s.Model, 1e-2)
}
