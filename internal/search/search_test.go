package search_test

import (
	"errors"
	"math"
	"testing"

	"nuwa/internal/search"
)

// Whatever falls with the rate is met and nearly so, in few trials.
func TestLowest(t *testing.T) {
	for name, value := range map[string]func(rate float64) float64{
		"in step": func(r float64) float64 { return 1 - r },
		"slower":  func(r float64) float64 { return 1 - 0.6*r },
		"faster":  func(r float64) float64 { return 1 / (1 + 4*r) },
		"bent":    func(r float64) float64 { return 1 - r*r },
		"steps":   func(r float64) float64 { return math.Ceil(100*(1-r)) / 100 },
		"noise":   func(r float64) float64 { return 1 - 0.8*r + 0.01*math.Sin(1000*r) },
	} {
		for _, limit := range []float64{0.99, 0.9, 0.7, 0.5, 0.45} {
			tried, at := 0, map[float64]float64{}
			rate, err := search.Lowest(func(r float64) (float64, error) {
				tried++
				at[r] = value(r)
				return value(r)/limit - 1, nil
			})
			if err != nil || at[rate] > limit || at[rate] < 0.95*limit || tried > 8 {
				t.Errorf("%s, limit %g: rate %g gives %g after %d trials, %v", name, limit, rate, at[rate], tried, err)
			}
		}
	}
}

func TestLowestLimits(t *testing.T) {
	if rate, err := search.Lowest(func(float64) (float64, error) { return -0.5, nil }); rate != 0 || err != nil {
		t.Errorf("rate %g for a model that is small enough, %v", rate, err)
	}
	reach := func(most float64) search.Try {
		return func(r float64) (float64, error) {
			if r > most {
				return 0, search.ErrBeyond
			}
			return (1-r)/0.3 - 1, nil
		}
	}
	if rate, err := search.Lowest(reach(0.75)); err != nil || rate < 0.7 || rate > 0.73 {
		t.Errorf("rate %g, %v", rate, err)
	}
	if _, err := search.Lowest(reach(0.5)); !errors.Is(err, search.ErrNone) {
		t.Errorf("got %v", err)
	}
	broken := errors.New("broken")
	for _, find := range []func(search.Try) (float64, error){search.Lowest, search.Highest} {
		if _, err := find(func(r float64) (float64, error) {
			if r > 0 {
				return 0, broken
			}
			return 0.1, nil
		}); err == nil {
			t.Error("no error")
		}
	}
}

func TestHighest(t *testing.T) {
	for _, most := range []float64{0, 0.02, 0.4, 0.77, 0.96} {
		tried := 0
		rate, err := search.Highest(func(r float64) (float64, error) {
			tried++
			if r > 0.9 {
				return 0, search.ErrBeyond
			}
			return r - most, nil
		})
		if want := min(most, 0.9); err != nil || rate > want || rate < want-0.01 || tried > 9 {
			t.Errorf("rate %g for %g after %d trials, %v", rate, want, tried, err)
		}
	}
	if _, err := search.Highest(func(float64) (float64, error) { return 0.1, nil }); !errors.Is(err, search.ErrNone) {
		t.Errorf("got %v", err)
	}
}
