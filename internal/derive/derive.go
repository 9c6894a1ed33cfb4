package derive

import (
	"context"
	"slices"
	"time"

	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/files"
	"nuwa/internal/report"
	"nuwa/internal/task"
	"nuwa/passes"
)

// Derive makes a slim model and, unless o.DryRun, writes it.
func Derive(ctx context.Context, o task.Options) (*report.Result, error) {
	o, err := task.WithDefaults(o)
	if err != nil {
		return nil, err
	}
	eng, err := o.Runtime.Start()
	if err != nil {
		return nil, err
	}
	res, err := derive(ctx, eng, o, false, slices.Concat(passes.Anchoring, passes.Learning), passes.Slimming, passes.Finishing)
	return res, fault.InFile(o.Model, err)
}

// derive makes one model of one size of one task of one base, by the given
// passes.
func derive(ctx context.Context, eng *engine.Engine, o task.Options, unmask bool, learning, slimming, finishing []passes.Pass) (*report.Result, error) {
	began := time.Now()
	if !o.DryRun {
		if err := files.Vacant(o.Output, o.Force, o.Model); err != nil {
			return nil, err
		}
	}
	b, err := task.OpenBase(ctx, eng, o)
	if err != nil {
		return nil, err
	}
	o.MultiLabel = o.MultiLabel || b.File.Multi
	im, err := task.OpenImages(o)
	if err != nil {
		return nil, err
	}
	defer im.Close()
	t, err := task.New(ctx, b, im, o)
	if err != nil {
		return nil, err
	}
	t.Unmask = unmask
	if err := t.Learn(ctx, learning); err != nil {
		return nil, err
	}
	s, err := SizeFor(ctx, t, o, slimming, finishing)
	if err != nil {
		return nil, err
	}
	m, err := s.Spell(ctx, o, finishing)
	if err != nil {
		return nil, err
	}
	m.began = began
	if err := m.Finish(ctx); err != nil {
		return nil, err
	}
	return m.Result, t.DropCheckpoint()
}
