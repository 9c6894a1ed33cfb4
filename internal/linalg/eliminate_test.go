package linalg

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"
)

// Every score is the error that a fresh least squares adds, in any order of
// drops, across the edge of a panel.
func TestScoresAreLeastSquaresErrors(t *testing.T) {
	rng := source(21)
	for trial := range 30 {
		e, d := 4+rng.IntN(20), 1+rng.IntN(6)
		if trial == 0 {
			e = panelWidth + 30
		}
		h, w := activations(rng, 3*e+5, e), random(rng, e, d)
		m := momentsOf(h)
		o := Options{Affine: trial%2 == 0, Ridge: 1e-3}
		if trial%3 == 0 {
			o.Weight = make([]float64, d)
			for c := range o.Weight {
				o.Weight[c] = rng.Float64()
			}
		}
		el, err := NewEliminator(m, w, o)
		if err != nil {
			t.Fatal(err)
		}
		// The ridge is part of what is minimized: the objective of keeping a
		// set is that of least squares on C + λ, over which W is exact at first.
		ridged := m.Second(o.Affine)
		lambda := o.Ridge * meanDiagonal(ridged)
		for i := range e {
			ridged.SetSym(i, i, ridged.At(i, i)+lambda)
		}
		reference := &Moments{Rows: 1, Sum: make([]float64, e), Gram: ridged}
		objective := func(keep []int) float64 {
			fit, err := Reconstruct(reference, w, keep, Options{Weight: o.Weight})
			if err != nil {
				t.Fatal(err)
			}
			left, _ := errorOf(reference, w, keep, fit, Options{Weight: o.Weight})
			return left
		}
		scale := objective([]int{0})
		for el.left > 2 {
			kept, scores := el.Kept(), el.Scores()
			now := objective(kept)
			if math.Abs(el.Cost()-now) > 1e-7*scale {
				t.Fatalf("e=%d, %d left: cost %g, want %g", e, len(kept), el.Cost(), now)
			}
			if e < 30 || len(kept)%13 == 0 {
				for i := range kept {
					want := objective(slices.Delete(slices.Clone(kept), i, i+1)) - now
					if math.Abs(scores[i]-want) > 1e-7*scale {
						t.Fatalf("e=%d, %d left: score of neuron %d is %g, want %g", e, len(kept), kept[i], scores[i], want)
					}
				}
			}
			j, cost := el.Cheapest()
			if at := slices.Index(kept, j); at < 0 || cost != slices.Min(scores) || scores[at] != cost {
				t.Fatalf("cheapest is neuron %d at %g, scores %v of %v", j, cost, scores, kept)
			}
			if rng.IntN(3) == 0 {
				j = kept[rng.IntN(len(kept))]
			}
			if err := el.Drop(j); err != nil {
				t.Fatal(err)
			}
		}
		fit, err := Reconstruct(m, w, el.Kept(), o)
		if err != nil {
			t.Fatal(err)
		}
		if dist := distance(el.Weights(), fit.W); dist > 1e-8*(1+mat.Norm(fit.W, 2)) {
			t.Errorf("e=%d: weights of the last two are off by %g", e, dist)
		}
	}
}

