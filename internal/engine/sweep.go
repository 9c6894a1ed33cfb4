package engine

import (
	"fmt"
	"iter"
	"math"
	"sync"
	"sync/atomic"

	"nuwa/internal/ort"
)

// Cores counts the cores that nothing runs on. The zero value has none.
type Cores struct{ free atomic.Int64 }

// Add takes note of n cores more, or of −n that are in use from now on. There may
// be fewer than none for a while, as what helps out finishes first.
func (c *Cores) Add(n int) { c.free.Add(int64(n)) }

// lend takes a core if one is free.
func (c *Cores) lend() bool {
	if c == nil || c.free.Add(-1) >= 0 {
		return c != nil
	}
	c.free.Add(1)
	return false
}

// Sweeping returns e for sessions that Sweep runs: on the CPU, as many runs of one
// thread at a time as e has threads, which takes less time than runs of many
// threads one after the other, and gives the same numbers for any of them.
func (e *Engine) Sweeping() *Engine {
	s := *e
	if len(e.Providers) == 0 {
		s.Threads, s.workers = 1, ort.ThreadCount(e.Threads)
	} else {
		s.Spare = nil
	}
	return &s
}

// SweepSamples is how many samples the CPU is fastest with: as many as make the
// most of weights that were read, while activations stay in the cache.
const SweepSamples = 4

// sweepBytes is how much memory results may take that are waiting to be seen.
const sweepBytes = 4 << 30

// Sweep calls run for every item, and see with what it gives, in the order of the
// items. As many calls of run go on at a time as an engine from Sweeping has
// workers, and more while cores are spare, but none whose results might take too
// much memory: weigh returns the bytes of one, which others are taken to be like;
// nil where they hardly take any. see is called by one at a time.
func Sweep[T, R any](e *Engine, items iter.Seq2[T, error], run func(T) (R, error), weigh func(R) int64, see func(T, R) error) error {
	type job struct {
		item T
		res  R
		err  error
		done chan struct{}
	}
	var queue []*job // begun, and not seen
	settle := func(most int) error {
		for len(queue) > 0 {
			j := queue[0]
			select {
			case <-j.done:
			default:
				if len(queue) <= most {
					return nil
				}
				<-j.done
			}
			queue = queue[1:]
			if j.err != nil {
				return j.err
			}
			if err := see(j.item, j.res); err != nil {
				return err
			}
		}
		return nil
	}
	var helping sync.WaitGroup
	defer helping.Wait()
	var helpers atomic.Int64
	own := &Cores{}
	own.Add(e.workers - 1)
	most := int64(math.MaxInt) // of the queue, by the memory that it takes; one until that is known
	if weigh != nil {
		most = 1
	}
	for item, err := range items {
		if err != nil {
			return err
		}
		j := &job{item: item, done: make(chan struct{})}
		queue = append(queue, j)
		work := func() {
			defer close(j.done)
			defer func() {
				if p := recover(); p != nil {
					j.err = fmt.Errorf("a panic: %v", p)
				}
			}()
			j.res, j.err = run(item)
		}
		var lender *Cores
		switch {
		case most == 1:
		case own.lend():
			lender = own
		case e.Spare.lend():
			lender = e.Spare
		}
		if lender == nil {
			work()
			if weigh != nil && j.err == nil {
				most = max(1, sweepBytes/max(1, weigh(j.res)))
				weigh = nil
			}
		} else {
			helpers.Add(1)
			helping.Go(func() {
				defer lender.Add(1)
				defer helpers.Add(-1)
				work()
			})
		}
		if err := settle(int(min(most-1, 1+helpers.Load()))); err != nil {
			return err
		}
	}
	return settle(0)
}
