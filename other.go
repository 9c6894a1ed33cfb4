package nuwa

import (
	"context"
	"fmt"

	"nuwa/internal/data"
	"nuwa/internal/fault"
	"nuwa/internal/measure"
	"nuwa/internal/report"
	"nuwa/passes"
	"nuwa/passes/focus"
)

// otherName is the class that stands for everything outside the wanted ones.
const otherName = "(other)"

// falseAccept is the part of images of other classes that may be taken for
// wanted, where nothing else is said.
const falseAccept = 0.05

// otherSamples are the images that the logit for all other classes is fitted
// to, and those that set its offset: wanted and other classes alike, none of
// those that judge. It returns nil where that logit is not asked for.
func (t *task) otherSamples(ctx context.Context) (*passes.Other, error) {
	if !t.o.Other {
		return nil, nil
	}
	bad := func(got, want, remedy string) error {
		return &fault.Error{Kind: fault.Usage, File: t.o.Data, Where: "other", Got: got, Want: want, Remedy: remedy}
	}
	switch {
	case t.classOf == nil || t.set.Multi:
		return nil, bad("no images with one class each", "a folder per class, those of other classes too", "give --data with class folders")
	case t.wanted == nil || t.o.Logits == "full":
		return nil, bad("all logits kept", "only those of wanted classes, beside which another stands for the rest", "name them with --classes, and keep the logits sliced")
	}
	set := t.set
	if t.split {
		_, set = t.set.Split(t.o.Seed, validationPart)
	}
	held, fit := set.Split(t.o.Seed+1, validationPart)
	others := 0
	for _, x := range held.Samples {
		if t.isOther(held, x.Class) {
			others++
		}
	}
	if others == 0 {
		return nil, bad("no folder of another class", "images of what the device may see besides the wanted classes", "put some in folders of their own; any name will do")
	}
	n := 2 * t.fit.Len()
	fit = fit.Take(max(n, 256), t.o.Seed)
	o := &passes.Other{Fit: t.feedsOf(ctx, fit, "calibrate other"), Held: focus.Samples{Feeds: t.feedsOf(ctx, held, "calibrate other")}, Accept: t.o.FalseAccept}
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
func (t *task) isOther(set *data.Set, class int) bool { return t.slimLogit(set.Classes[class]) < 0 }

// slimLogit returns the logit that a class folder of t.set has in a slim model
// of wanted classes, −1 for none.
func (t *task) slimLogit(folder string) int {
	for i, c := range t.set.Classes {
		if c == folder {
			return measure.Sliced([]int{t.classOf[i]}, t.wanted)[0]
		}
	}
	return -1
}

// judgeOther measures how the slim model treats images of other classes.
func (s *slim) judgeOther(ctx context.Context) error {
	if s.state.Other == nil || s.test == nil {
		return nil
	}
	test := s.test
	if s.split {
		test, _ = s.set.Split(s.o.Seed, validationPart)
	}
	classOf, err := s.logitsOf(test.Classes)
	if err != nil {
		return err
	}
	m, err := measure.Open(measure.Source{Name: s.o.Output, Path: s.path}, s.eng)
	if err != nil {
		return err
	}
	defer m.Close()
	r, err := measure.Reject(ctx, m, measure.FromSet(test, s.file.pre), measure.Sliced(classOf, s.wanted), s.state.Other.Threshold)
	if fault.KindOf(err) == fault.Data {
		s.result.Notes = append(s.result.Notes, fmt.Sprintf("how other classes are rejected was not measured: %v", err))
		return nil
	}
	s.result.Other = &report.Other{Other: *s.state.Other, Measured: r}
	return err
}