// Dropping a set at once is dropping its members one by one, in any order.
func TestDropOfASet(t *testing.T) {
	rng := source(22)
	h, w := activations(rng, 500, 100), random(rng, 100, 7)
	set := rng.Perm(100)[:80]
	one, err := NewEliminator(momentsOf(h), w, Options{})
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewEliminator(momentsOf(h), w, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := one.Drop(set...); err != nil {
		t.Fatal(err)
	}
	for _, j := range slices.Backward(set) {
		if err := other.Drop(j); err != nil {
			t.Fatal(err)
		}
		if rng.IntN(5) == 0 {
			other.Weights() // applies what is held back; must change nothing
		}
	}
	if !slices.Equal(one.Kept(), other.Kept()) || len(one.Kept()) != 20 {
		t.Fatalf("kept %v and %v", one.Kept(), other.Kept())
	}
	if d := distance(one.Weights(), other.Weights()); d > 1e-7 {
		t.Errorf("weights differ by %g", d)
	}
	if math.Abs(one.Cost()-other.Cost()) > 1e-8*one.Cost() {
		t.Errorf("costs %g and %g", one.Cost(), other.Cost())
	}
}

// Of neurons that come in identical pairs one of each goes, at no cost, even
// where float32 sums blur the identity; then every drop costs.
func TestEliminationOfPairs(t *testing.T) {
	rng := source(23)
	const pairs, d = 200, 24
	half := activations(rng, 1000, pairs)
	h := mat.NewDense(1000, 2*pairs, nil)
	for i := range 1000 {
		for j := range pairs {
			h.Set(i, j, half.At(i, j))
			h.Set(i, j+pairs, half.At(i, j))
		}
	}
	w := random(rng, 2*pairs, d)
	for _, blurred := range []bool{false, true} {
		m := momentsOf(h)
		if blurred {
			for i := range 2 * pairs {
				for j := i; j < 2*pairs; j++ {
					m.Gram.SetSym(i, j, float64(float32(m.Gram.At(i, j)*(1+1e-7*rng.NormFloat64()))))
				}
			}
		}
		el, err := NewEliminator(m, w, Options{Affine: true})
		if err != nil {
			t.Fatal(err)
		}
		for range pairs {
			j, _ := el.Cheapest()
			if err := el.Drop(j); err != nil {
				t.Fatal(err)
			}
		}
		seen := map[int]bool{}
		for _, j := range el.Kept() {
			seen[j%pairs] = true
		}
		if len(seen) != pairs {
			t.Errorf("blurred %v: only %d of %d pairs keep a member", blurred, len(seen), pairs)
		}
		fit, err := Reconstruct(momentsOf(h), w, el.Kept(), Options{Affine: true})
		if err != nil {
			t.Fatal(err)
		}
		if left, dropped := errorOf(momentsOf(h), w, el.Kept(), fit, Options{Affine: true}); left > 1e-9*dropped {
			t.Errorf("blurred %v: error %g of %g", blurred, left, dropped)
		}
		if blurred {
			continue // the blur makes C indefinite and thereby raises the ridge
		}
		// What is left is a layer without twins; its scores are its own, in
		// spite of the huge inverse that the twins had.
		left := mat.DenseCopyOf(rows(mat.DenseCopyOf(h.T()), el.Kept()).T())
		fresh, err := NewEliminator(momentsOf(left), fit.W, Options{Affine: true})
		if err != nil {
			t.Fatal(err)
		}
		got := el.Scores()
		for i, want := range fresh.Scores() {
			if math.Abs(got[i]-want) > 2e-3*want {
				t.Fatalf("neuron %d now costs %g, want %g", el.Kept()[i], got[i], want)
			}
		}
	}
}

// Greedy elimination beats dropping the least active neurons.
func TestEliminationBeatsMagnitude(t *testing.T) {
	rng := source(24)
	h, w := activations(rng, 400, 60), random(rng, 60, 10)
	m := momentsOf(h)
	el, err := NewEliminator(m, w, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 40 {
		j, _ := el.Cheapest()
		if err := el.Drop(j); err != nil {
			t.Fatal(err)
		}
	}
	byActivity := make([]int, 60)
	for j := range byActivity {
		byActivity[j] = j
	}
	slices.SortFunc(byActivity, func(a, b int) int {
		if m.Gram.At(a, a) > m.Gram.At(b, b) {
			return -1
		}
		return 1
	})
	active, err := Reconstruct(m, w, slices.Sorted(slices.Values(byActivity[:20])), Options{})
	if err != nil {
		t.Fatal(err)
	}
	greedy, err := Reconstruct(m, w, el.Kept(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	g, _ := errorOf(m, w, el.Kept(), greedy, Options{})
	a, _ := errorOf(m, w, slices.Sorted(slices.Values(byActivity[:20])), active, Options{})
	if g >= a {
		t.Errorf("error %g by elimination, %g by activity", g, a)
	}
}

func TestEliminatorErrors(t *testing.T) {
	rng := source(25)
	h, w := activations(rng, 20, 4), random(rng, 4, 2)
	el, err := NewEliminator(momentsOf(h), w, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := el.Drop(1); err != nil {
		t.Fatal(err)
	}
	for _, set := range [][]int{{1}, {-1}, {4}, {0, 0}, {0, 2, 3}, {0, 1}} {
		if err := el.Drop(set...); err == nil {
			t.Errorf("dropped %v", set)
		}
	}
	if got := el.Kept(); !slices.Equal(got, []int{0, 2, 3}) {
		t.Errorf("refused drops left %v", got)
	}
	if err := el.Drop(0, 3); err != nil {
		t.Fatal(err)
	}
	if j, cost := el.Cheapest(); j != -1 || !math.IsInf(cost, 1) {
		t.Errorf("the last neuron is up for %g", cost)
	}
	el.Weights()
	if err := el.Drop(3); err == nil {
		t.Error("dropped a neuron twice, across an update")
	}

	nan := momentsOf(h)
	nan.Gram.SetSym(0, 2, math.NaN())
	if _, err := NewEliminator(nan, w, Options{}); err == nil || !strings.Contains(err.Error(), "neurons 0 and 2") {
		t.Errorf("NaN moment: got %v", err)
	}
}

func BenchmarkEliminate(b *testing.B) {
	for _, s := range []struct{ e, d int }{{768, 192}, {1536, 384}, {3072, 768}} {
		rng := source(26)
		m, w := wideMoments(rng, s.e), random(rng, s.e, s.d)
		b.Run(fmt.Sprintf("e=%d,d=%d,prepare", s.e, s.d), func(b *testing.B) {
			for b.Loop() {
				if _, err := NewEliminator(m, w, Options{Affine: true}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("e=%d,d=%d,one by one to a tenth", s.e, s.d), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				el, err := NewEliminator(m, w, Options{Affine: true})
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				for range s.e * 9 / 10 {
					j, _ := el.Cheapest()
					if err := el.Drop(j); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
