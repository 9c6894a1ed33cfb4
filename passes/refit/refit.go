// Package refit corrects a classifier on the features of a slim model, by ridge
// regression towards what the base says or towards the labels.
//
//	c, err := p.Solve(refit.Best)
//	p.W.Add(p.W, c.Delta)
//
// It may import internal/linalg.
package refit

import (
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/mat"

	"nuwa/internal/linalg"
)

// ridges are the strengths that a refit of the classifier is tried with, in
// units of the mean variance of its features.
var ridges = []float64{10, 1, 0.1, 0.01, 0.001}

// folds is how many parts the calibration samples are cut into to choose a
// refit: each part judges one that the others made.
const folds = 5

// The targets that there are.
const (
	Logits = "logits" // of the base
	Labels = "labels"
	Best   = "best" // either
)

// Correction is what is added to a classifier; without a target, it stays as it is.
type Correction struct {
	Target string
	Ridge  float64
	Delta  *mat.Dense // d×c
	Shift  []float64  // of B
}

// Problem is a classifier X·W + B to correct.
type Problem struct {
	X       *mat.Dense // features of the slim model, a row per sample
	W       *mat.Dense // d×c
	B       []float64
	Logits  *mat.Dense // of the base
	Classes []int      // the label of each sample, negative for none; nil without
	Several [][]int    // instead of Classes, where a sample may have several
	Live    []bool     // which logits are in the decision
}

// Solve returns the correction, on all samples, of the target and the ridge that
// have the least loss over samples that they are not fitted to: the cross-entropy of
// the labels where there are some, else that of the base's decision.
func (p Problem) Solve(kind string) (c Correction, err error) {
	targets := []string{Logits, Labels}
	switch {
	case kind == Labels:
		targets = targets[1:]
	case kind == Logits, p.Classes == nil && p.Several == nil:
		targets = targets[:1]
	}
	n, _ := p.X.Dims()
	if n < 2 {
		return c, nil
	}
	parts := make([][]int, min(folds, n))
	for i, sample := range rand.New(rand.NewPCG(0, 0x7265666974)).Perm(n) { // samples may come class by class, or in turns
		parts[i%len(parts)] = append(parts[i%len(parts)], sample)
	}
	z := p.logits()
	features, err := linalg.NewFeatures(p.X)
	if err != nil {
		return c, err
	}
	var best *linalg.Ridge
	least := p.loss(z)
	for _, target := range targets {
		fits, err := p.ridge(features, target, z)
		if err != nil {
			return c, err
		}
		for _, ridge := range ridges {
			held, err := fits.CrossValidate(ridge, parts)
			if err != nil {
				return c, err
			}
			held.Add(held, z)
			if loss := p.loss(held); loss < least {
				best, least, c = fits, loss, Correction{Target: target, Ridge: ridge}
			}
		}
	}
	if best != nil {
		c.Delta, c.Shift = best.Fit(c.Ridge)
	}
	return c, nil
}

// logits returns what the classifier makes of X.
func (p Problem) logits() *mat.Dense {
	z := new(mat.Dense)
	z.Mul(p.X, p.W)
	z.Apply(func(_, c int, v float64) float64 { return v + p.B[c] }, z)
	return z
}

// ridge prepares the regression of what the classifier's logits z are off the
// target by. Labels are logits of the size that the base's have: its mean logit of
// a right and of a wrong class.
func (p Problem) ridge(features *linalg.Features, target string, z *mat.Dense) (*linalg.Ridge, error) {
	n, k := p.Logits.Dims()
	right, wrong := p.levels()
	t := mat.NewDense(n, k, nil)
	for i := range n {
		for c := range k {
			want := p.Logits.At(i, c)
			if target == Labels {
				if want = wrong; p.has(i, c) {
					want = right
				}
			}
			if p.Live[c] {
				t.Set(i, c, want-z.At(i, c))
			}
		}
	}
	return features.Ridge(t)
}

// levels returns the base's mean logit of classes that samples have, and of
// those that they have not.
func (p Problem) levels() (right, wrong float64) {
	var n, m float64
	samples, _ := p.Logits.Dims()
	for s := range samples {
		for c := range p.Live {
			switch {
			case !p.Live[c]:
			case p.has(s, c):
				right, n = right+p.Logits.At(s, c), n+1
			default:
				wrong, m = wrong+p.Logits.At(s, c), m+1
			}
		}
	}
	return right / math.Max(n, 1), wrong / math.Max(m, 1)
}

// has reports whether sample s has class c.
func (p Problem) has(s, c int) bool {
	if p.Several != nil {
		return slices.Contains(p.Several[s], c)
	}
	return p.Classes != nil && p.Classes[s] == c
}

// loss sums up the cross-entropy of logits over samples: softmax, or sigmoid where
// a sample may have several classes.
func (p Problem) loss(logits *mat.Dense) (sum float64) {
	n, _ := logits.Dims()
	for s := range n {
		z := logits.RawRowView(s)
		top, total := math.Inf(-1), 0.0
		for c, v := range z {
			if p.Live[c] {
				top = math.Max(top, v)
			}
		}
		label := -1
		switch {
		case p.Several != nil:
			for c, v := range z {
				if p.Live[c] {
					sum += math.Log1p(math.Exp(-math.Abs(v))) + math.Max(v, 0)
					if p.has(s, c) {
						sum -= v
					}
				}
			}
			continue
		case p.Classes != nil:
			label = p.Classes[s]
		default:
			label = decided(p.Logits.RawRowView(s), p.Live)
		}
		if label < 0 {
			continue
		}
		for c, v := range z {
			if p.Live[c] {
				total += math.Exp(v - top)
			}
		}
		sum += math.Log(total) + top - z[label]
	}
	return sum
}

// decided returns the largest of the live logits.
func decided(z []float64, live []bool) int {
	best := -1
	for c, v := range z {
		if live[c] && (best < 0 || v > z[best]) {
			best = c
		}
	}
	return best
}
