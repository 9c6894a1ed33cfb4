package measure

import (
	"math"
	"slices"
)

// z is the 97.5 % quantile of the standard normal distribution, which bounds a
// two-sided 95 % interval.
const z = 1.959963984540054

// Interval holds the true value with 95 % confidence.
type Interval struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// wilson returns the score interval (Wilson 1927) for a share of which k of n
// were seen:
//
//	(p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n),  p = k/n
func wilson(k, n int) Interval {
	if n == 0 {
		return Interval{0, 1}
	}
	f, p := float64(n), float64(k)/float64(n)
	mid := p + z*z/(2*f)
	half := z * math.Sqrt(p*(1-p)/f+z*z/(4*f*f))
	d := 1 + z*z/f
	return Interval{max(0, (mid-half)/d), min(1, (mid+half)/d)}
}

// quantile returns the q-quantile of sorted numbers, interpolated linearly.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// medianInterval returns the interval for the median between the order
// statistics of rank r = n/2 − z√n/2, rounded, and n+1−r, which needs no
// assumption on how the numbers are distributed. Very few numbers give their
// whole range.
func medianInterval(sorted []float64) Interval {
	n := float64(len(sorted))
	r := max(int(math.Round(n/2-z*math.Sqrt(n)/2)), 1)
	return Interval{sorted[r-1], sorted[len(sorted)-r]}
}

// sorted returns the numbers in ascending order.
func sorted(xs []float64) []float64 {
	out := slices.Clone(xs)
	slices.Sort(out)
	return out
}

// relativeSpread is the distance between the quartiles over the median.
func relativeSpread(sorted []float64) float64 {
	return (quantile(sorted, 0.75) - quantile(sorted, 0.25)) / quantile(sorted, 0.5)
}
