package nuwa

import (
	"context"
	"slices"
	"strconv"

	"nuwa/internal/data"
	"nuwa/internal/engine"
	"nuwa/internal/measure"
)

// EvalOptions say what Eval shall measure.
type EvalOptions struct {
	Model      string
	Data       string   // images, class per folder, or a CSV as in Options
	Classes    []string // wanted classes; none, or "all", takes those the model decides among
	Labels     string
	ImageRoot  string // as in Options
	MultiLabel bool   // as in Options
	Batch      int    // images per run; 0 for a good number
	Preprocess Preprocess
	Runtime    Runtime
	Progress   func(stage string, done, total int)
}

// Accuracy is how often a model is right, deciding among all its classes and
// among the wanted ones.
type Accuracy = measure.Accuracy

// Eval measures a model's accuracy on the images of the wanted classes.
func Eval(ctx context.Context, o EvalOptions) (*Accuracy, error) {
	eng, err := start(o.Runtime)
	if err != nil {
		return nil, err
	}
	f, err := open(ctx, eng, o.Preprocess, o.Labels, o.Model)
	if err != nil {
		return nil, err
	}
	set, err := openSet(o.Data, o.ImageRoot, o.MultiLabel || f.multi)
	if err != nil {
		return nil, err
	}
	defer set.Close()
	j, err := f.judge(ctx, eng, set, o.Classes)
	if err != nil {
		return nil, err
	}
	defer j.model.Close()
	return j.accuracy(ctx, o.Batch, progress(o.Progress, "evaluate"))
}

// judge is a model in ONNX Runtime together with the images it is measured on.
type judge struct {
	model   *measure.Model
	images  measure.Images
	classOf []int // class of the set → logit, −1 where the model has none
	wanted  []int // logits
	logits  int
	names   []string
}

// judge loads f and matches the folders of set to its logits.
func (f *opened) judge(ctx context.Context, eng *engine.Engine, set *data.Set, classes []string) (*judge, error) {
	m, err := measure.Open(measure.Source{Name: f.label(), Path: f.path}, eng)
	if err != nil {
		return nil, err
	}
	j := &judge{model: m, images: measure.FromSet(set, f.pre), names: f.names}
	j.logits, err = m.Logits(ctx, j.images)
	if err == nil {
		j.classOf, err = f.match(set.Classes, j.logits)
		err = inFile(set.Root, err)
	}
	if err == nil {
		j.wanted, err = f.resolve(classes, set.Classes, j.logits)
	}
	if err != nil {
		m.Close()
		return nil, inFile(f.path, err)
	}
	return j, nil
}

// match gives every class of a set its logit. A slim model may know fewer
// classes than the set has; those it does not know get −1.
func (f *opened) match(setClasses []string, logits int) ([]int, error) {
	if err := f.checkNames(logits); err != nil {
		return nil, err
	}
	if !f.slim {
		return data.MatchClasses(setClasses, f.names, logits)
	}
	out := make([]int, len(setClasses))
	for i, c := range setClasses {
		out[i] = slices.Index(f.names, c)
		if _, err := strconv.Atoi(c); err != nil && out[i] < 0 {
			if ids, err := data.Resolve([]string{c}, f.names, logits); err == nil && len(ids) == 1 {
				out[i] = ids[0]
			}
		}
	}
	return out, nil
}

// resolve turns wanted classes into logits. Without class names of the model,
// folders stand for them.
func (f *opened) resolve(classes, setClasses []string, logits int) ([]int, error) {
	if err := f.checkNames(logits); err != nil {
		return nil, err
	}
	if wantsAll(classes) {
		return f.wanted, nil
	}
	names := f.names
	if len(names) == 0 && len(setClasses) == logits {
		names = setClasses
	}
	return data.Resolve(classes, names, logits)
}

func (j *judge) accuracy(ctx context.Context, batch int, progress func(done, total int)) (*Accuracy, error) {
	return measure.Evaluate(ctx, j.model, j.images, j.classOf, measure.EvalOptions{
		Batch: batch, Wanted: j.wanted, Names: j.names, Progress: progress,
	})
}

// progress names the stage for a callback that may be nil.
func progress(f func(string, int, int), stage string) func(done, total int) {
	if f == nil {
		return nil
	}
	return func(done, total int) { f(stage, done, total) }
}
