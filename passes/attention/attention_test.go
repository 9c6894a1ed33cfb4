package attention_test

import (
	"math"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/passes/attention"
	"nuwa/passes/passtest"
	"nuwa/passes/structure"
	"nuwa/testmodels"
)

func find(t *testing.T, file string) (*graph.Model, *structure.ViT) {
	t.Helper()
	cases, err := testmodels.Tiny()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(cases, func(c testmodels.Case) bool { return c.File == file })
	if i < 0 {
		t.Fatalf("no case %s", file)
	}
	m := passtest.Load(t, cases[i].Path())
	return m, passtest.Clean(t, m)
}

// product is Ŵ_Aᵀ·Ŵ_B of rows from..from+n of two weights with their biases as
// a last column, formed in full.
func product(a, b *mat.Dense, ba, bb []float64, from, n int) *mat.Dense {
	hat := func(w *mat.Dense, bias []float64) *mat.Dense {
		_, in := w.Dims()
		h := mat.NewDense(n, in+1, nil)
		for j := range n {
			for i := range in {
				h.Set(j, i, w.At(from+j, i))
			}
			h.Set(j, in, bias[from+j])
		}
		return h
	}
	var p mat.Dense
	p.Mul(hat(a, ba).T(), hat(b, bb))
	return &p
}

// The singular values are those of the products formed in full, from weights
// read by hand: in this model a head is a run of rows.
func TestSpectraAreThoseOfTheProducts(t *testing.T) {
	const scale = 1 / 2.8284271247461903 // 1/√8, which the exporter multiplies queries or logits by
	_, vit := find(t, "qk_not_vo.onnx")
	specs, err := attention.Decompose(vit.Attentions)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range specs {
		a := s.Site
		wq, bq, err := a.Q.Linear.Weight()
		if err != nil {
			t.Fatal(err)
		}
		wk, bk, err := a.K.Linear.Weight()
		if err != nil {
			t.Fatal(err)
		}
		for h, f := range s.QK {
			p := product(wq, wk, bq, bk, h*a.QKDim, a.QKDim)
			want := singular(t, p)
			on := f.S[0] / want[0]
			if math.Abs(on-1) > 1e-9 && math.Abs(on-scale) > 1e-6 && math.Abs(on-math.Sqrt(scale)) > 1e-6 {
				t.Errorf("attention %d, head %d: the products are %g times those of the weights", i, h, on)
			}
			for k, x := range f.S {
				if math.Abs(x-on*want[k]) > 1e-9*want[0] {
					t.Errorf("attention %d, head %d: singular value %d is %g, want %g", i, h, k, x, on*want[k])
				}
			}
			for k := 1; k < a.QKDim; k++ { // Eckart and Young: the error is the tail
				x, y := f.Truncate(k)
				var near, diff mat.Dense
				near.Mul(x.T(), y)
				diff.Scale(on, p)
				diff.Sub(&diff, &near)
				tail := 0.0
				for _, s := range f.S[k:] {
					tail += s * s
				}
				if e := mat.Norm(&diff, 2); math.Abs(e*e-tail) > 1e-9*(1+tail) {
					t.Errorf("attention %d, head %d, rank %d: squared error %g, the tail is %g", i, h, k, e*e, tail)
				}
			}
		}
		wv, bv, err := a.V.Linear.Weight()
		if err != nil {
			t.Fatal(err)
		}
		wo, _, err := a.Out.Linear.Weight()
		if err != nil {
			t.Fatal(err)
		}
		for h, f := range s.VO {
			into := mat.DenseCopyOf(wo.T()) // one row per channel of a head
			p := product(wv, into, bv, make([]float64, a.Heads*a.VODim), h*a.VODim, a.VODim)
			for k, want := range singular(t, p)[:len(f.S)] {
				if math.Abs(f.S[k]-want) > 1e-9*(1+want) {
					t.Errorf("attention %d, head %d: v/o singular value %d is %g, want %g", i, h, k, f.S[k], want)
				}
			}
		}
	}
}

func singular(t *testing.T, p *mat.Dense) []float64 {
	t.Helper()
	var svd mat.SVD
	if !svd.Factorize(p, mat.SVDNone) {
		t.Fatal("no singular values")
	}
	return svd.Values(nil)
}

func TestEnergies(t *testing.T) {
	_, vit := find(t, "one_head.onnx")
	specs, err := attention.Decompose(vit.Attentions)
	if err != nil {
		t.Fatal(err)
	}
	es := attention.Energies(specs[0].QK)
	if len(es) != 1 || len(es[0]) != 16 {
		t.Fatalf("energies of %d heads", len(es))
	}
	for k, e := range es[0] {
		if s := specs[0].QK[0].S[k]; e != s*s {
			t.Errorf("energy %d is %g, the singular value %g", k, e, s)
		}
	}
}

// A width of zero, or one that is there already, changes nothing; each half
// can be changed without the other.
func TestPruneTakesHalvesApart(t *testing.T) {
	m, _ := find(t, "packed_14_dynamic.onnx")
	passtest.Tidy(t, m)
	text := m.String()
	for _, w := range [][2]int{{0, 0}, {16, 16}, {99, 0}} {
		prune(t, m, w)
		if m.String() != text {
			t.Errorf("widths %v changed the model", w)
		}
	}
	for _, w := range [][2]int{{5, 0}, {0, 3}, {7, 16}, {16, 9}, {4, 11}} {
		slim := m.Clone()
		prune(t, slim, w)
		passtest.Tidy(t, slim)
		vit := passtest.Find(t, slim)
		want := [2]int{16, 16}
		for i := range w {
			if w[i] > 0 {
				want[i] = w[i]
			}
		}
		for i, a := range vit.Attentions {
			if got := [2]int{a.QKDim, a.VODim}; got != want || a.QKReason+a.VOReason != "" {
				t.Errorf("widths %v: block %d has %v (%q, %q)", w, i, got, a.QKReason, a.VOReason)
			}
		}
		passtest.Run(t, slim)
	}
}

func prune(t *testing.T, m *graph.Model, w [2]int) {
	t.Helper()
	specs, err := attention.Decompose(passtest.Find(t, m).Attentions)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range specs {
		if err := s.Prune(m, w[0], w[1]); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDeclinedHalvesAreNotDecomposed(t *testing.T) {
	for file, want := range map[string][2]bool{"attention_rotary.onnx": {false, true}, "attention_value_gate.onnx": {true, false}, "tied_blocks.onnx": {false, false}} {
		m, vit := find(t, file)
		specs, err := attention.Decompose(vit.Attentions)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range specs {
			if got := [2]bool{s.QK != nil, s.VO != nil}; got != want {
				t.Errorf("%s: attention %d decomposed %v (q/k, v/o), want %v", file, i, got, want)
			}
			before := len(m.Graph.Nodes())
			if err := s.Prune(m, 4, 4); err != nil {
				t.Fatal(err)
			}
			if s.QK == nil && s.VO == nil && len(m.Graph.Nodes()) != before {
				t.Errorf("%s: attention %d was changed", file, i)
			}
		}
	}
}
