package nuwa

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"nuwa/configs"
	"nuwa/internal/fault"
	"nuwa/internal/report"
	"nuwa/internal/steps"
	"nuwa/passes"
)

// BatchOptions say what Batch shall make and with what. Config is needed.
type BatchOptions struct {
	Config  *configs.Config
	Runtime Runtime // Threads are those of one model; 0 means 1
	Cores   int     // how many are kept busy; 0 means all
	Memory  int64   // bytes that steps may take together, as estimated; 0 means no limit
	Cache   string  // folder of results that runs share; without one, a run that is killed begins anew
	Force   bool    // replace existing files that are not results of the same configuration
	DryRun  bool    // plan only: nothing is made
	Bench   bool    // measure latency, of one model at a time

	Log      *slog.Logger        // nil discards
	Progress func(BatchProgress) // called one at a time; nil for none
}

// BatchProgress tells that a step began, went on or ended.
type BatchProgress struct {
	Step  string // base, a task, a size of it, or the file of a model
	State string // "running", "done", "failed" or "passed over"
	Stage string // what is being done, while running
	Done  int    // of Total, in that stage
	Total int
	Err   error
	Took  time.Duration

	Finished, Models int // models that are done, of all
}

// BatchResult is what Batch made.
type BatchResult struct {
	Base    string       `json:"base"`
	Models  []BatchModel `json:"models"` // in the order of tasks, sizes and targets
	Index   string       `json:"index,omitempty"`
	Steps   []BatchStep  `json:"steps,omitempty"` // still to be done; of a dry run
	Seconds float64      `json:"seconds"`         // taken, or, of a dry run, estimated
	Memory  int64        `json:"memory"`          // estimated, of the steps that take most at a time
}

// BatchStep is a step of a plan.
type BatchStep struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"` // estimated
	Memory  int64   `json:"memory"`  // estimated, in bytes
}

// BatchModel is one model of a batch.
type BatchModel struct {
	Task    string  `json:"task"`
	Size    string  `json:"size"`
	Target  string  `json:"target"`
	Output  string  `json:"output"`
	Status  string  `json:"status"` // one of the statuses below
	Error   string  `json:"error,omitempty"`
	Result  *Result `json:"result,omitempty"` // nil unless made or kept
	Err     error   `json:"-"`                // why it failed
	Seconds float64 `json:"seconds,omitempty"`
}

// Statuses of a model.
const (
	Made    = "made"
	Kept    = "kept" // an earlier run made it
	Planned = "planned"
	Broken  = "failed"
)

// Failed returns the models that were not made.
func (r *BatchResult) Failed() (out []BatchModel) {
	for _, m := range r.Models {
		if m.Status == Broken {
			out = append(out, m)
		}
	}
	return out
}

// Batch makes every task of a configuration at every size for every target.
// What several models share is done once. A model that fails is told of in the
// result and leaves the others alone; the error is about the whole.
//
// With a cache, a run that ended early goes on where it was: what is finished
// is kept, and so are purification and statistics of tasks that are not.
func Batch(ctx context.Context, o BatchOptions) (*BatchResult, error) {
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
	b := &batch{o: o, c: o.Config}
	defer func() { b.images.close() }()
	if err := b.prepare(ctx); err != nil {
		return nil, inFile(o.Config.Base, err)
	}
	if o.DryRun {
		return b.plan(), nil
	}
	if err := b.run(ctx); err != nil {
		return nil, err
	}
	res := b.result()
	res.Seconds = time.Since(began).Seconds()
	return res, b.writeIndex(res)
}

// batch is one run of Batch.
type batch struct {
	o      BatchOptions
	c      *configs.Config
	base   *base
	images images
	tasks  []*batchTask
	models []*batchModel
	steps  []*steps.Step
	guess  estimate
	todo   []BatchStep // one per step

	mu       sync.Mutex // of progress
	finished int        // models, as last told
}

// batchTask is a set of wanted classes; all of its sizes go on from it.
type batchTask struct {
	name string
	task *task // nil when err is set
	err  error
	step *steps.Step
}

// batchModel is a model and the size that it is spelled from.
type batchModel struct {
	BatchModel
	o     Options
	task  *batchTask
	group *batchSize
	step  *steps.Step // nil for one that is kept
}

// batchSize is a size of a task, shared by targets that want the same widths.
type batchSize struct {
	size *size
	step *steps.Step
}

