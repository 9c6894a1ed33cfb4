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
	res, err := derive(ctx, eng, o, false, slices.Concat(passes.Anchoring, passes.Learning), passes.Slimming, passes.Finishing)
	return res, inFile(o.Model, err)
}

// derive makes one model of one size of one task of one base, by the given
// passes.
func derive(ctx context.Context, eng *engine.Engine, o Options, unmask bool, learning, slimming, finishing []passes.Pass) (*Result, error) {
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
	s, err := t.size(ctx, o, slimming, finishing)
	if err != nil {
		return nil, err
	}
	m, err := s.newSlim(ctx, o, finishing)
	if err != nil {
		return nil, err
	}
	m.began = began
	if err := m.finish(ctx); err != nil {
		return nil, err
	}
	return m.result, t.dropCheckpoint()
}
