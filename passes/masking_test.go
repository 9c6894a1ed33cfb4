package passes_test

import (
	"hash/fnv"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/passes/attention"
	"nuwa/passes/passtest"
	"nuwa/passes/structure"
	"nuwa/testmodels"
)

// seeded returns a generator of its own for each model.
func seeded(name string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(h.Sum64(), 3))
}

// file is an untrained model and its name.
type file struct{ name, path string }

// untrained lists the models of tiny and of the zoo.
func untrained(t *testing.T) []file {
	t.Helper()
	cases, err := testmodels.Tiny()
	if err != nil {
		t.Fatal(err)
	}
	var files []file
	for _, c := range cases {
		files = append(files, file{c.File, c.Path()})
	}
	for _, c := range zoo(t) {
		files = append(files, file{c.File, c.Path()})
	}
	return files
}

// Every untrained model, pruned at random, equals the base with the same
// neurons masked and the same heads padded with zeros; rebuilt at its own
// widths, it equals the base.
func TestPrunedEqualsMasked(t *testing.T) {
	cases := untrained(t)
	sites := 0
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := passtest.Load(t, c.path)
			vit := passtest.Clean(t, m)
			full := m.Clone()
			rebuildAll(t, full)
			masked, padded := 1e-5, equal
			if computesInHalf(m) {
				masked, padded = 5e-3, 5e-3
			}
			passtest.Near(t, "rebuilt at the present widths", passtest.Run(t, m), passtest.Run(t, full), padded)

			rng := seeded(c.name)
			ref := newReference(t, m)
			specs, err := attention.Decompose(vit.Attentions)
			if err != nil {
				t.Fatal(err)
			}
			moved := false
			for _, p := range vit.MLPs {
				if p.Reason != "" {
					continue
				}
				keep := some(rng, p.Hidden)
				ref.maskHidden(p, keep)
				w2, b2 := columns(t, p, keep)
				if err := p.Rebuild(m, keep, w2, b2); err != nil {
					t.Fatal(err)
				}
				moved = true
				sites++
			}
			if moved {
				passtest.Tidy(t, m)
				passtest.Agree(t, "hidden masked", ref.model, m, masked)
			}
			moved = false
			for _, s := range specs {
				qk, vo := draw(rng, s.QK != nil, s.Site.QKDim), draw(rng, s.VO != nil, s.Site.VODim)
				if qk+vo == 0 {
					continue
				}
				ref.lowRank(s, qk, vo)
				if err := s.Prune(m, qk, vo); err != nil {
					t.Fatal(err)
				}
				moved = true
				sites++
			}
			if moved {
				passtest.Tidy(t, m)
				passtest.Agree(t, "heads padded with zeros", ref.model, m, padded)
			}
		})
	}
	t.Logf("%d sites of %d models pruned", sites, len(cases))
	if sites < 400 {
		t.Errorf("only %d sites were pruned", sites)
	}
}

// draw returns a width from 1 to n-1, zero where it is not to be changed.
func draw(rng *rand.Rand, may bool, n int) int {
	if !may || n < 2 {
		return 0
	}
	return 1 + rng.IntN(n-1)
}

// rebuildAll writes every site of m anew at the widths that it has.
func rebuildAll(t *testing.T, m *graph.Model) {
	t.Helper()
	vit := passtest.Find(t, m)
	specs, err := attention.Decompose(vit.Attentions)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range specs {
		if err := rebuildAttention(m, s); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range vit.MLPs {
		if p.Reason != "" {
			continue
		}
		keep := make([]int, p.Hidden)
		for j := range keep {
			keep[j] = j
		}
		w2, b2 := columns(t, p, keep)
		if err := p.Rebuild(m, keep, w2, b2); err != nil {
			t.Fatal(err)
		}
	}
	passtest.Tidy(t, m)
}

// rebuildAttention rebuilds the site of s from its factors at full rank, which
// are other matrices than the base's.
func rebuildAttention(m *graph.Model, s *attention.Spectrum) error {
	a := s.Site
	parts := map[*structure.Linear][]structure.Part{}
	var order []*structure.Operand
	add := func(o *structure.Operand, heads []*mat.Dense) {
		if parts[o.Linear] == nil {
			order = append(order, o)
		}
		parts[o.Linear] = append(parts[o.Linear], o.Resize(heads))
	}
	if s.QK != nil {
		var q, k []*mat.Dense
		for _, f := range s.QK {
			x, y := f.Truncate(a.QKDim)
			q, k = append(q, x), append(k, y)
		}
		add(a.Q, q)
		add(a.K, k)
	}
	var v, o []*mat.Dense
	for _, f := range s.VO {
		x, y := f.Truncate(a.VODim)
		v, o = append(v, x), append(o, y)
	}
	if s.VO != nil {
		add(a.V, v)
	}
	for _, op := range order {
		if err := op.Rebuild(m, parts[op.Linear]); err != nil {
			return err
		}
	}
	if s.VO == nil {
		return nil
	}
	return a.Out.Rebuild(m, a.PV, o, nil)
}

// computesInHalf reports whether a product of m is taken of 16-bit weights.
func computesInHalf(m *graph.Model) bool {
	for _, n := range m.Graph.Nodes() {
		if !n.Is("MatMul", "Gemm", "Conv") {
			continue
		}
		if w := n.Input(1).Const(); w != nil && (w.Type == graph.Float16 || w.Type == graph.BFloat16) {
			return true
		}
	}
	return false
}
