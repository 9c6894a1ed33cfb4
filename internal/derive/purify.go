package derive

import (
	"context"

	"nuwa/internal/fault"
	"nuwa/internal/modelfile"
	"nuwa/internal/report"
	"nuwa/internal/task"
	"nuwa/passes"
	"nuwa/passes/purify"
)

// PurifyOptions say what Purify shall make. Model, Output and Data are needed.
type PurifyOptions struct {
	Model, Output string
	Data          string   // images to learn from, class per folder, or a CSV as in Options; a fifth of them chooses the mask
	Test          string   // images to judge by, never learned from; "" holds back a fifth of Data
	Classes       []string // wanted classes; none, or "all", purifies for every class
	Labels        string   // file of class names in the order of the logits
	ImageRoot     string   // as in Options
	MultiLabel    bool     // as in Options
	Method        string   // "ste", "first" or "second"; "" means "ste"
	task.Purification

	Preprocess modelfile.Preprocess
	Runtime    modelfile.Runtime
	Seed       uint64
	Force      bool // replace an existing output

	Progress func(stage string, done, total int)
}

// Purify learns which hidden neurons hurt the wanted classes, removes them and
// writes the anchor model. Its outputs stay as wide as the base's.
func Purify(ctx context.Context, o PurifyOptions) (*report.Result, error) {
	if o.Method == "" {
		o.Method = purify.STE
	}
	all, err := task.WithDefaults(task.Options{Model: o.Model, Output: o.Output, Data: o.Data, Test: o.Test, Classes: o.Classes, Labels: o.Labels, ImageRoot: o.ImageRoot, MultiLabel: o.MultiLabel, Recipe: "paper", Logits: "full",
		Purify: o.Method, Purification: o.Purification, Preprocess: o.Preprocess, Runtime: o.Runtime, Seed: o.Seed, Force: o.Force, SkipBench: true,
		Progress: o.Progress})
	if err != nil {
		return nil, err
	}
	eng, err := o.Runtime.Start()
	if err != nil {
		return nil, err
	}
	res, err := derive(ctx, eng, all, true, passes.Anchoring, nil, nil)
	return res, fault.InFile(o.Model, err)
}
