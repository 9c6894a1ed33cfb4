package engine_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"nuwa/internal/engine"
)

// items yields 0 … n−1, and then err if it is not nil.
func items(n int, err error) func(func(int, error) bool) {
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(i, nil) {
				return
			}
		}
		if err != nil {
			yield(0, err)
		}
	}
}

// Results come in order, as many at a time as there are threads and spare cores,
// which are given back.
func TestSweep(t *testing.T) {
	huge, small := func(int) int64 { return 5 << 30 }, func(int) int64 { return 100 }
	for _, c := range []struct {
		threads, spare int
		weigh          func(int) int64
		most           int
	}{{1, 0, nil, 1}, {3, 0, nil, 3}, {1, 2, nil, 3}, {2, -1, nil, 2}, {3, 2, huge, 1}, {3, 0, small, 3}} {
		e := (&engine.Engine{Threads: c.threads, Spare: &engine.Cores{}}).Sweeping()
		e.Spare.Add(c.spare)
		var running, most atomic.Int64
		var got []int
		for range 2 {
			got = nil
			err := engine.Sweep(e, items(40, nil), func(i int) (int, error) {
				most.Store(max(most.Load(), running.Add(1)))
				time.Sleep(time.Duration(i%3) * time.Millisecond)
				running.Add(-1)
				return i * i, nil
			}, c.weigh, func(i, square int) error {
				if square != i*i {
					t.Errorf("%d gives %d", i, square)
				}
				got = append(got, i)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for i, x := range got {
			if i != x {
				t.Fatalf("seen in the order %v", got)
			}
		}
		if len(got) != 40 || most.Load() != int64(c.most) {
			t.Errorf("%d threads, %d spare: %d results, %d at a time, not %d", c.threads, c.spare, len(got), most.Load(), c.most)
		}
	}
}

// Whatever fails, the first error in the order of items comes back, and nothing
// runs any more by then.
func TestSweepFails(t *testing.T) {
	bad := errors.New("bad")
	for what, c := range map[string]struct {
		items    error
		run, see int
		seen     int
	}{
		"an item":  {bad, 100, 100, -1},
		"a run":    {nil, 7, 100, 7},
		"a look":   {nil, 100, 7, 8},
		"a panic":  {nil, -7, 100, 7},
		"run, see": {nil, 9, 5, 6},
	} {
		e := (&engine.Engine{Threads: 3}).Sweeping()
		var now atomic.Int64
		seen := 0
		err := engine.Sweep(e, items(30, c.items), func(i int) (int, error) {
			now.Add(1)
			defer now.Add(-1)
			time.Sleep(time.Duration(3-i%3) * time.Millisecond)
			switch i {
			case c.run:
				return 0, bad
			case -c.run:
				panic("bad")
			}
			return i, nil
		}, nil, func(i, _ int) error {
			seen++
			if i == c.see {
				return bad
			}
			return nil
		})
		if err == nil || !errors.Is(err, bad) && fmt.Sprint(err) != "a panic: bad" {
			t.Errorf("%s: got %v", what, err)
		}
		if c.seen >= 0 && seen != c.seen {
			t.Errorf("%s: %d results seen, want %d", what, seen, c.seen)
		}
		if now.Load() != 0 {
			t.Errorf("%s: %d still run", what, now.Load())
		}
	}
}
