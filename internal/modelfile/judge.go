package modelfile

import (
	"context"

	"nuwa/internal/data"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/measure"
)

// Judge is a model in ONNX Runtime together with the images it is measured on.
type Judge struct {
	Model   *measure.Model
	Images  measure.Images
	ClassOf []int // class of the set → logit, −1 where the model has none
	Wanted  []int // logits
	Logits  int
	names   []string
}

// Judge loads f and matches the folders of set to its logits.
func (f *File) Judge(ctx context.Context, eng *engine.Engine, set *data.Set, classes []string) (*Judge, error) {
	m, err := measure.Open(f.Source(), eng.Sweeping())
	if err != nil {
		return nil, err
	}
	j := &Judge{Model: m, Images: measure.FromSet(set, f.Pre), names: f.Names}
	j.Logits, err = m.Logits(ctx, j.Images)
	if err == nil {
		j.ClassOf, err = f.Match(set.Classes, j.Logits)
		err = fault.InFile(set.Root, err)
	}
	if err == nil {
		j.Wanted, err = f.Resolve(classes, set.Classes, j.Logits)
	}
	if err != nil {
		m.Close()
		return nil, fault.InFile(f.Path, err)
	}
	return j, nil
}

// Accuracy judges the model, batch images at a time, 0 for a good number.
func (j *Judge) Accuracy(ctx context.Context, batch int, progress func(done, total int)) (*measure.Accuracy, error) {
	return measure.Evaluate(ctx, j.Model, j.Images, j.ClassOf, measure.EvalOptions{
		Batch: batch, Wanted: j.Wanted, Names: j.names, Progress: progress,
	})
}

// Stage returns what tells f how far the named stage is; nil where f is.
func Stage(f func(string, int, int), stage string) func(done, total int) {
	if f == nil {
		return nil
	}
	return func(done, total int) { f(stage, done, total) }
}

// OpenSet opens a folder of images, or a CSV that names them. With multi, each
// class is decided by itself even where every image has exactly one.
func OpenSet(path, root string, multi bool) (*data.Set, error) {
	set, err := data.OpenIn(path, root)
	if err == nil && multi {
		set = set.AsMulti()
	}
	return set, err
}
