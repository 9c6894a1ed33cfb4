package nuwa

import (
	"context"
	"fmt"
	"slices"

	"nuwa/internal/data"
	"nuwa/internal/fault"
	"nuwa/internal/measure"
)

// findClasses turns the wanted classes into logits of the base.
func (t *task) findClasses(ctx context.Context) error {
	if t.file.noImages != nil {
		if !wantsAll(t.o.Classes) {
			return t.file.noImages
		}
		t.notes = append(t.notes, "the model does not take images, so neither accuracy nor latency is measured")
		return nil
	}
	m, err := measure.Open(measure.Source{Path: t.o.Model}, t.eng)
	if err != nil {
		return err
	}
	defer m.Close()
	noise, err := measure.Noise(m, 1, 1)
	if err != nil && t.set == nil {
		return err
	}
	if t.set != nil {
		noise = measure.FromSet(t.set, t.file.pre)
	}
	logits, err := m.Logits(ctx, noise)
	if err != nil {
		return t.withoutClasses(ctx, err)
	}
	var folders []string
	for _, s := range []*data.Set{t.set, t.test} {
		if s != nil && s.Classes != nil {
			folders = s.Classes
			break
		}
	}
	if t.set != nil && t.set.Classes != nil {
		if t.classOf, err = t.file.match(t.set.Classes, logits); err != nil {
			return t.withoutClasses(ctx, inFile(t.o.Data, err))
		}
		if err := t.normalize(ctx); err != nil {
			return err
		}
	}
	if t.wanted, err = t.file.resolve(t.o.Classes, folders, logits); err != nil {
		return t.withoutClasses(ctx, err)
	}
	if len(t.wanted) == logits && isIdentity(t.wanted) {
		t.wanted = nil
	}
	t.names = t.className(folders, logits)
	for _, c := range t.kept(logits) {
		t.classes = append(t.classes, t.names[c])
	}
	if t.test != nil {
		_, err = t.logitsOf(t.test.Classes)
	}
	return err
}

// withoutClasses is what is left when the outputs cannot be matched to classes
// for the given reason. A model that has no classifier can be slimmed all the
// same; for any other, the reason is an error.
func (t *task) withoutClasses(ctx context.Context, reason error) error {
	if !wantsAll(t.o.Classes) || fault.KindOf(reason) != fault.Unsupported && fault.KindOf(reason) != fault.Data {
		return reason
	}
	s, _, err := t.fork(ctx, t.o)
	if err != nil {
		return err
	}
	if len(s.ViT.Classifiers) > 0 {
		return reason
	}
	t.notes = append(t.notes, "the model has no classifier, so no accuracy is measured")
	return nil
}

// logitsOf gives every class folder the logit of the base that stands for it.
func (t *task) logitsOf(folders []string) ([]int, error) {
	out := make([]int, len(folders))
	for i, c := range folders {
		k := -1
		if t.classOf != nil {
			k = slices.Index(t.set.Classes, c)
		}
		if k < 0 {
			out, err := t.file.match(folders, len(t.names))
			return out, inFile(t.o.Test, err)
		}
		out[i] = t.classOf[k]
	}
	return out, nil
}

func isIdentity(xs []int) bool {
	for i, x := range xs {
		if x != i {
			return false
		}
	}
	return true
}

// kept returns the logits of the slim model's decision, as numbers of the base.
func (t *task) kept(logits int) []int {
	if t.wanted != nil {
		return t.wanted
	}
	return upTo(logits)
}

// upTo returns 0 … n−1.
func upTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// className names every logit of the base: by the model's own class names,
// else by folders when there is one per logit, else by number.
func (b *base) className(folders []string, logits int) []string {
	names := make([]string, logits)
	for i := range names {
		switch {
		case i < len(b.file.names):
			names[i] = b.file.names[i]
		case len(b.file.names) == 0 && len(folders) == logits:
			names[i] = folders[i]
		default:
			names[i] = fmt.Sprint(i)
		}
	}
	return names
}
