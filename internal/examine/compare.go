package examine

import (
	"context"
	"slices"

	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/measure"
	"nuwa/internal/modelfile"
)

// CompareOptions say what Compare shall measure.
type CompareOptions struct {
	Base, Slim string
	Data       string   // images, class per folder, or a CSV as in Options; "" compares size and latency only
	Classes    []string // wanted classes; none, or "all", takes those that the slim model decides among
	Labels     string   // class names of the base
	ImageRoot  string   // as in Options
	MultiLabel bool     // as in Options
	Batch      int
	Preprocess modelfile.Preprocess
	Runtime    modelfile.Runtime
	Bench      BenchOptions // Models is ignored
	SkipBench  bool
	Progress   func(stage string, done, total int)
}

// Compare holds a slim model against its base.
func Compare(ctx context.Context, o CompareOptions) (*measure.Summary, error) {
	eng, err := o.Runtime.Start()
	if err != nil {
		return nil, err
	}
	base, err := modelfile.Open(ctx, eng, o.Preprocess, o.Labels, o.Base)
	if err != nil {
		return nil, err
	}
	slim, err := modelfile.Open(ctx, eng, o.Preprocess, "", o.Slim)
	if err != nil {
		return nil, err
	}
	if base.PreFrom == modelfile.FromDefaults && slim.PreFrom == modelfile.FromMetadata && slices.Equal(modelfile.ImageDims(base.Model), modelfile.ImageDims(slim.Model)) {
		base.Pre, base.PreFrom = slim.Pre, "the slim model's metadata" // it was derived so
	}
	modelfile.TellApart(base, slim)
	sum := &measure.Summary{Models: []measure.Report{{Name: base.Label()}, {Name: slim.Label()}}}
	for i, f := range []*modelfile.File{base, slim} {
		size, err := modelfile.SizeOf(ctx, eng, f.Model, f.Path)
		if err != nil {
			return nil, fault.InFile(f.Path, err)
		}
		sum.Models[i].Size = &size
	}
	if o.Data != "" {
		if err := o.accuracies(ctx, eng, base, slim, sum); err != nil {
			return nil, err
		}
	}
	if !o.SkipBench {
		b := o.Bench
		b.Models, b.Runtime, b.Progress = []string{o.Base, o.Slim}, o.Runtime, o.Progress
		if sum.Bench, err = BenchFiles(ctx, eng, b, base, slim); err != nil {
			return nil, err
		}
	}
	return sum, nil
}

func (o CompareOptions) accuracies(ctx context.Context, eng *engine.Engine, base, slim *modelfile.File, sum *measure.Summary) error {
	set, err := modelfile.OpenSet(o.Data, o.ImageRoot, o.MultiLabel || slim.Multi)
	if err != nil {
		return err
	}
	defer set.Close()
	sj, err := slim.Judge(ctx, eng, set, nil)
	if err != nil {
		return err
	}
	defer sj.Model.Close()
	bj, err := base.Judge(ctx, eng, set, nil)
	if err != nil {
		return err
	}
	defer bj.Model.Close()
	var pairs []measure.Pair
	for c := range set.Classes {
		if b, s := bj.ClassOf[c], sj.ClassOf[c]; b >= 0 && s >= 0 && (slim.Wanted == nil || slices.Contains(slim.Wanted, s)) {
			pairs = append(pairs, measure.Pair{First: b, Second: s})
		}
	}
	if !modelfile.WantsAll(o.Classes) {
		wanted, err := base.Resolve(o.Classes, set.Classes, bj.Logits)
		if err != nil {
			return err
		}
		kept := pairs[:0]
		for _, p := range pairs {
			if slices.Contains(wanted, p.First) {
				kept = append(kept, p)
			}
		}
		pairs = kept
	}
	bj.Wanted, sj.Wanted = nil, nil
	for _, p := range pairs {
		bj.Wanted, sj.Wanted = append(bj.Wanted, p.First), append(sj.Wanted, p.Second)
	}
	if sum.Models[0].Accuracy, err = bj.Accuracy(ctx, o.Batch, modelfile.Stage(o.Progress, "evaluate base")); err != nil {
		return err
	}
	if sum.Models[1].Accuracy, err = sj.Accuracy(ctx, o.Batch, modelfile.Stage(o.Progress, "evaluate slim")); err != nil {
		return err
	}
	sum.Agreement, err = measure.Agree(ctx, bj.Model, sj.Model, bj.Images, pairs, measure.AgreeOptions{
		Batch: o.Batch, ClassOf: bj.ClassOf, Progress: modelfile.Stage(o.Progress, "compare"),
	})
	return err
}
