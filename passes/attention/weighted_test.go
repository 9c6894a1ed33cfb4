package attention_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"

	"nuwa/internal/linalg"
	"nuwa/passes/attention"
)

// randomMoments are those of random rows whose channels depend on each other.
func randomMoments(rng *rand.Rand, n int) *linalg.Moments {
	m := linalg.NewMoments(n)
	mix := mat.NewDense(n, n, nil)
	mix.Apply(func(_, _ int, _ float64) float64 { return rng.NormFloat64() }, mix)
	for range 3 * n {
		x, y := mat.NewVecDense(n, nil), new(mat.VecDense)
		for i := range n {
			x.SetVec(i, rng.NormFloat64())
		}
		y.MulVec(mix, x)
		m.Rows++
		for i := range n {
			m.Sum[i] += y.AtVec(i)
		}
		m.Gram.SymRankOne(m.Gram, 1, y)
	}
	return m
}

// The singular values are those of the products in the metric of the data and
// of the gradients, formed in full; what is predicted to be lost is half of
// what their squares sum up to beyond a width, at every token or pair.
func TestDecomposeWeightedIsTheFullProduct(t *testing.T) {
	_, vit := find(t, "separate_17_dynamic.onnx")
	a := vit.Attentions[0]
	rng := rand.New(rand.NewPCG(2, 2))
	e := attention.Evidence{O: randomMoments(rng, a.Out.Linear.InDim),
		F: randomMoments(rng, a.Out.Linear.OutDim).Second(false)}
	for range a.Heads {
		e.Q, e.K = append(e.Q, randomMoments(rng, a.QKDim)), append(e.K, randomMoments(rng, a.QKDim))
		e.Gamma = append(e.Gamma, rng.Float64())
	}
	s, err := attention.DecomposeWeighted(a, e)
	if err != nil {
		t.Fatal(err)
	}
	wo, _, err := a.Out.Linear.Weight()
	if err != nil {
		t.Fatal(err)
	}
	root := func(x mat.Symmetric) *mat.Dense {
		r, err := linalg.Root(x)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	values := func(x *mat.Dense) []float64 {
		var svd mat.SVD
		if !svd.Factorize(x, mat.SVDNone) {
			t.Fatal("no convergence")
		}
		return svd.Values(nil)
	}
	var qk, vo float64
	for h := range a.Heads {
		var full mat.Dense
		full.Product(root(a.Out.Moment(e.O, h)), a.Out.Head(wo, h), root(e.F).T())
		var logits mat.Dense
		logits.Mul(root(a.Q.Moment(e.Q[h], h)), root(a.K.Moment(e.K[h], h)).T())
		for what, pair := range map[string][2][]float64{"v/o": {s.VO[h].S, values(&full)}, "q/k": {s.QK[h].S, values(&logits)}} {
			for i, got := range pair[0] {
				if want := pair[1][i]; math.Abs(got-want) > 1e-6*pair[1][0] {
					t.Errorf("head %d, %s: singular value %d is %g, want %g", h, what, i, got, want)
				}
			}
		}
		for i := 2; i < a.QKDim; i++ {
			qk += e.Gamma[h] * s.QK[h].S[i] * s.QK[h].S[i] / 2
		}
		for i := 2; i < a.VODim; i++ {
			vo += s.VO[h].S[i] * s.VO[h].S[i] / 2
		}
	}
	tokens := float64(a.Tokens)
	lostQK, lostVO := s.Losses(e, vit.Shapes, nil)
	if math.Abs(lostQK[2]-tokens*tokens*qk) > 1e-9*lostQK[0] || math.Abs(lostVO[2]-tokens*vo) > 1e-9*lostVO[0] {
		t.Errorf("at width 2, %g and %g are predicted to be lost, want %g and %g", lostQK[2], lostVO[2], tokens*tokens*qk, tokens*vo)
	}
}
