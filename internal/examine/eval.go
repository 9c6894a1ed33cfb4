package examine

import (
	"context"

	"nuwa/internal/measure"
	"nuwa/internal/modelfile"
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
	Preprocess modelfile.Preprocess
	Runtime    modelfile.Runtime
	Progress   func(stage string, done, total int)
}

// Eval measures a model's accuracy on the images of the wanted classes.
func Eval(ctx context.Context, o EvalOptions) (*measure.Accuracy, error) {
	eng, err := o.Runtime.Start()
	if err != nil {
		return nil, err
	}
	f, err := modelfile.Open(ctx, eng, o.Preprocess, o.Labels, o.Model)
	if err != nil {
		return nil, err
	}
	set, err := modelfile.OpenSet(o.Data, o.ImageRoot, o.MultiLabel || f.Multi)
	if err != nil {
		return nil, err
	}
	defer set.Close()
	j, err := f.Judge(ctx, eng, set, o.Classes)
	if err != nil {
		return nil, err
	}
	defer j.Model.Close()
	return j.Accuracy(ctx, o.Batch, modelfile.Stage(o.Progress, "evaluate"))
}
