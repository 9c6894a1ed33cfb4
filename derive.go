package nuwa

import (
	"context"
	"slices"
	"time"

	"nuwa/internal/engine"
	"nuwa/passes"
)

// Derive makes a slim model and, unless o.DryRun, writes it.
func Derive(ctx context.Context, o Options) (*Result, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	eng, err := start(o.Runtime)
	if err != nil {
		return nil, err
	}
	res, err := derive(ctx, eng, o, false, slices.Concat(passes.Anchoring, passes.Learning), passes.Slimming)
	return res, inFile(o.Model, err)
}

// derive makes one size of one task of one base, learning and slimming by the
// given passes.
func derive(ctx context.Context, eng *engine.Engine, o Options, unmask bool, learning, slimming []passes.Pass) (*Result, error) {
	began := time.Now()
	if !o.DryRun {
		if err := vacant(o.Output, o.Force, o.Model); err != nil {
			return nil, err
		}
	}
	b, err := openBase(ctx, eng, o)
	if err != nil {
		return nil, err
	}
	o.MultiLabel = o.MultiLabel || b.file.multi
	im, err := openImages(o)
	if err != nil {
		return nil, err
	}
	defer im.close()
	t, err := newTask(ctx, b, im, o)
	if err != nil {
		return nil, err
	}
	t.unmask = unmask
	if err := t.learn(ctx, learning); err != nil {
		return nil, err
	}
	s, err := t.newSize(ctx, o, slimming)
	if err != nil {
		return nil, err
	}
	s.began = began
	if err := s.finish(ctx); err != nil {
		return nil, err
	}
	return s.result, t.dropCheckpoint()
}
