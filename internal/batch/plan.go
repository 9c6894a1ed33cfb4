package batch

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"nuwa/configs"
	"nuwa/internal/fault"
	"nuwa/internal/modelfile"
	"nuwa/internal/steps"
	"nuwa/internal/task"
	"nuwa/passes"
)

// options are those of Derive for one model.
func (b *batch) options(t configs.Task, s configs.Size, at configs.Target) (task.Options, error) {
	device, err := at.Resolve()
	if err != nil {
		return task.Options{}, err
	}
	c, d := b.c, b.c.Defaults
	o := task.Options{
		Model: c.Base, Output: c.Output.File(t.Name, s.Label(), at.Name), Data: c.Data.Train, Test: c.Data.Test, Labels: c.Data.Labels, Classes: t.Classes,
		ImageRoot: c.Data.ImageRoot, MultiLabel: c.Data.MultiLabel,
		Rate: s.Rate, Budget: task.Budget{MaxMACs: int64(s.MaxMACs), MaxParams: int64(s.MaxParams), MaxBytes: int64(s.MaxBytes), MaxMemory: int64(s.MaxMemory),
			MaxLatency: s.MaxLatency, MinAccuracy: s.MinAccuracy},
		Align: d.Align, Merge: d.Merge, Target: device, Recipe: d.Recipe, Purify: d.Purify, Logits: d.Logits, Norms: d.Norms, Calibration: d.Calibration, Images: d.Images,
		Other: d.Other, FalseAccept: d.FalseAccept,
		Purification: task.Purification{Loss: d.PurifyLoss, Steps: d.PurifySteps, Time: d.PurifyTime, Balance: d.Balance, Checkpoint: filepath.Join(c.Output.Dir, "."+t.Name+".purify")},
		Preprocess: modelfile.Preprocess{Size: c.Data.Preprocess.Size, Mean: c.Data.Preprocess.Mean, Std: c.Data.Preprocess.Std, Resize: c.Data.Preprocess.Resize,
			CropFraction: c.Data.Preprocess.Crop, Interpolation: c.Data.Preprocess.Interpolation, Order: c.Data.Preprocess.Order},
		Runtime: b.o.Runtime, Seed: d.Seed, Cache: b.o.Cache, Force: b.o.Force, SkipBench: !b.o.Bench, Log: b.o.Log,
	}
	for i, text := range d.Strategies {
		part, strategy, ok := strings.Cut(text, "=")
		at := slices.IndexFunc(passes.Parts, func(p passes.Part) bool { return p.Name == part })
		if !ok || at < 0 {
			return o, &fault.Error{Kind: fault.Usage, Where: fmt.Sprintf("defaults.strategies[%d]", i), Got: fmt.Sprintf("%q", text), Want: "PART=STRATEGY, as in select=second"}
		}
		*passes.Parts[at].Of(&o.Strategies) = strategy
	}
	return task.WithDefaults(o)
}

// prepare opens the base and settles the tasks, finds out which models earlier
// runs have finished, and lays out the steps that are left. A task that makes
// no sense is an error of its models only.
func (b *batch) prepare(ctx context.Context) error {
	eng, err := b.o.Runtime.Start()
	if err != nil {
		return err
	}
	eng.Spare = &b.cores
	if !b.o.DryRun {
		if err := os.MkdirAll(b.c.Output.Dir, 0o755); err != nil {
			return &fault.Error{Kind: fault.IO, File: b.c.Output.Dir, Where: "output.dir", Err: err}
		}
		b.sweep()
		doc, page := b.indexFiles()
		for _, path := range []string{doc, page} {
			if err := b.outputs.vacant(path, b.c.Base); err != nil {
				return err
			}
		}
	}
	common, err := b.options(b.c.Tasks[0], b.c.Sizes[0], b.c.Targets[0])
	if err != nil {
		return err
	}
	if b.base, err = task.OpenBase(ctx, eng, common); err != nil {
		return err
	}
	common.MultiLabel = common.MultiLabel || b.base.File.Multi
	if b.images, err = task.OpenImages(common); err != nil {
		return err
	}
	for _, t := range b.c.Tasks {
		bt := &batchTask{name: t.Name}
		o, err := b.taskOptions(t, common.MultiLabel)
		if err == nil {
			bt.task, err = task.New(ctx, b.base, b.images, o)
		}
		if bt.err = err; ctx.Err() != nil {
			return err
		}
		b.tasks = append(b.tasks, bt)
		for _, s := range b.c.Sizes {
			for _, at := range b.c.Targets {
				o, err := b.options(t, s, at)
				m := &batchModel{o: o, task: bt, Model: Model{Task: t.Name, Size: s.Label(), Target: at.Name, Output: o.Output, Status: Planned}}
				m.o.Progress = nil
				if bt.err != nil {
					err = bt.err
				}
				if err == nil {
					err = b.findKept(m)
				}
				m.fail(err)
				b.models = append(b.models, m)
			}
		}
	}
	return b.layout(ctx)
}

