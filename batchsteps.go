package nuwa

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"nuwa/internal/cache"
	"nuwa/internal/fault"
	"nuwa/internal/steps"
	"nuwa/passes"
)

// learnStep learns a task; what it learned is dropped when all of its sizes are
// done.
func (b *batch) learnStep(t *batchTask) *steps.Step {
	return &steps.Step{
		Name: "task " + t.name, Memory: b.guess.learn.Memory, Keeps: b.guess.kept,
		Run: func(ctx context.Context) error {
			if err := t.task.learn(ctx, slices.Concat(passes.Anchoring, passes.Learning)); err != nil {
				return err
			}
			if b.o.Cache == "" { // what was learned is in the memory alone
				return nil
			}
			return t.task.dropCheckpoint()
		},
		Free: func() { t.task.state = nil },
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
			s.size, err = m.task.task.size(ctx, o, passes.Slimming, lowering(o))
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
			slim, err := m.group.size.newSlim(ctx, o, lowering(o))
			if err != nil {
				return err
			}
			slim.proven = func() error { return b.keep(m, slim.result) }
			if err := slim.finish(ctx); err != nil {
				if fault.KindOf(err) == fault.Exists && b.findKept(m) == nil && m.Status == Kept {
					return nil // another process was faster
				}
				return err
			}
			m.Result = slim.result
			return nil
		},
	}
	if b.o.Bench {
		s.Cores = b.o.Cores
	}
	return s
}

// lowering are the passes that spell a model for what runs it.
func lowering(Options) []passes.Pass { return passes.Finishing }

// finished is what is kept of a model that was made.
type finished struct {
	Digest string // of the file
	Result []byte // JSON
}

// key is everything that a model depends on, besides what its task does.
func (m *batchModel) key() cache.Key {
	o := m.o
	about := m.task.task.store.about
	return append(slices.Clone(about), "model", o.Rate, o.Widths, o.Budget, o.Align, o.Norms, o.Fuse, o.Opset, o.Precision, o.SkipBench, o.latencyThreads)
}

// keep takes note of a model that is proven and is about to get its name.
func (b *batch) keep(m *batchModel, r *Result) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	store := m.task.task.store
	if err := store.cache.Save(m.key(), "result of "+m.Output, finished{r.Provenance.Output, text}); err != nil {
		b.o.Log.Warn("a run that is killed will make this model again", "error", err)
	}
	return nil
}

// findKept marks a model that an earlier run made and that is still there. A
// file that is there and is not that model is an error, unless it may be
// replaced.
func (b *batch) findKept(m *batchModel) error {
	var f finished
	if m.task.task.store.cache.Load(m.key(), &f) {
		if digest, err := fileDigest(m.Output); err == nil && digest == f.Digest {
			r := &Result{}
			if err := json.Unmarshal(f.Result, r); err != nil {
				return err
			}
			m.Status, m.Result = Kept, r
			return nil
		}
	}
	if b.o.DryRun {
		return nil
	}
	return vacant(m.Output, b.o.Force, b.c.Base)
}

// replaceFile writes a file beside its name and gives it its name.
func replaceFile(path string, content func(io.Writer) error) error {
	failed := func(err error) error {
		var at *fs.PathError
		if errors.As(err, &at) {
			err = at.Err
		}
		return &fault.Error{Kind: fault.IO, File: path, Err: err, Remedy: "check the folder, its permissions and the space left"}
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".nuwa-*.tmp")
	if err != nil {
		return failed(err)
	}
	w := bufio.NewWriter(tmp)
	err = content(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = tmp.Chmod(0o644)
	}
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // there may be none
		return failed(err)
	}
	return nil
}
