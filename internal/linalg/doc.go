// Package linalg owns the closed forms of the method in float64: the truncated
// singular value decomposition of a product of two skinny factors, the least
// squares that makes kept hidden neurons stand in for dropped ones, and the
// second-order elimination that chooses which neurons to drop.
//
// It knows nothing of graphs, models or ONNX. It may import gonum, nuwa/internal/blas
// to make that fast, and nuwa/internal/fault, nothing else.
//
// An attention head of width r is a pair of factors, r rows each, whose
// product Aᵀ·B is all that the head's output depends on:
//
//	f, err := linalg.Factor(wq, wk) // r×m and r×n
//	q, k := f.Truncate(16)          // 16×m and 16×n, qᵀ·k the nearest product of rank 16
//
// A hidden layer is its output weight W, one row per neuron (y = h·W), and the
// Moments of the activations h:
//
//	fit, err := linalg.Reconstruct(moments, w, keep, linalg.Options{Affine: true})
//
// Matrices that are too close to singular do not fail: a ridge is raised until
// the solve is sound, and the Condition that comes back says so in numbers.
// Errors are left for input that has no answer: numbers that are not finite,
// shapes that do not fit, moments that no data can have.
//
// Every function is deterministic: equal input gives equal bits on the same
// machine, whatever the number of threads.
package linalg

import _ "nuwa/internal/blas" // gonum's products, in ONNX Runtime
