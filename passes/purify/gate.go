package purify

import (
	"cmp"
	"math"
	"slices"
)

// gate is what is learned for one hidden layer of e neurons.
type gate struct {
	Scores vector // e numbers
	Beta   vector // one number; σ(β) is the part of the neurons to keep
}

func newGate(hidden int) *gate {
	return &gate{Scores: newVector(hidden, 1), Beta: newVector(1, 5)}
}

// count returns ⌊e·σ(β)⌋, but never less than one neuron.
func (g *gate) count() int {
	k := math.Floor(float64(len(g.Scores.X)) / (1 + math.Exp(-g.Beta.X[0])))
	return max(1, int(k))
}

// keep returns the neurons of highest score, in ascending order. Of equal
// scores the lower number is kept.
func (g *gate) keep() []int {
	order := make([]int, len(g.Scores.X))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(g.Scores.X[b], g.Scores.X[a]) })
	kept := order[:g.count()]
	slices.Sort(kept)
	return kept
}

// learn applies step t, counted from 1, with the gradient of the loss with
// respect to the mask of the neurons in keep: that of the scores is taken to be
// the same, that of β its sum over these neurons.
func (g *gate) learn(grad []float64, keep []int, t int, o Options) {
	kept := 0.0
	for _, j := range keep {
		kept += grad[j]
	}
	g.Scores.step(grad, t, o.Rate, o.Decay)
	g.Beta.step([]float64{kept}, t, o.BetaRate, o.Decay)
}

// mask returns ones for the neurons in keep and zeros for the others of e.
func mask(hidden int, keep []int) []float64 {
	xs := make([]float64, hidden)
	for _, j := range keep {
		xs[j] = 1
	}
	return xs
}

// vector is a list of numbers learned by AdamW (Loshchilov and Hutter 2019)
// with decay rates 0.9 and 0.999.
type vector struct {
	X    []float64
	M, V []float64 // running means of the gradient and of its square
}

func newVector(n int, x float64) vector {
	return vector{X: slices.Repeat([]float64{x}, n), M: make([]float64, n), V: make([]float64, n)}
}

// step applies step t, counted from 1.
func (v *vector) step(grad []float64, t int, rate, decay float64) {
	const beta1, beta2, epsilon = 0.9, 0.999, 1e-8
	c1, c2 := 1-math.Pow(beta1, float64(t)), 1-math.Pow(beta2, float64(t))
	for i, g := range grad {
		v.M[i] = beta1*v.M[i] + (1-beta1)*g
		v.V[i] = beta2*v.V[i] + (1-beta2)*g*g
		v.X[i] -= rate*decay*v.X[i] + rate*(v.M[i]/c1)/(math.Sqrt(v.V[i]/c2)+epsilon)
	}
}