// taskOptions are those that a task learns with.
func (b *batch) taskOptions(t configs.Task, multi bool) (task.Options, error) {
	o, err := b.options(t, b.c.Sizes[0], b.c.Targets[0])
	o.MultiLabel = multi
	o.Progress = b.stage("task " + t.Name)
	return o, err
}

// fail takes note of why a model is not made.
func (m *batchModel) fail(err error) {
	if err != nil {
		m.Status, m.Err, m.Error = Broken, err, err.Error()
	}
}

// sweep removes what killed runs left half-written.
func (b *batch) sweep() {
	old, _ := filepath.Glob(filepath.Join(b.c.Output.Dir, ".nuwa-*.tmp")) // fails for bad patterns only
	for _, path := range old {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > time.Hour {
			_ = os.RemoveAll(path) // the next time, then
		}
	}
}

// layout makes a step of everything that is left to do.
func (b *batch) layout(ctx context.Context) error {
	if !slices.ContainsFunc(b.models, func(m *batchModel) bool { return m.Status == Planned }) {
		return nil
	}
	b.tell(Progress{Step: "base", State: "running", Stage: "clean"})
	began := time.Now()
	s, _, err := b.base.Fork(ctx, b.tasks[0].options(b.o))
	if err != nil {
		return err
	}
	b.tell(Progress{Step: "base", State: "done", Took: time.Since(began)})
	if b.guess, err = estimateOf(ctx, b.base, s, b.c.Defaults, b.images); err != nil {
		return err
	}
	sizes := map[string]*batchSize{}
	var learn, slim, write []*steps.Step
	for _, m := range b.models {
		if m.Status != Planned {
			continue
		}
		t := m.task
		if t.step == nil {
			t.step = b.learnStep(t)
			b.takes(t.step, b.guess.learn)
			learn = append(learn, t.step)
		}
		key := t.name + "\n" + m.Size + "\n" + sizeKey(m.o)
		if sizes[key] == nil {
			name := t.name + " " + m.Size
			if formed(m.o.Budget) {
				name += " " + m.Target
			}
			sizes[key] = b.sizeStep(name, m)
			slim = append(slim, sizes[key].step)
			b.takes(sizes[key].step, b.guess.size(m.o))
		}
		m.group = sizes[key]
		m.step = b.writeStep(m)
		write = append(write, m.step)
		b.takes(m.step, b.guess.write)
	}
	b.steps = slices.Concat(learn, slim, write)
	return nil
}

// takes notes what a step is estimated to take.
func (b *batch) takes(s *steps.Step, n need) {
	b.todo = append(b.todo, Step{Name: s.Name, Seconds: n.Seconds, Memory: n.Memory})
}

// plan lists what a run would do. As many of the largest steps as there are
// cores may run at a time, if they fit the limit.
func (b *batch) plan() *Result {
	r := b.result()
	r.Steps = b.todo
	var memory []int64
	for _, s := range b.todo {
		r.Seconds += s.Seconds / float64(b.o.Cores)
		memory = append(memory, s.Memory)
	}
	slices.Sort(memory)
	slices.Reverse(memory)
	for i, m := range memory {
		if i == 0 || i < b.o.Cores && (b.o.Memory == 0 || r.Memory+m <= b.o.Memory) {
			r.Memory += m
		}
	}
	return r
}

// options are those that the base is cleaned with.
func (t *batchTask) options(o Options) task.Options {
	if t.task != nil {
		return t.task.Options
	}
	return task.Options{Log: o.Log, Progress: func(string, int, int) {}}
}

// sizeKey tells sizes apart that targets do not share. Limits on more than what a
// model computes and weighs hold for the form that a target wants it in.
func sizeKey(o task.Options) string {
	key := fmt.Sprint(o.Align)
	if !o.Budget.IsZero() {
		key += fmt.Sprint(" ", o.Norms, o.Budget)
	}
	if formed(o.Budget) {
		key += fmt.Sprint(" ", o.Fuse, o.Opset, o.Precision, o.Target.Batch, o.Target.Layout)
	}
	if o.Budget.MaxLatency > 0 {
		key += fmt.Sprint(" ", o.Target.Threads, o.Target.Provider, o.Target.ProviderOptions)
	}
	return key
}

// formed reports whether what is limited depends on the form of a model.
func formed(b task.Budget) bool {
	b.MaxMACs, b.MaxParams = 0, 0
	return !b.IsZero()
}
