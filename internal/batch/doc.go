// Package batch makes models for many tasks, sizes and targets of one
// configuration: as steps that share what they can, within a budget of cores and
// memory, going on where an earlier run ended.
//
//	r, err := batch.Run(ctx, batch.Options{Config: c, Cache: dir})
package batch
