// Package report owns what a derivation reports: the document that is printed
// and written as JSON, and pages of it.
//
//	res, err := nuwa.Derive(ctx, options)
//	...
//	err = res.WriteHTML(w)                                     // the page of one model
//	err = report.Together([]*report.Result{a, b}).WriteHTML(w) // a table, curves, and each model
//
// docs/report.schema.json is the schema of a Result, docs/batch.schema.json that of
// a Batch. Pages are single files that load nothing, follow the reader's choice of
// light or dark, and say all they have to say without their script, which sorts
// and searches tables.
package report
