package steps_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"nuwa/internal/steps"
)

// Random graphs: every step runs once, after what it needs, within the budget;
// results are freed once, when nothing reads them any more; steps behind one
// that failed are passed over.
func TestRandomGraphs(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		limit := steps.Budget{Cores: 1 + rng.IntN(3), Memory: int64(10 + rng.IntN(10))}
		var mu sync.Mutex
		var cores, running int
		var memory int64
		runs, freed := map[*steps.Step]int{}, map[*steps.Step]int{}
		var list []*steps.Step
		for i := range 5 + rng.IntN(20) {
			s := &steps.Step{Name: fmt.Sprint("step ", i), Cores: rng.IntN(3), Memory: int64(rng.IntN(8)), Keeps: int64(rng.IntN(4))}
			for _, n := range list {
				if rng.IntN(4) == 0 {
					s.Needs = append(s.Needs, n)
				}
			}
			fails, wait := rng.IntN(8) == 0, time.Duration(rng.IntN(300))*time.Microsecond
			s.Run = func(context.Context) error {
				mu.Lock()
				runs[s]++
				running++
				cores += max(1, s.Cores)
				memory += s.Memory
				if running > 1 && (cores > limit.Cores || memory > limit.Memory) {
					t.Errorf("seed %d: %d cores and %d bytes at a time", seed, cores, memory)
				}
				for _, n := range s.Needs {
					if n.State != steps.Done || freed[n] > 0 {
						t.Errorf("seed %d: %s runs and %s has no result", seed, s.Name, n.Name)
					}
				}
				mu.Unlock()
				time.Sleep(wait)
				mu.Lock()
				defer mu.Unlock()
				running--
				cores -= max(1, s.Cores)
				memory -= s.Memory
				if fails {
					return errors.New("no luck")
				}
				return nil
			}
			s.Free = func() { mu.Lock(); freed[s]++; mu.Unlock() }
			list = append(list, s)
		}
		seen := 0
		if err := steps.Run(t.Context(), list, limit, func(*steps.Step) { seen++ }); err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			behind := false
			for _, n := range s.Needs {
				behind = behind || n.State != steps.Done
			}
			switch {
			case behind && (s.State != steps.Passed || runs[s] != 0 || !strings.Contains(s.Err.Error(), "no luck")):
				t.Errorf("seed %d: %s: %d runs, state %d, %v", seed, s.Name, runs[s], s.State, s.Err)
			case !behind && (runs[s] != 1 || s.State != steps.Done && s.State != steps.Failed):
				t.Errorf("seed %d: %s: %d runs, state %d", seed, s.Name, runs[s], s.State)
			case s.State == steps.Done && freed[s] != 1 || s.State != steps.Done && freed[s] != 0:
				t.Errorf("seed %d: %s: freed %d times in state %d", seed, s.Name, freed[s], s.State)
			}
		}
	}
}

func TestInterruptedAndPanics(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	a := &steps.Step{Name: "a", Run: func(context.Context) error { cancel(); return nil }}
	b := &steps.Step{Name: "b", Needs: []*steps.Step{a}, Run: func(context.Context) error { t.Error("ran after the end"); return nil }}
	if err := steps.Run(ctx, []*steps.Step{a, b}, steps.Budget{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	c := &steps.Step{Name: "c", Run: func(context.Context) error { panic("ouch") }}
	d := &steps.Step{Name: "d", Run: func(context.Context) error { return nil }}
	if err := steps.Run(t.Context(), []*steps.Step{c, d}, steps.Budget{}, nil); err != nil || c.State != steps.Failed || d.State != steps.Done {
		t.Errorf("got %v, %v, %v", err, c.Err, d.Err)
	}
}

// Of three lines of work on two cores, the third is begun as soon as one of the
// others is through, not when all that is left is the third.
func TestLastLineIsNotAlone(t *testing.T) {
	var list, behind []*steps.Step
	run := func(context.Context) error {
		time.Sleep(time.Millisecond)
		return nil
	}
	done := false // with the first line that is through
	for _, name := range []string{"a", "b", "c"} {
		root := &steps.Step{Name: name, Run: run, Free: func() { done = true }}
		list = append(list, root)
		for range 4 {
			behind = append(behind, &steps.Step{Name: name + " on", Needs: []*steps.Step{root}, Run: run})
		}
	}
	checked := false
	watch := func(s *steps.Step) {
		if done && !checked && s.State == steps.Running {
			checked = true
			if s.Name != "c" {
				t.Errorf("%s is begun when a line is through", s.Name)
			}
		}
	}
	if err := steps.Run(t.Context(), append(list, behind...), steps.Budget{Cores: 2}, watch); err != nil || !checked {
		t.Errorf("%v, looked: %t", err, checked)
	}
}
