package examine

import (
	"context"
	"time"

	"nuwa/internal/engine"
	"nuwa/internal/measure"
	"nuwa/internal/modelfile"
)

// BenchOptions say what Bench shall time.
type BenchOptions struct {
	Models   []string      `json:"-"`
	Batch    int           // images per run; 0 for 1, or the batch a model fixes
	Runs     int           // rounds at least; 0 means 30
	Warmup   int           // rounds that do not count; 0 means 3
	MinTime  time.Duration // go on until the rounds took so long
	Size     int           // image side, for models that leave it open
	Seed     uint64
	Runtime  modelfile.Runtime                   `json:"-"`
	Progress func(stage string, done, total int) `json:"-"`
}

// Bench times models in turns: the honest figure on a busy machine is the
// ratio within each round.
func Bench(ctx context.Context, o BenchOptions) (*measure.Benchmark, error) {
	eng, err := o.Runtime.Start()
	if err != nil {
		return nil, err
	}
	var files []*modelfile.File
	for _, path := range o.Models {
		f, err := modelfile.Open(ctx, eng, modelfile.Preprocess{Size: o.Size}, "", path)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	modelfile.TellApart(files...)
	return BenchFiles(ctx, eng, o, files...)
}

// BenchFiles times opened models in turns; o.Models is ignored.
func BenchFiles(ctx context.Context, eng *engine.Engine, o BenchOptions, files ...*modelfile.File) (*measure.Benchmark, error) {
	var models []*measure.Model
	defer func() {
		for _, m := range models {
			m.Close()
		}
	}()
	for _, f := range files {
		m, err := measure.Open(f.Source(), eng)
		if err != nil {
			return nil, err
		}
		models = append(models, m)
	}
	return measure.Bench(ctx, models, measure.BenchOptions{
		Batch: o.Batch, Runs: o.Runs, Warmup: o.Warmup, MinTime: o.MinTime, Seed: o.Seed,
		Image: modelfile.ImageDims(files[0].Model), Progress: modelfile.Stage(o.Progress, "bench"),
	})
}
