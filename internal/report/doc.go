// Package report owns what a derivation reports: the document that is printed
// and written as JSON. It may import passes, passes/purify and
// internal/measure.
package report
