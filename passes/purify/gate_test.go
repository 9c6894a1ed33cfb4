package purify

import (
	"math"
	"slices"
	"testing"

	"nuwa/internal/ranking"
)

func TestGateKeepsTheTopScores(t *testing.T) {
	g := newGate(10)
	if g.count() != 9 { // ⌊10·σ(5)⌋ = ⌊9.93⌋
		t.Errorf("%d of 10 kept at the start, want 9", g.count())
	}
	if got := g.keep(); !slices.Equal(got, ranking.UpTo(9)) {
		t.Errorf("kept %v of equal scores, want the first nine", got)
	}
	g.Beta.X[0] = 0
	copy(g.Scores.X, []float64{5, 1, 1, 9, -3, 1, 1, 7, 1, 1})
	if got, want := g.keep(), []int{0, 1, 2, 3, 7}; !slices.Equal(got, want) {
		t.Errorf("kept %v, want %v", got, want)
	}
	if got, want := mask(4, []int{1, 3}), []float64{0, 1, 0, 1}; !slices.Equal(got, want) {
		t.Errorf("mask %v, want %v", got, want)
	}
	g.Beta.X[0] = -50
	if g.count() != 1 {
		t.Errorf("%d kept, want one at least", g.count())
	}
}

// Two steps on four neurons, worked out by hand from the formulas of AdamW
// with rate η, decay λ and the bias corrections written out: at the first step
// the corrected means are g and g², at the second (0.9·g₁+g₂)/1.9 and
// (0.999·g₁²+g₂²)/1.999.
func TestTwoStepsByHand(t *testing.T) {
	g := newGate(4) // ⌊4·σ(5)⌋ = 3, so neuron 3 is masked
	o := Options{Rate: 1e-3, BetaRate: 0.1, Decay: 0.05}
	g1 := []float64{0.5, -2, 1, 40}
	g.learn(g1, g.keep(), 1, o)
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-8 { // for the ε below the fraction
			t.Errorf("%s: %.12f, want %.12f", what, got, want)
		}
	}
	first := []float64{1 - 5e-5 - 1e-3, 1 - 5e-5 + 1e-3, 1 - 5e-5 - 1e-3, 1 - 5e-5 - 1e-3}
	for i, want := range first {
		near("score after one step", g.Scores.X[i], want)
	}
	near("β after one step", g.Beta.X[0], 5-0.1*0.05*5+0.1) // its gradient is 0.5−2+1 < 0: what the mask keeps helps

	g2 := []float64{1, 1, -3, 7}
	g.learn(g2, g.keep(), 2, o) // σ(5.075)·4 keeps 3: neuron 1, then 0 and 2 as the first of equals
	for i := range g1 {
		mean, square := (0.9*g1[i]+g2[i])/1.9, (0.999*g1[i]*g1[i]+g2[i]*g2[i])/1.999
		near("score after two steps", g.Scores.X[i], first[i]*(1-5e-5)-1e-3*mean/math.Sqrt(square))
	}
	b1, b2 := -0.5, -1.0
	near("β after two steps", g.Beta.X[0], 5.075*(1-0.005)-0.1*((0.9*b1+b2)/1.9)/math.Sqrt((0.999*b1*b1+b2*b2)/1.999))
}

func TestEveryEpochShowsEveryImageOnce(t *testing.T) {
	l := &learner{network: &network{options: Options{Train: Images{Labels: make([]int, 7)}, Batch: 3, Seed: 4}}}
	var seen []int
	for step := range 7 { // three epochs
		seen = append(seen, l.order(step)...)
	}
	for epoch := range 3 {
		part := slices.Clone(seen[7*epoch : 7*epoch+7])
		slices.Sort(part)
		if !slices.Equal(part, ranking.UpTo(7)) {
			t.Errorf("epoch %d shows %v", epoch, seen[7*epoch:7*epoch+7])
		}
	}
	if slices.Equal(seen[:7], seen[7:14]) {
		t.Error("two epochs in the same order")
	}
	l.options.Seed = 5
	if slices.Equal(slices.Concat(l.order(0), l.order(1)), seen[:6]) {
		t.Error("another seed gives the same order")
	}
}

func TestTop(t *testing.T) {
	row := []float64{1, 7, 3, 7, 0}
	if top(row, nil) != 1 || top(row, []int{4, 3, 2}) != 3 || top(row, []int{3, 1}) != 1 {
		t.Error("the highest logit decides, of equal ones the lowest number")
	}
}

func TestOptions(t *testing.T) {
	im := Images{Labels: []int{0, 1}}
	good := Options{Train: im, Validate: im}
	o, err := good.withDefaults(0)
	if err != nil || o.Method != STE || o.Loss != All || o.Steps != 10000 || o.Batch != 1 || o.Rate != 1e-3 || o.BetaRate != 0.1 || o.Decay != 0.05 {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err = good.withDefaults(8); err != nil || o.Batch != 8 {
		t.Errorf("batch %d, %v", o.Batch, err)
	}
	for name, edit := range map[string]func(*Options){
		"method":    func(o *Options) { o.Method = "magic" },
		"loss":      func(o *Options) { o.Loss = "some" },
		"steps":     func(o *Options) { o.Steps = -1 },
		"batch":     func(o *Options) { o.Batch = -1 },
		"time":      func(o *Options) { o.Time = -1 },
		"patience":  func(o *Options) { o.Patience = -1 },
		"rate":      func(o *Options) { o.Rate = math.NaN() },
		"no images": func(o *Options) { o.Train = Images{} },
		"label":     func(o *Options) { o.Wanted = []int{1, 2} },
	} {
		o := good
		edit(&o)
		if _, err := o.withDefaults(0); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if o := good; true {
		o.Batch = 4
		if _, err := o.withDefaults(8); err == nil {
			t.Error("a batch that the model does not take: no error")
		}
	}
}