// options are those of Derive for one model.
func (b *batch) options(t configs.Task, s configs.Size, at configs.Target) (Options, error) {
	target, err := at.Resolve()
	if err != nil {
		return Options{}, err
	}
	c, d := b.c, b.c.Defaults
	first := func(words ...string) string {
		for _, w := range words {
			if w != "" {
				return w
			}
		}
		return ""
	}
	o := Options{
		Model: c.Base, Output: c.Output.File(t.Name, s.Label(), at.Name), Data: c.Data.Train, Test: c.Data.Test, Labels: c.Data.Labels, Classes: t.Classes,
		ImageRoot: c.Data.ImageRoot, MultiLabel: c.Data.MultiLabel,
		Rate: s.Rate, Budget: Budget{MaxMACs: int64(s.MaxMACs), MaxParams: int64(s.MaxParams), MaxBytes: int64(s.MaxBytes), MaxMemory: int64(s.MaxMemory),
			MaxLatency: s.MaxLatency, MinAccuracy: s.MinAccuracy},
		Align: d.Align, Recipe: d.Recipe, Purify: d.Purify, Logits: d.Logits, Norms: first(d.Norms, target.Norms), Calibration: d.Calibration, Images: d.Images,
		Other: d.Other, FalseAccept: d.FalseAccept,
		Purification: Purification{Loss: d.PurifyLoss, Steps: d.PurifySteps, Time: d.PurifyTime, Balance: d.Balance, Checkpoint: filepath.Join(c.Output.Dir, "."+t.Name+".purify")},
		Preprocess: Preprocess{Size: c.Data.Preprocess.Size, Mean: c.Data.Preprocess.Mean, Std: c.Data.Preprocess.Std, Resize: c.Data.Preprocess.Resize,
			CropFraction: c.Data.Preprocess.Crop, Interpolation: c.Data.Preprocess.Interpolation, Order: c.Data.Preprocess.Order},
		Runtime: b.o.Runtime, Seed: d.Seed, Cache: b.o.Cache, Force: b.o.Force, SkipBench: !b.o.Bench, Log: b.o.Log,
	}
	if o.Align == 0 {
		o.Align = target.Align
	}
	o.Fuse, o.Opset, o.Precision = target.Fuse, target.Opset, target.Precision
	if !o.Budget.IsZero() && target.MaxLatency > 0 && o.Budget.MinAccuracy == 0 && (o.Budget.MaxLatency == 0 || target.MaxLatency < o.Budget.MaxLatency) {
		o.Budget.MaxLatency = target.MaxLatency
	}
	if !o.Budget.IsZero() && target.MaxMemory > 0 && o.Budget.MinAccuracy == 0 && (o.Budget.MaxMemory == 0 || target.MaxMemory < o.Budget.MaxMemory) {
		o.Budget.MaxMemory = target.MaxMemory
	}
	o.latencyThreads = target.Threads
	for i, text := range d.Strategies {
		part, strategy, ok := strings.Cut(text, "=")
		at := slices.IndexFunc(Parts, func(p passes.Part) bool { return p.Name == part })
		if !ok || at < 0 {
			return o, &fault.Error{Kind: fault.Usage, Where: fmt.Sprintf("defaults.strategies[%d]", i), Got: fmt.Sprintf("%q", text), Want: "PART=STRATEGY, as in select=second"}
		}
		*Parts[at].Of(&o.Strategies) = strategy
	}
	return o.withDefaults()
}

