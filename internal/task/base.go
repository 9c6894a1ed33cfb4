package task

import (
	"context"
	"sync"

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

	mu         sync.Mutex
	state      *passes.State // cleaned, with its structure found; nil until then
	reports    []passes.Report
	size       *measure.Size
	digest     string
	normalized map[string]normalized // by the images that decided
}

// OpenBase reads the model that o names.
func OpenBase(ctx context.Context, eng *engine.Engine, o Options) (*Base, error) {
	f, err := modelfile.OpenAny(ctx, eng, o.Preprocess, o.Labels, o.Model)
	if err != nil {
		return nil, err
	}
	if f.NoImages != nil && (o.Calibration != "synthetic" || o.Data != "" || o.Test != "") {
		return nil, f.NoImages
	}
	o.Log.Info("base", "model", o.Model, "preprocess", f.Pre.String(), "from", f.PreFrom)
	return &Base{Eng: eng, File: f, normalized: map[string]normalized{}}, nil
}

// Fork returns a State to learn a task on: the cleaned model, and the reports
// of cleaning it.
func (b *Base) Fork(ctx context.Context, o Options) (*passes.State, []passes.Report, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == nil {
		s := &passes.State{Model: b.File.Model.Clone(), Engine: b.Eng, Log: o.Log, Progress: o.Progress}
		reports, err := (&passes.Manager{}).Run(ctx, s, passes.Cleaning)
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
		size, err := modelfile.SizeOf(ctx, b.Eng, b.File.Model, b.File.Path)
		if err != nil {
			return size, err
		}
		b.size = &size
	}
	return *b.size, nil
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
