package chart

import (
	"math"
	"strconv"
)

// scale maps numbers to pixels.
type scale struct {
	from, to float64 // numbers
	at, end  float64 // pixels
	step     float64 // between ticks
}

// newScale covers lo to hi with about n steps of 1, 2 or 5 times a power of
// ten. It starts at a tick, and with whole it ends at one.
func newScale(lo, hi float64, n int, whole bool) scale {
	if hi-lo <= 1e-9*math.Max(math.Abs(lo), math.Abs(hi)) { // one number: give it room
		pad := math.Max(math.Abs(hi)*0.05, 1e-3)
		if lo != 0 {
			lo -= pad
		}
		hi += pad
	}
	s := scale{step: niceStep((hi - lo) / float64(n))}
	s.from = math.Floor(lo/s.step+1e-9) * s.step
	s.to = hi + 0.03*(hi-lo)
	if whole {
		s.to = math.Ceil(hi/s.step-1e-9) * s.step
	}
	return s
}

// niceStep returns the smallest of 1, 2 and 5 times a power of ten that is at
// least x.
func niceStep(x float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(x)))
	for _, k := range []float64{1, 2, 5} {
		if k*power >= x*(1-1e-9) {
			return k * power
		}
	}
	return 10 * power
}

// ticks are the multiples of the step within the scale.
func (s scale) ticks() []float64 {
	var out []float64
	for i := int(math.Ceil(s.from/s.step - 1e-9)); float64(i)*s.step <= s.to+1e-9*s.step; i++ {
		out = append(out, float64(i)*s.step)
	}
	return out
}

// name prints a tick with as many decimals as its step has.
func (s scale) name(tick float64) string {
	decimals := 0
	if tick != 0 {
		decimals = max(0, int(math.Ceil(-math.Log10(s.step)-1e-9)))
	}
	return strconv.FormatFloat(tick, 'f', decimals, 64)
}

// pixel returns the place of a number.
func (s scale) pixel(x float64) float64 {
	return round(s.at + (x-s.from)/(s.to-s.from)*(s.end-s.at))
}

func round(x float64) float64 { return math.Round(10*x) / 10 }
