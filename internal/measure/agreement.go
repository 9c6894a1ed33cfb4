package measure

import (
	"context"
	"fmt"
	"math"
	"slices"

	"nuwa/internal/data"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/ranking"
)

// Agreement says how much alike two models answer, among the classes that both
// know. It needs no labels.
type Agreement struct {
	First    string   `json:"first"`
	Second   string   `json:"second"`
	Images   int      `json:"images"`
	Classes  int      `json:"classes"` // common to both
	Same     int      `json:"same"`    // images of which both have the same largest logit, or decide every class alike where images may have several
	Top1     float64  `json:"top1"`    // Same / Images
	Interval Interval `json:"interval"`
	MeanDiff float64  `json:"mean_abs_diff"` // mean of |first − second| over images and common logits
	MaxDiff  float64  `json:"max_abs_diff"`
	RMS      float64  `json:"rms"`              // root mean square of the first model's logits, the scale of the differences
	Paired   *Paired  `json:"paired,omitempty"` // nil without labels
}

// Paired compares the accuracies of two models image by image, deciding among
// the common classes. It sees smaller differences than two accuracies with an
// interval each do, since most images are right or wrong for both models.
type Paired struct {
	Images     int      `json:"images"` // those of common classes
	OnlyFirst  int      `json:"only_first"`
	OnlySecond int      `json:"only_second"`
	Difference float64  `json:"difference"` // accuracy of the second less that of the first
	Interval   Interval `json:"interval"`   // of Difference
}

// Pair is a class that two models know, by the logits that stand for it.
type Pair struct{ First, Second int }

// Kept pairs a base model with one that keeps only the logits kept, in that
// order.
func Kept(kept []int) []Pair {
	out := make([]Pair, len(kept))
	for i, l := range kept {
		out[i] = Pair{l, i}
	}
	return out
}

// AgreeOptions says how to compare. The zero value uses no labels.
type AgreeOptions struct {
	Batch    int                   // as in EvalOptions
	ClassOf  []int                 // the first model's logit of each class of the images, as for Evaluate; nil for no labels
	Progress func(done, total int) // called after each batch; may be nil
}

