package batch

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"

	"nuwa/internal/cache"
	"nuwa/internal/derive"
	"nuwa/internal/fault"
	"nuwa/internal/files"
	"nuwa/internal/report"
	"nuwa/internal/steps"
	"nuwa/passes"
)

// learnStep learns a task; what it learned is dropped when all of its sizes are
// done.
func (b *batch) learnStep(t *batchTask) *steps.Step {
	return &steps.Step{
		Name: "task " + t.name, Memory: b.guess.learn.Memory, Keeps: b.guess.kept,
		Run: func(ctx context.Context) error {
			if err := t.task.Learn(ctx, slices.Concat(passes.Anchoring, passes.Learning)); err != nil {
				return err
			}
			if b.o.Cache == "" { // what was learned is in the memory alone
				return nil
			}
			return t.task.DropCheckpoint()
		},
		Free: t.task.Forget,
	}
}

// sizeStep brings a task to the size of m.
func (b *batch) sizeStep(name string, m *batchModel) *batchSize {
	s := &batchSize{}
	s.step = &steps.Step{
		Name: name, Needs: []*steps.Step{m.task.step}, Memory: b.guess.slim.Memory, Keeps: b.guess.model,
		Run: func(ctx context.Context) (err error) {
			o := m.o
			o.Progress = b.stage(name)
			s.size, err = derive.SizeFor(ctx, m.task.task, o, passes.Slimming, passes.Finishing)
			return err
		},
		Free: func() { s.size = nil },
	}
	if m.o.Budget.MaxLatency > 0 {
		s.step.Cores = b.o.Cores // nothing else may disturb it
	}
	return s
}

// writeStep spells a size for a target, writes it and takes note that it is
// finished.
func (b *batch) writeStep(m *batchModel) *steps.Step {
	name := filepath.Base(m.Output)
	s := &steps.Step{
		Name: name, Needs: []*steps.Step{m.group.step}, Memory: b.guess.write.Memory,
		Run: func(ctx context.Context) error {
			o := m.o
			o.Progress = b.stage(name)
			o.Force = b.outputs.replaceable(m.Output)
			slim, err := m.group.size.Spell(ctx, o, passes.Finishing)
			if err != nil {
				return err
			}
			slim.Proven = func() error { return b.keep(m, slim.Result) }
			err = slim.Finish(ctx)
			if fault.KindOf(err) == fault.Exists {
				if kept, _ := b.kept(m); kept != nil { // another process was faster
					return b.finish(m, kept)
				}
			}
			if err != nil {
				return err
			}
			return b.finish(m, slim.Result)
		},
	}
	if b.o.Bench || m.o.Target.MaxLatency > 0 {
		s.Cores = b.o.Cores
	}
	return s
}

// finished is what is kept of a model that was made.
type finished struct {
	Digest string // of the file
	Result []byte // JSON
}

// key is everything that a model depends on, besides what its task does.
func (m *batchModel) key() cache.Key {
	o := m.o
	about := m.task.task.Store.About
	return append(slices.Clone(about), "model", o.Rate, o.Widths, o.Budget, o.Align, o.Merge, o.Norms, o.Fuse, o.Opset, o.Precision, o.Target, o.SkipBench)
}

// keep takes note of a model that is proven and is about to get its name.
func (b *batch) keep(m *batchModel, r *report.Result) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	digest := r.Provenance.Output
	b.outputs.record(m.Output, digest)
	if err := m.task.task.Store.Cache.Save(m.key(), "result of "+m.Output, finished{digest, text}); err != nil {
		b.o.Log.Warn("a run that is killed will make this model again", "error", err)
	}
	return nil
}

// kept returns the result of a model that an earlier run made and that is still
// there; nil for none.
func (b *batch) kept(m *batchModel) (*report.Result, error) {
	var f finished
	if !m.task.task.Store.Cache.Load(m.key(), &f) {
		return nil, nil
	}
	if digest, err := files.Digest(m.Output); err != nil || digest != f.Digest {
		return nil, nil
	}
	r := &report.Result{}
	return r, json.Unmarshal(f.Result, r)
}

// findKept marks a model that an earlier run made and that is still there. A
// file that is there and that no run made is an error, unless it may be replaced.
func (b *batch) findKept(m *batchModel) error {
	r, err := b.kept(m)
	if err != nil {
		return err
	}
	var outputs []string
	if doc, page := m.reports(); !b.o.DryRun {
		outputs = append(outputs, doc, page)
		if r == nil {
			outputs = append(outputs, m.Output)
		}
	}
	for _, path := range outputs {
		if err := b.outputs.vacant(path, b.c.Base); err != nil {
			return err
		}
	}
	if r != nil {
		m.Status, m.Result = Kept, r
	}
	return nil
}
