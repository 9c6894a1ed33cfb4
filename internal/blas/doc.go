// Package blas has ONNX Runtime multiply gonum's large matrices: importing it
// makes gonum's factorizations, and all that is built on them, several times as
// fast. What is small, and all else that BLAS is, stays gonum's.
//
//	import _ "nuwa/internal/blas"
//
// A program that has chosen another BLAS for gonum keeps it. Once ONNX Runtime is
// loaded, equal operands give equal bits, whatever the number of threads. The
// package may import graph, internal/engine and internal/ort.
package blas
