// Package search finds the rate at which a model meets limits, by trying as
// few rates as it can: each trial makes a model. It imports nothing of nuwa.
//
//	rate, err := search.Lowest(func(rate float64) (float64, error) {
//		return bytes(rate)/limit - 1, nil
//	})
package search

import (
	"errors"
	"math"
)

// Try returns by how much a model of a rate misses its limits, at most zero
// where it meets them; ErrBeyond for a rate that cannot be reached.
type Try func(rate float64) (excess float64, err error)

// Errors.
var (
	ErrBeyond = errors.New("a rate that cannot be reached")
	ErrNone   = errors.New("no rate meets the limits")
)

const (
	top    = 0.98  // the highest rate that is tried
	grain  = 0.002 // rates nearer to each other are not told apart
	close  = 0.03  // how far below its limits Lowest is content with a model
	trials = 14
)

// Lowest returns the lowest rate whose excess is at most zero. The excess, which
// counts relative to the limit, falls with the rate about evenly, so that
// interpolation is quick; it is content once the excess is above -0.03.
func Lowest(try Try) (float64, error) {
	first, err := try(0)
	if err != nil || first <= 0 {
		return 0, err
	}
	low, over := 0.0, first
	high, under, met := top, 0.0, false
	for trial := range trials {
		aim := over + close/2 // how far the excess shall fall from low on
		x := (low + high) / 2
		switch {
		case trial%4 == 3: // in case the excess does not fall evenly at all
		case met:
			x = low + (high-low)*aim/(over-under)
		case low > 0 && over < first:
			x = low + low*aim/(first-over)
		case low == 0:
			x = 1 - (1-close/2)/(1+first) // as if what is limited shrinks by the rate
		}
		if high-low < 2*grain {
			break
		}
		x = round(min(max(x, low+grain), high-grain))
		excess, err := try(x)
		switch {
		case errors.Is(err, ErrBeyond):
			high, met = x, false
		case err != nil:
			return 0, err
		case excess > 0:
			low, over = x, excess
		default:
			high, under, met = x, excess, true
			if excess >= -close {
				return x, nil
			}
		}
	}
	if !met {
		return 0, ErrNone
	}
	return high, nil
}

// Highest returns the highest rate whose excess is at most zero, by halving:
// the excess grows with the rate, unevenly.
func Highest(try Try) (float64, error) {
	excess, err := try(0)
	if err != nil {
		return 0, err
	}
	if excess > 0 {
		return 0, ErrNone
	}
	low, high := 0.0, 1.0
	for high-low > 0.01 {
		x := round((low + high) / 2)
		excess, err := try(x)
		switch {
		case errors.Is(err, ErrBeyond) || err == nil && excess > 0:
			high = x
		case err != nil:
			return 0, err
		default:
			low = x
		}
	}
	return low, nil
}

// round keeps rates short.
func round(x float64) float64 { return math.Round(x*1e4) / 1e4 }
