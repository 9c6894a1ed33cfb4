package task

import (
	"context"
	"sync"
	"time"

	"nuwa/internal/data"
	"nuwa/internal/engine"
	"nuwa/internal/files"
	"nuwa/internal/measure"
	"nuwa/internal/modelfile"
	"nuwa/passes"
)

// Base is a model that slim ones are made of, opened once for any number of
// tasks. What costs time is found out when it is first asked for.
type Base struct {
	Eng  *engine.Engine
	File *modelfile.File

	store Memo // where what is found out about it is kept

	mu         sync.Mutex
	state      *passes.State // cleaned, with its structure found; nil until then
	reports    []passes.Report
	size       *measure.Size
	digest     string
	latency    time.Duration         // of one image; 0 until measured
	logits     map[string]int        // by preprocessing
	normalized map[string]normalized // by the images that decided
}

// OpenBase reads the model that o names.
func OpenBase(ctx context.Context, eng *engine.Engine, o Options) (*Base, error) {
	if o.Cache != "" {
		go Program() // which takes a while
	}
	f, err := modelfile.OpenAny(ctx, eng, o.Preprocess, o.Labels, o.Model)
	if err != nil {
		return nil, err
	}
	if f.NoImages != nil && (o.Calibration != "synthetic" || o.Data != "" || o.Test != "") {
		return nil, f.NoImages
	}
	o.Log.Info("base", "model", o.Model, "preprocess", f.Pre.String(), "from", f.PreFrom)
	b := &Base{Eng: eng, File: f, logits: map[string]int{}, normalized: map[string]normalized{}}
	b.store, err = b.memo(o)
	return b, err
}

// Fork returns a State to learn a task on: the cleaned model, and the reports
// of cleaning it.
func (b *Base) Fork(ctx context.Context, o Options) (*passes.State, []passes.Report, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == nil {
		s := &passes.State{Model: b.File.Model.Clone(), Engine: b.Eng, Log: o.Log, Progress: o.Progress}
		var reports []passes.Report
		err := b.store.recalling(s, "runs of cleaning", func() (err error) {
			reports, err = (&passes.Manager{}).Run(ctx, s, passes.Cleaning)
			return err
		})
		if err != nil {
			return nil, nil, err
		}
		b.state, b.reports = s, reports
	}
	s := b.state.Fork()
	s.Log, s.Progress = o.Log, o.Progress
	return s, b.reports, nil
}

// Sizes returns how large the file's model is, before anything is done to it.
func (b *Base) Sizes(ctx context.Context) (measure.Size, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.size == nil {
		var size measure.Size
		err := b.store.remember("size", &size, func() (err error) {
			size, err = modelfile.SizeOf(ctx, b.Eng, b.File.Model, b.File.Path)
			return err
		})
		if err != nil {
			return size, err
		}
		b.size = &size
	}
	return *b.size, nil
}

// Latency returns roughly how long one image takes, as it was measured once.
func (b *Base) Latency(ctx context.Context) (time.Duration, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.latency > 0 {
		return b.latency, nil
	}
	err := b.store.remember("latency", &b.latency, func() error {
		m, err := measure.Open(b.File.Source(), b.Eng)
		if err != nil {
			return err
		}
		defer m.Close()
		bench, err := measure.Bench(ctx, []*measure.Model{m}, measure.BenchOptions{Image: modelfile.ImageDims(b.File.Model), Warmup: 1, Runs: 3})
		if err == nil {
			b.latency = bench.Models[0].Median / time.Duration(max(1, bench.Batch))
		}
		return err
	})
	return b.latency, err
}

// Logits returns how many logits the model gives for images that are prepared as
// f says, the first of set or, without one, noise.
func (b *Base) Logits(ctx context.Context, f *modelfile.File, set *data.Set) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := "logits for " + f.Pre.String()
	if n, ok := b.logits[key]; ok {
		return n, nil
	}
	var n int
	err := b.store.remember(key, &n, func() error {
		m, err := measure.Open(f.Source(), b.Eng)
		if err != nil {
			return err
		}
		defer m.Close()
		images, err := measure.Noise(m, 1, 1)
		if err != nil && set == nil {
			return err
		}
		if set != nil {
			images = measure.FromSet(set, f.Pre)
		}
		n, err = m.Logits(ctx, images)
		return err
	})
	if err == nil {
		b.logits[key] = n
	}
	return n, err
}

// SHA256 returns the digest of the file.
func (b *Base) SHA256() (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var err error
	if b.digest == "" {
		b.digest, err = files.Digest(b.File.Path)
	}
	return b.digest, err
}
