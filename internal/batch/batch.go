package batch

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"nuwa/configs"
	"nuwa/internal/cache"
	"nuwa/internal/derive"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/steps"
	"nuwa/internal/task"
)

// Run makes every task of a configuration at every size for every target.
// What several models share is done once. A model that fails is told of in the
// result and leaves the others alone; the error is about the whole.
//
// With a cache, a run that ended early goes on where it was: what is finished
// is kept, and so are purification and statistics of tasks that are not.
func Run(ctx context.Context, o Options) (*Result, error) {
	began := time.Now()
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Cores <= 0 {
		o.Cores = runtime.NumCPU()
	}
	if o.Runtime.Threads == 0 {
		o.Runtime.Threads = 1
	}
	b := &batch{o: o, c: o.Config, outputs: &outputs{log: o.Log, force: o.Force}}
	if o.Cache != "" {
		b.outputs.cache = &cache.Cache{Dir: o.Cache, Log: o.Log}
	}
	defer func() { b.images.Close() }()
	if err := b.prepare(ctx); err != nil {
		return nil, fault.InFile(o.Config.Base, err)
	}
	if o.DryRun {
		return b.plan(), nil
	}
	if err := b.run(ctx); err != nil {
		return nil, err
	}
	index, err := b.writeAll()
	res := b.result()
	res.Index, res.Seconds = index, time.Since(began).Seconds()
	return res, err
}

// batch is one run of Batch.
type batch struct {
	o      Options
	c      *configs.Config
	base   *task.Base
	images task.Images
	tasks  []*batchTask
	models []*batchModel
	steps  []*steps.Step
	guess  estimate
	todo   []Step // one per step

	cores engine.Cores // that no step runs on

	outputs *outputs
	writing sync.Mutex // of results of models, and of what tells about them

	mu       sync.Mutex // of progress
	finished int        // models, as last told
}

// batchTask is a set of wanted classes; all of its sizes go on from it.
type batchTask struct {
	name string
	task *task.Task // nil when err is set
	err  error
	step *steps.Step
}

// batchModel is a model and the size that it is spelled from.
type batchModel struct {
	Model
	o     task.Options
	task  *batchTask
	group *batchSize
	step  *steps.Step // nil for one that is kept
}

// batchSize is a size of a task, shared by targets that want the same widths.
type batchSize struct {
	size *derive.Size
	step *steps.Step
}

// run does what is left to do.
func (b *batch) run(ctx context.Context) error {
	names := map[*steps.Step]*batchModel{}
	finished := 0
	for _, m := range b.models {
		if m.step != nil {
			names[m.step] = m
		}
		if m.Status == Kept {
			finished++
		}
	}
	b.tell(Progress{Finished: finished, Models: len(b.models)})
	b.cores.Add(b.o.Cores)
	err := steps.Run(ctx, b.steps, steps.Budget{Cores: b.o.Cores, Memory: b.o.Memory}, func(s *steps.Step) {
		switch s.State {
		case steps.Running:
			b.cores.Add(-max(1, s.Cores))
		case steps.Done, steps.Failed:
			b.cores.Add(max(1, s.Cores))
		}
		if m := names[s]; m != nil {
			switch s.State {
			case steps.Done:
				m.Status, m.Seconds = Made, s.Took.Seconds()
				finished++
			case steps.Failed, steps.Passed:
				m.fail(fault.InFile(b.c.Base, s.Err))
			}
		}
		p := Progress{Step: s.Name, State: [...]string{"waiting", "running", "done", "failed", "passed over"}[s.State], Err: s.Err, Took: s.Took,
			Finished: finished, Models: len(b.models)}
		b.tell(p)
	})
	if err != nil {
		return &fault.Error{Kind: fault.Interrupted, Got: fmt.Sprintf("interrupted; %d of %d models are finished", finished, len(b.models)), Err: err,
			Remedy: "the same command goes on from there"}
	}
	return nil
}

// tell passes progress on, one at a time.
func (b *batch) tell(p Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p.Models = len(b.c.Tasks) * len(b.c.Sizes) * len(b.c.Targets)
	b.finished = max(b.finished, p.Finished)
	p.Finished = b.finished
	if b.o.Progress != nil {
		b.o.Progress(p)
	}
}

// stage returns what a step tells its progress to.
func (b *batch) stage(step string) func(stage string, done, total int) {
	return func(stage string, done, total int) {
		b.tell(Progress{Step: step, State: "running", Stage: stage, Done: done, Total: total})
	}
}
