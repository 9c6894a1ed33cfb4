package task

import (
	"context"

	"nuwa/internal/data"
	"nuwa/internal/fault"
	"nuwa/internal/measure"
	"nuwa/passes"
	"nuwa/passes/focus"
)

// OtherName is the class that stands for everything outside the wanted ones.
const OtherName = "(other)"

// falseAccept is the part of images of other classes that may be taken for
// wanted, where nothing else is said.
const falseAccept = 0.05

// otherSamples are the images that the logit for all other classes is fitted
// to, and those that set its offset: wanted and other classes alike, none of
// those that judge. It returns nil where that logit is not asked for.
func (t *Task) otherSamples(ctx context.Context) (*passes.Other, error) {
	if !t.Options.Other {
		return nil, nil
	}
	bad := func(got, want, remedy string) error {
		return &fault.Error{Kind: fault.Usage, File: t.Options.Data, Where: "other", Got: got, Want: want, Remedy: remedy}
	}
	switch {
	case t.ClassOf == nil || t.Set.Multi:
		return nil, bad("no images with one class each", "a folder per class, those of other classes too", "give --data with class folders")
	case t.Wanted == nil || t.Options.Logits == "full":
		return nil, bad("all logits kept", "only those of wanted classes, beside which another stands for the rest", "name them with --classes, and keep the logits sliced")
	}
	set := t.Set
	if t.Split {
		_, set = t.Set.Split(t.Options.Seed, ValidationPart)
	}
	held, fit := set.Split(t.Options.Seed+1, ValidationPart)
	others := 0
	for _, x := range held.Samples {
		if t.isOther(held, x.Class) {
			others++
		}
	}
	if others == 0 {
		return nil, bad("no folder of another class", "images of what the device may see besides the wanted classes", "put some in folders of their own; any name will do")
	}
	n := 2 * t.Fit.Len()
	fit = fit.Take(max(n, 256), t.Options.Seed)
	o := &passes.Other{Fit: t.FeedsOf(ctx, fit, "calibrate other"), Held: focus.Samples{Feeds: t.FeedsOf(ctx, held, "calibrate other")}, Accept: t.Options.FalseAccept}
	count := held.Len()
	if batch, fixed := t.batch(); fixed {
		count -= count % batch
	}
	for _, x := range held.Samples[:count] {
		o.Held.Other = append(o.Held.Other, t.isOther(held, x.Class))
	}
	return o, nil
}

// isOther reports whether a class of set, made from t.set, is not wanted.
func (t *Task) isOther(set *data.Set, class int) bool { return t.slimLogit(set.Classes[class]) < 0 }

// slimLogit returns the logit that a class folder of t.set has in a slim model
// of wanted classes, −1 for none.
func (t *Task) slimLogit(folder string) int {
	for i, c := range t.Set.Classes {
		if c == folder {
			return measure.Sliced([]int{t.ClassOf[i]}, t.Wanted)[0]
		}
	}
	return -1
}
