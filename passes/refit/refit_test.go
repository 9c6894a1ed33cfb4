package refit_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"

	"nuwa/passes/refit"
)

func gauss(rng *rand.Rand, r, c int) *mat.Dense {
	m := mat.NewDense(r, c, nil)
	m.Apply(func(_, _ int, _ float64) float64 { return rng.NormFloat64() }, m)
	return m
}

// problem draws base features whose logits decide, and slim ones that are
// theirs mixed by mix, seen by the base's classifier.
func problem(seed uint64, mix float64) (p refit.Problem, base *mat.Dense) {
	rng := rand.New(rand.NewPCG(seed, 5))
	n, d, c := 200, 12, 4
	base = gauss(rng, n, d)
	p.W, p.B, p.Live = gauss(rng, d, c), []float64{.5, -.5, 0, 1}, []bool{true, true, true, true}
	p.Logits = new(mat.Dense)
	p.Logits.Mul(base, p.W)
	p.Logits.Apply(func(_, j int, v float64) float64 { return v + p.B[j] }, p.Logits)
	for i := range n {
		best := 0
		for j := range c {
			if p.Logits.At(i, j) > p.Logits.At(i, best) {
				best = j
			}
		}
		p.Classes = append(p.Classes, best)
	}
	turn := gauss(rng, d, d)
	turn.Scale(mix, turn)
	for i := range d {
		turn.Set(i, i, turn.At(i, i)+1)
	}
	p.X = new(mat.Dense)
	p.X.Mul(base, turn)
	p.X.Apply(func(_, _ int, v float64) float64 { return v + mix }, p.X)
	return p, base
}

func wrong(p refit.Problem) (n int) {
	var z mat.Dense
	z.Mul(p.X, p.W)
	rows, c := z.Dims()
	for i := range rows {
		best := 0
		for j := range c {
			if z.At(i, j)+p.B[j] > z.At(i, best)+p.B[best] {
				best = j
			}
		}
		if best != p.Classes[i] {
			n++
		}
	}
	return n
}

// Features that are a linear image of the base's are made up for; those that
// are the base's own are left alone where logits are the target.
func TestRefit(t *testing.T) {
	for seed := range uint64(4) {
		for _, kind := range []string{refit.Logits, refit.Best} {
			p, _ := problem(seed, 0.15)
			before := wrong(p)
			c, err := p.Solve(kind)
			if err != nil || c.Target == "" {
				t.Fatalf("seed %d, %s: %+v, %v", seed, kind, c, err)
			}
			p.W.Add(p.W, c.Delta)
			for i := range c.Shift {
				p.B[i] += c.Shift[i]
			}
			if after := wrong(p); after > 4 || after >= before {
				t.Errorf("seed %d, %s: a ridge of %g towards %s, %d wrong of 200 before and %d after", seed, kind, c.Ridge, c.Target, before, after)
			}
		}
		p, _ := problem(seed, 0)
		c, err := p.Solve(refit.Logits)
		if err != nil {
			t.Fatal(err)
		}
		if c.Target != "" && (mat.Norm(c.Delta, 2) > 1e-9 || math.Abs(c.Shift[0]) > 1e-9) {
			t.Errorf("seed %d: features as they were, and a correction of %g", seed, mat.Norm(c.Delta, 2))
		}
	}
}

// Samples of one class after the other, or in turns, are held back across
// classes; masked logits are not touched, and the labels of several classes
// are judged class by class.
func TestRefitOfMaskedAndSeveral(t *testing.T) {
	p, _ := problem(9, 0.3)
	p.Live[2] = false
	for i, c := range p.Classes {
		if c == 2 {
			p.Classes[i] = -1
		}
		p.Several = append(p.Several, []int{p.Classes[i]})
	}
	for _, several := range []bool{false, true} {
		q := p
		if !several {
			q.Several = nil
		}
		c, err := q.Solve(refit.Logits)
		if err != nil || c.Target == "" {
			t.Fatalf("several %v: %+v, %v", several, c, err)
		}
		if c.Shift[2] != 0 || mat.Norm(c.Delta.ColView(2), 2) != 0 {
			t.Error("a masked logit was refitted")
		}
	}
}
