// Package lowering turns a model into the form that a consumer wants where that
// takes running it: half precision, 8-bit integers as far as accuracy allows, and
// the nodes that an execution provider takes.
//
//	halves, singles, err := lowering.Half(ctx, eng, m)
package lowering
