package nuwa

import (
	"context"
	"slices"
	"time"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/measure"
)

// Summary holds accuracy, size, agreement and latency of models side by side.
type Summary = measure.Summary

// Benchmark holds latencies taken in turns.
type Benchmark = measure.Benchmark

// CompareOptions say what Compare shall measure.
type CompareOptions struct {
	Base, Slim string
	Data       string   // images, class per folder, or a CSV as in Options; "" compares size and latency only
	Classes    []string // wanted classes; none, or "all", takes those that the slim model decides among
	Labels     string   // class names of the base
	ImageRoot  string   // as in Options
	MultiLabel bool     // as in Options
	Batch      int
	Preprocess Preprocess
	Runtime    Runtime
	Bench      BenchOptions // Models is ignored
	SkipBench  bool
	Progress   func(stage string, done, total int)
}

// Compare holds a slim model against its base.
func Compare(ctx context.Context, o CompareOptions) (*Summary, error) {
	eng, err := start(o.Runtime)
	if err != nil {
		return nil, err
	}
	base, err := open(ctx, eng, o.Preprocess, o.Labels, o.Base)
	if err != nil {
		return nil, err
	}
	slim, err := open(ctx, eng, o.Preprocess, "", o.Slim)
	if err != nil {
		return nil, err
	}
	if base.preFrom == fromDefaults && slim.preFrom == fromMetadata && slices.Equal(imageDims(base.model), imageDims(slim.model)) {
		base.pre, base.preFrom = slim.pre, "the slim model's metadata" // it was derived so
	}
	tellApart(base, slim)
	sum := &Summary{Models: []measure.Report{{Name: base.label()}, {Name: slim.label()}}}
	for i, f := range []*opened{base, slim} {
		size, err := sizeOf(ctx, eng, f.model, f.path)
		if err != nil {
			return nil, inFile(f.path, err)
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
		if sum.Bench, err = benchOpened(ctx, eng, b, base, slim); err != nil {
			return nil, err
		}
	}
	return sum, nil
}

func (o CompareOptions) accuracies(ctx context.Context, eng *engine.Engine, base, slim *opened, sum *Summary) error {
	set, err := openSet(o.Data, o.ImageRoot, o.MultiLabel || slim.multi)
	if err != nil {
		return err
	}
	defer set.Close()
	sj, err := slim.judge(ctx, eng, set, nil)
	if err != nil {
		return err
	}
	defer sj.model.Close()
	bj, err := base.judge(ctx, eng, set, nil)
	if err != nil {
		return err
	}
	defer bj.model.Close()
	var pairs []measure.Pair
	for c := range set.Classes {
		if b, s := bj.classOf[c], sj.classOf[c]; b >= 0 && s >= 0 && (slim.wanted == nil || slices.Contains(slim.wanted, s)) {
			pairs = append(pairs, measure.Pair{First: b, Second: s})
		}
	}
	if !wantsAll(o.Classes) {
		wanted, err := base.resolve(o.Classes, set.Classes, bj.logits)
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
	bj.wanted, sj.wanted = nil, nil
	for _, p := range pairs {
		bj.wanted, sj.wanted = append(bj.wanted, p.First), append(sj.wanted, p.Second)
	}
	if sum.Models[0].Accuracy, err = bj.accuracy(ctx, o.Batch, progress(o.Progress, "evaluate base")); err != nil {
		return err
	}
	if sum.Models[1].Accuracy, err = sj.accuracy(ctx, o.Batch, progress(o.Progress, "evaluate slim")); err != nil {
		return err
	}
	sum.Agreement, err = measure.Agree(ctx, bj.model, sj.model, bj.images, pairs, measure.AgreeOptions{
		Batch: o.Batch, ClassOf: bj.classOf, Progress: progress(o.Progress, "compare"),
	})
	return err
}

// BenchOptions say what Bench shall time.
type BenchOptions struct {
	Models   []string      `json:"-"`
	Batch    int           // images per run; 0 for 1, or the batch a model fixes
	Runs     int           // rounds at least; 0 means 30
	Warmup   int           // rounds that do not count; 0 means 3
	MinTime  time.Duration // go on until the rounds took so long
	Size     int           // image side, for models that leave it open
	Seed     uint64
	Runtime  Runtime                             `json:"-"`
	Progress func(stage string, done, total int) `json:"-"`
}

// Bench times models in turns: the honest figure on a busy machine is the
// ratio within each round.
func Bench(ctx context.Context, o BenchOptions) (*Benchmark, error) {
	eng, err := start(o.Runtime)
	if err != nil {
		return nil, err
	}
	var files []*opened
	for _, path := range o.Models {
		f, err := open(ctx, eng, Preprocess{Size: o.Size}, "", path)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	tellApart(files...)
	return benchOpened(ctx, eng, o, files...)
}

func benchOpened(ctx context.Context, eng *engine.Engine, o BenchOptions, files ...*opened) (*Benchmark, error) {
	var models []*measure.Model
	defer func() {
		for _, m := range models {
			m.Close()
		}
	}()
	for _, f := range files {
		m, err := measure.Open(measure.Source{Name: f.label(), Path: f.path}, eng)
		if err != nil {
			return nil, err
		}
		models = append(models, m)
	}
	return measure.Bench(ctx, models, measure.BenchOptions{
		Batch: o.Batch, Runs: o.Runs, Warmup: o.Warmup, MinTime: o.MinTime, Seed: o.Seed,
		Image: imageDims(files[0].model), Progress: progress(o.Progress, "bench"),
	})
}

// imageDims returns the dimensions of one image, which open has settled.
func imageDims(m *graph.Model) []int64 {
	if feeds := engine.Feeds(m); len(feeds) == 1 {
		if dims, ok := feeds[0].Type.Dims(); ok && len(dims) > 1 {
			return dims[1:]
		}
	}
	return nil
}
