package task

import (
	"context"
	"fmt"
	"slices"

	"nuwa/internal/data"
	"nuwa/internal/fault"
	"nuwa/internal/modelfile"
	"nuwa/internal/ranking"
)

// findClasses turns the wanted classes into logits of the base.
func (t *Task) findClasses(ctx context.Context) error {
	if t.File.NoImages != nil {
		if !modelfile.WantsAll(t.Options.Classes) {
			return t.File.NoImages
		}
		t.Notes = append(t.Notes, "the model does not take images, so neither accuracy nor latency is measured")
		return nil
	}
	logits, err := t.Logits(ctx, t.File, t.Set)
	if err != nil {
		return t.withoutClasses(ctx, err)
	}
	var folders []string
	for _, s := range []*data.Set{t.Set, t.Test} {
		if s != nil && s.Classes != nil {
			folders = s.Classes
			break
		}
	}
	if t.Set != nil && t.Set.Classes != nil {
		if t.ClassOf, err = t.File.Match(t.Set.Classes, logits); err != nil {
			return t.withoutClasses(ctx, fault.InFile(t.Options.Data, err))
		}
		if err := t.normalize(ctx); err != nil {
			return err
		}
	}
	if t.Wanted, err = t.File.Resolve(t.Options.Classes, folders, logits); err != nil {
		return t.withoutClasses(ctx, err)
	}
	if len(t.Wanted) == logits && isIdentity(t.Wanted) {
		t.Wanted = nil
	}
	t.Names = t.className(folders, logits)
	for _, c := range t.kept(logits) {
		t.Classes = append(t.Classes, t.Names[c])
	}
	if t.Test != nil {
		_, err = t.LogitsOf(t.Test.Classes)
	}
	return err
}

// withoutClasses is what is left when the outputs cannot be matched to classes
// for the given reason. A model that has no classifier can be slimmed all the
// same; for any other, the reason is an error.
func (t *Task) withoutClasses(ctx context.Context, reason error) error {
	if !modelfile.WantsAll(t.Options.Classes) || fault.KindOf(reason) != fault.Unsupported && fault.KindOf(reason) != fault.Data {
		return reason
	}
	s, _, err := t.Fork(ctx, t.Options)
	if err != nil {
		return err
	}
	if len(s.ViT.Classifiers) > 0 {
		return reason
	}
	t.Notes = append(t.Notes, "the model has no classifier, so no accuracy is measured")
	return nil
}

// LogitsOf gives every class folder the logit of the base that stands for it.
func (t *Task) LogitsOf(folders []string) ([]int, error) {
	out := make([]int, len(folders))
	for i, c := range folders {
		k := -1
		if t.ClassOf != nil {
			k = slices.Index(t.Set.Classes, c)
		}
		if k < 0 {
			out, err := t.File.Match(folders, len(t.Names))
			return out, fault.InFile(t.Options.Test, err)
		}
		out[i] = t.ClassOf[k]
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
func (t *Task) kept(logits int) []int {
	if t.Wanted != nil {
		return t.Wanted
	}
	return ranking.UpTo(logits)
}

// className names every logit of the base: by the model's own class names,
// else by folders when there is one per logit, else by number.
func (b *Base) className(folders []string, logits int) []string {
	names := make([]string, logits)
	for i := range names {
		switch {
		case i < len(b.File.Names):
			names[i] = b.File.Names[i]
		case len(b.File.Names) == 0 && len(folders) == logits:
			names[i] = folders[i]
		default:
			names[i] = fmt.Sprint(i)
		}
	}
	return names
}

// normalize settles how pixel values are scaled, before anything else looks at
// images. What was found is shared by all tasks with the same images.
func (t *Task) normalize(ctx context.Context) error {
	key := fmt.Sprint(t.Set.Root, " ", t.Options.Seed)
	t.Base.mu.Lock()
	defer t.Base.mu.Unlock()
	found, ok := t.Base.normalized[key]
	if !ok {
		file := *t.File
		note, err := file.FindNormalization(ctx, t.Eng, t.Set, t.ClassOf, t.Options.Seed)
		if err != nil {
			return err
		}
		found = normalized{file.Pre, file.PreFrom, note}
		t.Base.normalized[key] = found
	}
	t.File.Pre, t.File.PreFrom = found.pre, found.from
	if found.note != "" {
		t.Notes = append(t.Notes, found.note)
		t.Options.Log.Info("base", "preprocess", t.File.Pre.String(), "from", t.File.PreFrom)
	}
	return nil
}

// normalized is preprocessing that was settled for some images.
type normalized struct {
	pre        data.Preprocess
	from, note string
}
