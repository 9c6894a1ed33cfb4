// Package derive makes slim models: it brings a learned task to a size, for a
// rate, for widths, or for limits that a search meets, spells it for what runs
// it, proves the file and writes it.
//
//	size, err := derive.SizeFor(ctx, t, o, passes.Slimming, passes.Finishing)
//	m, err := size.Spell(ctx, o, passes.Finishing)
//	err = m.Finish(ctx)
package derive