// Agree shows two models the same images and compares the logits in pairs; nil
// pairs all logits of two models that have equally many. All images count, those
// of other classes too: select the wanted ones beforehand.
func Agree(ctx context.Context, first, second *Model, images Images, pairs []Pair, opt AgreeOptions) (*Agreement, error) {
	size, err := first.batchSize(opt.Batch)
	if err != nil {
		return nil, err
	}
	total := len(images.Labels())
	if total == 0 {
		return nil, noImages("")
	}
	if opt.ClassOf != nil && len(opt.ClassOf) != len(images.Classes()) {
		return nil, &fault.Error{Kind: fault.Internal, Where: "agreement", Got: fmt.Sprintf("the logits of %d classes", len(opt.ClassOf)),
			Want: fmt.Sprintf("those of the set's %d classes", len(images.Classes()))}
	}
	a := &Agreement{First: first.Name, Second: second.Name}
	var t *accord
	run := func(b data.Batch) (of [2]rows, err error) {
		for i, m := range []*Model{first, second} {
			if err == nil {
				of[i], err = m.run(ctx, b.X)
			}
		}
		return of, err
	}
	err = engine.Sweep(first.engine, images.Batches(ctx, nil, size), run, nil, func(b data.Batch, of [2]rows) (err error) {
		x, y := of[0], of[1]
		if t == nil {
			if t, err = newAccord(a, x.cols, y.cols, pairs); err != nil {
				return err
			}
			if images.Truth() != nil {
				t.multi = &decisions{probabilities: [2]bool{true, true}}
			}
		}
		for i, c := range b.Labels {
			truth := -1
			if c >= 0 && opt.ClassOf != nil {
				truth = opt.ClassOf[c]
			}
			t.add(x.row(i), y.row(i), truth)
		}
		if opt.Progress != nil {
			opt.Progress(t.images, total)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, noImages(first.Name)
	}
	t.finish(a)
	return a, nil
}

// accord sums up over images.
type accord struct {
	pairs                      []Pair
	images, same               int
	sum, squares, largest      float64
	labelled, onlyFst, onlySnd int
	multi                      *decisions // where each class is decided by itself
}

func newAccord(a *Agreement, cols, cols2 int, pairs []Pair) (*accord, error) {
	if pairs == nil {
		if cols != cols2 {
			return nil, &fault.Error{Kind: fault.Usage, File: a.Second, Got: fmt.Sprintf("%d logits", cols2),
				Want:   fmt.Sprintf("%d as %s has", cols, a.First),
				Remedy: "give both models' class names, so that their logits can be paired"}
		}
		pairs = Kept(ranking.UpTo(cols))
	}
	if len(pairs) == 0 {
		return nil, &fault.Error{Kind: fault.Data, Got: fmt.Sprintf("no class that both %s and %s know", a.First, a.Second),
			Want: "at least one", Remedy: "give both models' class names"}
	}
	for _, p := range pairs {
		if p.First < 0 || p.First >= cols || p.Second < 0 || p.Second >= cols2 {
			return nil, &fault.Error{Kind: fault.Usage, Where: "common classes",
				Got:  fmt.Sprintf("logit %d of %s with logit %d of %s", p.First, a.First, p.Second, a.Second),
				Want: fmt.Sprintf("0 to %d with 0 to %d", cols-1, cols2-1), Remedy: "give the class names that belong to each model"}
		}
	}
	return &accord{pairs: pairs}, nil
}

// add counts one image; truth is the first model's logit of its class.
func (t *accord) add(x, y []float64, truth int) {
	var bx, by Pair
	for i, p := range t.pairs {
		vx, vy := x[p.First], y[p.Second]
		if i == 0 || vx > x[bx.First] {
			bx = p
		}
		if i == 0 || vy > y[by.Second] {
			by = p
		}
		d := math.Abs(vx - vy)
		t.sum += d
		t.squares += vx * vx
		t.largest = max(t.largest, d)
	}
	t.images++
	if bx == by {
		t.same++
	}
	if t.multi != nil {
		t.multi.add(t.pairs, x, y)
	}
	if !slices.ContainsFunc(t.pairs, func(p Pair) bool { return p.First == truth }) {
		return
	}
	t.labelled++
	switch {
	case bx.First == truth && by.First != truth:
		t.onlyFst++
	case by.First == truth && bx.First != truth:
		t.onlySnd++
	}
}

func (t *accord) finish(a *Agreement) {
	if t.multi != nil {
		t.same = t.multi.same()
	}
	n := float64(t.images * len(t.pairs))
	a.Images, a.Classes, a.Same = t.images, len(t.pairs), t.same
	a.Top1, a.Interval = share(t.same, t.images), wilson(t.same, t.images)
	a.MeanDiff, a.MaxDiff, a.RMS = t.sum/n, t.largest, math.Sqrt(t.squares/n)
	if t.labelled > 0 {
		a.Paired = newPaired(t.labelled, t.onlyFst, t.onlySnd)
	}
}

// newPaired takes the numbers c and b of images that only the first or only
// the second model has right. The interval is Wald's for matched pairs,
//
//	(b − c)/n ± z/n · √(b + c − (b − c)²/n)
//
// after half an image is added to each of the four combinations of right and
// wrong (Agresti and Min 2005), so that it does not vanish where the models
// never differ.
func newPaired(n, onlyFirst, onlySecond int) *Paired {
	b, c, f := float64(onlySecond), float64(onlyFirst), float64(n)
	mid := (b - c) / (f + 2)
	half := z / (f + 2) * math.Sqrt(b+c+1-(b-c)*(b-c)/(f+2))
	return &Paired{Images: n, OnlyFirst: onlyFirst, OnlySecond: onlySecond, Difference: (b - c) / f,
		Interval: Interval{max(-1, mid-half), min(1, mid+half)}}
}
