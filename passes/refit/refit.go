// Package refit corrects a classifier on the features of a slim model, by ridge
// regression towards what the base says or towards the labels.
//
//	choice, err := p.Choose(refit.Best)
//	delta, shift, err := p.Solve(choice)
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

// Choice is a way to refit; without a target, the classifier stays.
type Choice struct {
	Target string
	Ridge  float64
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

// Choose returns the candidate of least loss over samples that it was not
// fitted to: the cross-entropy of the labels where there are some, else that
// of the base's decision.
func (p Problem) Choose(kind string) (Choice, error) {
	labelled := p.Classes != nil || p.Several != nil
	candidates := []Choice{{}}
	for _, ridge := range ridges {
		if kind != Labels {
			candidates = append(candidates, Choice{Logits, ridge})
		}
		if kind != Logits && labelled {
			candidates = append(candidates, Choice{Labels, ridge})
		}
	}
	n, _ := p.X.Dims()
	order := rand.New(rand.NewPCG(0, 0x7265666974)).Perm(n) // samples may come class by class, or in turns
	losses := make([]float64, len(candidates))
	for f := range min(folds, n) {
		var train, held []int
		for i, sample := range order {
			if i%folds == f {
				held = append(held, sample)
			} else {
				train = append(train, sample)
			}
		}
		if len(train) == 0 {
			return Choice{}, nil
		}
		features, err := p.features(train)
		if err != nil {
			return Choice{}, err
		}
		fits := map[string]*linalg.Ridge{}
		for i, c := range candidates {
			w, b := p.W, p.B
			if c.Target != "" {
				if fits[c.Target] == nil {
					if fits[c.Target], err = p.ridge(features, c.Target, train); err != nil {
						return Choice{}, err
					}
				}
				delta, shift := fits[c.Target].Fit(c.Ridge)
				w, b = mat.DenseCopyOf(p.W), slices.Clone(p.B)
				w.Add(w, delta)
				for k := range b {
					b[k] += shift[k]
				}
			}
			losses[i] += p.loss(w, b, held)
		}
	}
	best := 0
	for i := range losses {
		if losses[i] < losses[best] {
			best = i
		}
	}
	return candidates[best], nil
}

// Solve returns the corrections of W and B that a choice makes on all samples.
func (p Problem) Solve(c Choice) (*mat.Dense, []float64, error) {
	n, _ := p.X.Dims()
	features, err := p.features(all(n))
	if err != nil {
		return nil, nil, err
	}
	f, err := p.ridge(features, c.Target, all(n))
	if err != nil {
		return nil, nil, err
	}
	delta, shift := f.Fit(c.Ridge)
	return delta, shift, nil
}

// features factorizes the features of samples.
func (p Problem) features(samples []int) (*linalg.Features, error) {
	_, d := p.X.Dims()
	x := mat.NewDense(len(samples), d, nil)
	for i, s := range samples {
		x.SetRow(i, p.X.RawRowView(s))
	}
	return linalg.NewFeatures(x)
}

// ridge prepares the regression of what the classifier is off the target by.
// Labels are logits of the size that the base's have: its mean logit of a
// right and of a wrong class.
func (p Problem) ridge(features *linalg.Features, target string, samples []int) (*linalg.Ridge, error) {
	_, k := p.Logits.Dims()
	right, wrong := p.levels(samples)
	t := mat.NewDense(len(samples), k, nil)
	for i, s := range samples {
		z := p.predict(p.W, p.B, s)
		for c := range k {
			want := p.Logits.At(s, c)
			if target == Labels {
				if want = wrong; p.has(s, c) {
					want = right
				}
			}
			if p.Live[c] {
				t.Set(i, c, want-z[c])
			}
		}
	}
	return features.Ridge(t)
}

// levels returns the base's mean logit of classes that samples have, and of
// those that they have not.
func (p Problem) levels(samples []int) (right, wrong float64) {
	var n, m float64
	for _, s := range samples {
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

func (p Problem) predict(w *mat.Dense, b []float64, s int) []float64 {
	z := slices.Clone(b)
	row := p.X.RawRowView(s)
	for j, v := range row {
		for c, x := range w.RawRowView(j) {
			z[c] += v * x
		}
	}
	return z
}

// loss sums up the cross-entropy over samples: softmax, or sigmoid where a
// sample may have several classes.
func (p Problem) loss(w *mat.Dense, b []float64, samples []int) (sum float64) {
	for _, s := range samples {
		z := p.predict(w, b, s)
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

func all(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}
