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
	own := &Cores{}
	own.Add(e.workers - 1)
	s := &sweeper[T, R]{run: run, see: see, lenders: [2]*Cores{own, e.Spare}}
	defer s.stop()
	most := int64(math.MaxInt) // jobs that are not seen, by the memory that results take; one until that is known
	if weigh != nil {
		most = 1
	}
	for item, err := range items {
		if err != nil {
			return err
		}
		j := &job[T, R]{item: item, done: make(chan struct{})}
		if s.queue = append(s.queue, j); most == 1 {
			s.work(j)
			if weigh != nil && j.err == nil {
				most = max(1, sweepBytes/max(1, weigh(j.res)))
				weigh = nil
			}
		} else if s.hand(j) {
			s.help()
		}
		if err := s.settle(min(most-1, s.ahead())); err != nil {
			return err
		}
	}
	return s.settle(0)
}

// job is an item, and what comes of it.
type job[T, R any] struct {
	item T
	res  R
	err  error
	done chan struct{}
}

// sweeper runs jobs, with helpers on cores that it is lent. It hands one more job to
// them than there are, so that none waits for the next item to be read.
type sweeper[T, R any] struct {
	run     func(T) (R, error)
	see     func(T, R) error
	lenders [2]*Cores
	queue   []*job[T, R] // not seen, in order

	mu      sync.Mutex
	todo    []*job[T, R] // of the queue, not begun
	helpers int
	helping sync.WaitGroup
}

func (s *sweeper[T, R]) work(j *job[T, R]) {
	defer close(j.done)
	defer func() {
		if p := recover(); p != nil {
			j.err = fmt.Errorf("a panic: %v", p)
		}
	}()
	j.res, j.err = s.run(j.item)
}

// hand puts j among the jobs to do, and begins a helper on a core that is free. It
// reports whether there are more jobs than helpers.
func (s *sweeper[T, R]) hand(j *job[T, R]) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.todo = append(s.todo, j)
	for _, lender := range s.lenders {
		if lender.lend() {
			s.helpers++
			s.helping.Go(func() {
				defer lender.Add(1)
				for j := s.take(true); j != nil; j = s.take(true) {
					s.work(j)
				}
			})
			break
		}
	}
	return len(s.todo) > s.helpers
}

// take returns the next job to do, nil when there is none, on which a helper ends.
func (s *sweeper[T, R]) take(helper bool) *job[T, R] {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.todo) == 0 {
		if helper {
			s.helpers--
		}
		return nil
	}
	j := s.todo[0]
	s.todo = s.todo[1:]
	return j
}

// help does a job, if there is one to do, and reports whether there was.
func (s *sweeper[T, R]) help() bool {
	j := s.take(false)
	if j != nil {
		s.work(j)
	}
	return j != nil
}

// settle sees jobs that are done, in order, and waits for those without which more
// than most would be left.
func (s *sweeper[T, R]) settle(most int64) error {
	for len(s.queue) > 0 {
		j := s.queue[0]
		select {
		case <-j.done:
		default:
			if int64(len(s.queue)) <= most {
				return nil
			}
			if !s.help() {
				<-j.done
			}
			continue
		}
		s.queue = s.queue[1:]
		if j.err != nil {
			return j.err
		}
		if err := s.see(j.item, j.res); err != nil {
			return err
		}
	}
	return nil
}

// ahead returns how many jobs may be done before the first that is not.
func (s *sweeper[T, R]) ahead() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(2 * (1 + s.helpers))
}

// stop waits for helpers, which begin no more jobs.
func (s *sweeper[T, R]) stop() {
	s.mu.Lock()
	s.todo = nil
	s.mu.Unlock()
	s.helping.Wait()
}