// prepare opens the base and settles the tasks, finds out which models earlier
// runs have finished, and lays out the steps that are left. A task that makes
// no sense is an error of its models only.
func (b *batch) prepare(ctx context.Context) error {
	eng, err := start(b.o.Runtime)
	if err != nil {
		return err
	}
	if !b.o.DryRun {
		if err := os.MkdirAll(b.c.Output.Dir, 0o755); err != nil {
			return &fault.Error{Kind: fault.IO, File: b.c.Output.Dir, Where: "output.dir", Err: err}
		}
		b.sweep()
	}
	common, err := b.options(b.c.Tasks[0], b.c.Sizes[0], b.c.Targets[0])
	if err != nil {
		return err
	}
	if b.base, err = openBase(ctx, eng, common); err != nil {
		return err
	}
	common.MultiLabel = common.MultiLabel || b.base.file.multi
	if b.images, err = openImages(common); err != nil {
		return err
	}
	for _, t := range b.c.Tasks {
		bt := &batchTask{name: t.Name}
		o, err := b.taskOptions(t, common.MultiLabel)
		if err == nil {
			bt.task, err = newTask(ctx, b.base, b.images, o)
		}
		if bt.err = err; ctx.Err() != nil {
			return err
		}
		b.tasks = append(b.tasks, bt)
		for _, s := range b.c.Sizes {
			for _, at := range b.c.Targets {
				o, err := b.options(t, s, at)
				m := &batchModel{o: o, task: bt, BatchModel: BatchModel{Task: t.Name, Size: s.Label(), Target: at.Name, Output: o.Output, Status: Planned}}
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
func (b *batch) taskOptions(t configs.Task, multi bool) (Options, error) {
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
	b.tell(BatchProgress{Step: "base", State: "running", Stage: "clean"})
	began := time.Now()
	s, _, err := b.base.fork(ctx, b.tasks[0].options(b.o))
	if err != nil {
		return err
	}
	b.tell(BatchProgress{Step: "base", State: "done", Took: time.Since(began)})
	if b.guess, err = b.base.estimate(ctx, s, b.c.Defaults, b.images); err != nil {
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
		key := t.name + "\n" + m.Size + "\n" + m.o.sizeKey()
		if sizes[key] == nil {
			name := t.name + " " + m.Size
			if m.o.Budget.MaxLatency > 0 {
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
	b.todo = append(b.todo, BatchStep{Name: s.Name, Seconds: n.Seconds, Memory: n.Memory})
}

// plan lists what a run would do. As many of the largest steps as there are
// cores may run at a time, if they fit the limit.
func (b *batch) plan() *BatchResult {
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
func (t *batchTask) options(o BatchOptions) Options {
	if t.task != nil {
		return t.task.o
	}
	return Options{Log: o.Log, Progress: func(string, int, int) {}}
}

// sizeKey tells sizes apart that targets do not share.
func (o Options) sizeKey() string {
	if o.Budget.IsZero() {
		return fmt.Sprint(o.Align)
	}
	key := fmt.Sprint(o.Align, o.Norms, o.Budget)
	if o.Budget.MaxLatency > 0 {
		key += fmt.Sprint(" threads ", o.latencyThreads)
	}
	return key
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
	b.tell(BatchProgress{Finished: finished, Models: len(b.models)})
	err := steps.Run(ctx, b.steps, steps.Budget{Cores: b.o.Cores, Memory: b.o.Memory}, func(s *steps.Step) {
		if m := names[s]; m != nil {
			switch s.State {
			case steps.Done:
				m.Status, m.Seconds = Made, s.Took.Seconds()
				finished++
			case steps.Failed, steps.Passed:
				m.fail(inFile(b.c.Base, s.Err))
			}
		}
		p := BatchProgress{Step: s.Name, State: [...]string{"waiting", "running", "done", "failed", "passed over"}[s.State], Err: s.Err, Took: s.Took,
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
func (b *batch) tell(p BatchProgress) {
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
		b.tell(BatchProgress{Step: step, State: "running", Stage: stage, Done: done, Total: total})
	}
}

func (b *batch) result() *BatchResult {
	r := &BatchResult{Base: b.c.Base}
	for _, m := range b.models {
		r.Models = append(r.Models, m.BatchModel)
	}
	return r
}

// writeIndex writes a page and a document over all models, and those of each
// model beside it.
func (b *batch) writeIndex(r *BatchResult) error {
	index := &report.Batch{Schema: report.Schema, Title: "Models of " + filepath.Base(b.c.Base)}
	for i, m := range r.Models {
		e := report.Entry{Task: m.Task, Size: m.Size, Target: m.Target, Status: m.Status, Error: m.Error, Result: m.Result}
		if m.Result != nil {
			stem := strings.TrimSuffix(filepath.Base(m.Output), filepath.Ext(m.Output))
			e.Status, e.Report, e.Page = report.Done, stem+".json", stem+".html"
			r.Models[i].Result = m.Result
		}
		index.Models = append(index.Models, e)
	}
	write := func(name string, content func(io.Writer) error) error {
		return replaceFile(filepath.Join(b.c.Output.Dir, name), content)
	}
	document := func(v any) func(io.Writer) error {
		return func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			return e.Encode(v)
		}
	}
	for i := range index.Models {
		e := &index.Models[i]
		if e.Result == nil {
			continue
		}
		if err := write(e.Report, document(e.Result)); err != nil {
			return err
		}
		if err := write(e.Page, func(w io.Writer) error { return e.Result.WriteHTML(w, index.Sizes(e)...) }); err != nil {
			return err
		}
	}
	r.Index = filepath.Join(b.c.Output.Dir, "index.html")
	if err := write("index.json", document(index)); err != nil {
		return err
	}
	return write("index.html", index.WriteHTML)
}
