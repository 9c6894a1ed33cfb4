package experiment

import (
	"context"
	"strings"

	"gonum.org/v1/gonum/mat"

	"nuwa/internal/data"
	"nuwa/internal/measure"
	"nuwa/passes"
	"nuwa/passes/calibrate"
)

// judges are images in memory that models are judged on, and how the base does.
type judges struct {
	test, held        calibrate.Feeds
	testClass, heldOf []int // the wanted class of each image, as a logit of a slim model
	baseRight         string
	baseHeld          float64
}

// newJudges decodes the images that judge, and judges the base.
func (e *experiment) newJudges(ctx context.Context) (*judges, error) {
	t, j := e.task, &judges{}
	classOf, err := t.LogitsOf(t.Test.Classes)
	if err != nil {
		return nil, err
	}
	of := map[string]int{}
	var names []string
	for i, l := range measure.Sliced(classOf, t.Wanted) {
		if of[t.Test.Classes[i]] = l; l >= 0 {
			names = append(names, t.Test.Classes[i])
		}
	}
	base := &passes.State{Model: t.File.Model}
	take := func(set *data.Set) (calibrate.Feeds, []int, *mat.Dense, error) {
		var class []int
		for _, x := range set.Samples {
			class = append(class, of[set.Classes[x.Class]])
		}
		feeds := t.FeedsOf(ctx, set, "judge")
		z, err := e.logits(ctx, base, feeds)
		return feeds, class, z, err
	}
	test, err := t.Test.Select(names)
	if err != nil {
		return nil, err
	}
	var z *mat.Dense
	if j.test, j.testClass, z, err = take(test); err != nil {
		return nil, err
	}
	j.baseRight, _ = decisions(z, t.Wanted, j.testClass)
	if n := e.config.Validation; n > 0 {
		if held := t.Pool.Without(t.Fit).Take(n, t.Options.Seed); held.Len() > 0 {
			if j.held, j.heldOf, z, err = take(held); err != nil {
				return nil, err
			}
			_, j.baseHeld = decisions(z, t.Wanted, j.heldOf)
		}
	}
	return j, nil
}

// logits runs a model over images.
func (e *experiment) logits(ctx context.Context, s *passes.State, feeds calibrate.Feeds) (*mat.Dense, error) {
	m, err := measure.Open(measure.Source{Graph: s.Model}, e.eng)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	out, err := m.Output()
	if err != nil {
		return nil, err
	}
	of, err := calibrate.Values(ctx, e.eng, s.Model, []string{out.Name}, feeds)
	return of[out.Name], err
}

// decisions tells for each row of logits whether the largest of those wanted,
// nil for all, is that of the image's class: a 1 or a 0 each, and the part of
// ones.
func decisions(z *mat.Dense, wanted, class []int) (right string, accuracy float64) {
	var b strings.Builder
	n, _ := z.Dims() // fewer images where the model fixes the batch
	class = class[:min(n, len(class))]
	for i, c := range class {
		row := z.RawRowView(i)
		best, at := 0, -1
		choices := len(wanted)
		if wanted == nil {
			choices = len(row)
		}
		for k := range choices {
			l := k
			if wanted != nil {
				l = wanted[k]
			}
			if at < 0 || row[l] > row[at] {
				best, at = k, l
			}
		}
		if best == c {
			b.WriteByte('1')
			accuracy += 1 / float64(len(class))
		} else {
			b.WriteByte('0')
		}
	}
	return b.String(), accuracy
}
