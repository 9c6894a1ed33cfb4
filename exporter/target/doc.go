// Package target says what a device or runtime wants of a model: an opset, a
// set of operators, multiples of widths, a precision, a batch.
//
//	t, err := target.Preset("raspberry-pi")
//	violations := target.Check(model, t)
//
// A Target only states wishes. What a model is turned into to meet them is the
// business of the passes; whether it meets them is for Check to say. The
// package may import graph and internal/fault.
package target
