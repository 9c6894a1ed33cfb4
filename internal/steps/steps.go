package steps

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// Step is a piece of work. The fields up to Free are the caller's, the rest is
// set by Run.
type Step struct {
	Name   string
	Needs  []*Step // run before it
	Cores  int     // that it keeps busy; 0 counts as 1
	Memory int64   // bytes that it takes while it runs
	Keeps  int64   // bytes of its result, until every step that needs it has ended
	Run    func(ctx context.Context) error
	Free   func() // drops the result; nil where there is nothing to drop

	Err   error // why there is no result; Skipped when a step that it needs has none
	Took  time.Duration
	State State

	waiting int // steps that it needs and that have not ended
	readers int // steps that need it and have not ended
	users   []*Step
}

// State is how far a step is.
type State int

// The states.
const (
	Waiting State = iota
	Running
	Done
	Failed
	Passed // over: a step that it needs has no result
)

// Skipped is the error of a step that was passed over.
type Skipped struct{ Step *Step }

// Error names the step that has no result.
func (s *Skipped) Error() string { return fmt.Sprintf("%s failed: %v", s.Step.Name, s.Step.Err) }

// Unwrap returns why it has none.
func (s *Skipped) Unwrap() error { return s.Step.Err }

// Budget limits what runs at a time. A step that is too large for it runs
// alone.
type Budget struct {
	Cores  int   // 0 counts as 1
	Memory int64 // 0 limits nothing
}

// Run runs all steps and returns when none is left that can run. What was begun
// gets finished first, so that results free memory; but a step that needs no other
// is begun as soon as fewer of its kind than there are cores have results in use,
// lest the last of them runs alone. Among equals, those that stand first in the
// list come first. watch is told of every change of state, one at a time. The error
// is that of the context.
func Run(ctx context.Context, list []*Step, limit Budget, watch func(*Step)) error {
	if watch == nil {
		watch = func(*Step) {}
	}
	r := runner{limit: limit, watch: watch, ended: make(chan *Step)}
	r.limit.Cores = max(1, limit.Cores)
	for _, s := range list {
		s.State, s.Err, s.users = Waiting, nil, nil
		s.waiting, s.readers = len(s.Needs), 0
	}
	for _, s := range list {
		for _, n := range s.Needs {
			n.readers++
			n.users = append(n.users, s)
		}
	}
	for {
		if ctx.Err() == nil {
			r.begin(ctx, list)
		}
		if r.running == 0 {
			return ctx.Err()
		}
		r.end(<-r.ended)
	}
}

type runner struct {
	limit   Budget
	watch   func(*Step)
	ended   chan *Step
	running int
	open    int // steps that need no other and that run or have results in use
	cores   int
	memory  int64
}

// begin starts what is ready and fits.
func (r *runner) begin(ctx context.Context, list []*Step) {
	for {
		next := r.next(list)
		if next == nil {
			return
		}
		next.State = Running
		r.running++
		if len(next.Needs) == 0 {
			r.open++
		}
		r.cores += next.cores()
		r.memory += next.Memory
		r.watch(next)
		go func() {
			began := time.Now()
			next.Err = next.run(ctx)
			next.Took = time.Since(began)
			r.ended <- next
		}()
	}
}

// next returns the step to begin, of those that are ready and fit.
func (r *runner) next(list []*Step) (best *Step) {
	for _, s := range list {
		if s.State == Waiting && s.waiting == 0 && r.fits(s) && (best == nil || r.rank(s) > r.rank(best)) {
			best = s
		}
	}
	return best
}

// rank is the higher the sooner a step is to begin: the more it needs, as that is
// freed the sooner, unless it is time to begin something new.
func (r *runner) rank(s *Step) int {
	if len(s.Needs) == 0 && r.open < r.limit.Cores {
		return math.MaxInt
	}
	return s.depth()
}

func (r *runner) fits(s *Step) bool {
	if r.running == 0 {
		return true
	}
	return r.cores+s.cores() <= r.limit.Cores && (r.limit.Memory == 0 || r.memory+s.Memory+s.Keeps <= r.limit.Memory)
}

func (s *Step) cores() int { return max(1, s.Cores) }

// depth counts the longest chain of steps that s needs.
func (s *Step) depth() (d int) {
	for _, n := range s.Needs {
		d = max(d, 1+n.depth())
	}
	return d
}

// run turns a panic into an error, so that it ends one step and not all.
func (s *Step) run(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a panic: %v", p)
		}
	}()
	return s.Run(ctx)
}

// end takes note of a step that has run.
func (r *runner) end(s *Step) {
	r.running--
	r.cores -= s.cores()
	r.memory -= s.Memory
	s.State = Done
	if s.Err != nil {
		s.State = Failed
	} else {
		r.memory += s.Keeps
	}
	r.watch(s)
	r.settle(s)
}

// settle tells the steps around s that it has ended.
func (r *runner) settle(s *Step) {
	for _, n := range s.Needs {
		if n.readers--; n.readers == 0 {
			r.free(n)
		}
	}
	if s.readers == 0 {
		r.free(s)
	}
	for _, u := range s.users {
		u.waiting--
		if s.State != Done && u.State == Waiting {
			u.State, u.Err = Passed, &Skipped{s}
			var skipped *Skipped
			if errors.As(s.Err, &skipped) {
				u.Err = skipped
			}
			r.watch(u)
			r.settle(u)
		}
	}
}

func (r *runner) free(s *Step) {
	if len(s.Needs) == 0 && (s.State == Done || s.State == Failed) {
		r.open--
	}
	if s.State != Done {
		return
	}
	r.memory -= s.Keeps
	if s.Free != nil {
		s.Free()
	}
}
