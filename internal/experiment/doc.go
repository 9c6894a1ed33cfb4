// Package experiment compares recipes over a grid of models, tasks, rates and
// seeds, sharing between neighboring cells what does not differ.
//
//	r, err := experiment.Run(ctx, experiment.Options{Config: "grid.yaml", Output: "docs"})
package experiment
