// Package passes runs the pipeline that turns a base model into a slim one.
//
// A Pass is a plain struct; pipeline.go lists all of them in the one order in
// which they run, each constraint with its reason. The Manager runs the list
// over a State and holds every pass to its word: the graph stays sound, the
// signature stays the same unless the pass says otherwise, shapes are inferred
// again by execution, and an exact pass gives equal outputs before and after.
//
//	s := &passes.State{Model: m, Engine: eng, Options: opt}
//	reports, err := (&passes.Manager{}).Run(ctx, s, passes.Pipeline)
//
// The work itself is done by the packages below this one, which export plain
// functions on graphs and know nothing of passes.
package passes
