// Package task is what all sizes of a model for the same wanted classes share:
// a base, opened and cleaned once; images that calibrate and images that judge,
// never the same; and the base brought so far that only the widths are open.
// It also owns the options of a derivation.
//
//	b, err := task.OpenBase(ctx, eng, o)
//	im, err := task.OpenImages(o)
//	t, err := task.New(ctx, b, im, o)
//	err = t.Learn(ctx, slices.Concat(passes.Anchoring, passes.Learning))
package task
