// Package steps runs pieces of work that need each other's results: each once,
// as many at a time as a budget of memory and cores allows.
//
//	open := &steps.Step{Name: "base", Run: ...}
//	a := &steps.Step{Name: "a", Needs: []*steps.Step{open}, Memory: 1 << 30, Run: ...}
//	b := &steps.Step{Name: "b", Needs: []*steps.Step{open}, Memory: 1 << 30, Run: ...}
//	steps.Run(ctx, []*steps.Step{open, a, b}, steps.Budget{Cores: 2, Memory: 4 << 30}, nil)
//
// A step that fails takes with it only those that need it. The package imports
// nothing of nuwa.
package steps
