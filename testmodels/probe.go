package testmodels

import "math"

// ProbeInput returns the image [1, 3, size, size] that the Probe logits of a
// Case belong to: x[i] = sin(i) in row-major order.
func ProbeInput(size int) []float32 {
	x := make([]float32, 3*size*size)
	for i := range x {
		x[i] = float32(math.Sin(float64(i)))
	}
	return x
}
