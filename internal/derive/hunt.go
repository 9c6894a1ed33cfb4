package derive

import (
	"context"
	"errors"
	"fmt"
	"math"

	"nuwa/internal/fault"
	"nuwa/internal/lowering"
	"nuwa/internal/report"
	"nuwa/internal/search"
	"nuwa/internal/task"
	"nuwa/passes"
)

// SizeFor slims what the task has learned: to the rate or the widths of o, or to
// the rate that its budget asks for, which is found by trying. That is a share of
// what the budget limits, unless o says what it is a share of.
func SizeFor(ctx context.Context, t *task.Task, o task.Options, slimming, finishing []passes.Pass) (*Size, error) {
	if o.Budget.IsZero() {
		return NewSize(ctx, t, o, 0, slimming)
	}
	free := o.Strategies.Cost == ""
	if free {
		o.Strategies.Cost = o.Budget.Cost()
	}
	var c clock
	defer c.stop()
	h := &hunt{Task: t, o: o, free: free, limits: limits(o.Budget, &c), found: &report.Found{}, slimming: slimming, finishing: finishing}
	for round := range rounds {
		if err := h.search(ctx); err != nil {
			return nil, err
		}
		settled, err := h.settled(ctx)
		if err != nil {
			return nil, err
		}
		confirmed, err := h.confirmed(ctx)
		if err != nil {
			return nil, err
		}
		if settled && confirmed || round == rounds-1 {
			break
		}
		way := h.best.size.state.Options
		h.known, h.o.Merge, h.o.Strategies.Cost = true, way.Merge, way.Recipe.Cost
	}
	s := h.best.size
	h.found.Limits = h.best.limits
	s.budget, s.choice = h.found, h.best.slim.choice
	return s, nil
}

// rounds limits how often a search is made anew because the size that it found
// has to be quantized otherwise than it supposed, or is timed otherwise.
const rounds = 3

// room is what part of a latency a search leaves free: what is timed later is
// slower about as often as it is faster.
const room = 0.025

// drift is how far the time of the size that was found may be from the limit when
// it is timed once more, as a part of it: the machine may have been slower or
// faster when the search began.
const drift = 0.1

// hunt is a search for the size that a budget asks for.
type hunt struct {
	*task.Task
	o                   task.Options
	free                bool // what parts compete for is not asked for
	known               bool // which way is best, from an earlier round
	limits              []limit
	found               *report.Found
	slimming, finishing []passes.Pass

	choice *lowering.Choice // how candidates are quantized; nil until the first was
	best   *candidate       // nil where nothing has met the limits yet
}

// candidate is a size that meets the limits.
type candidate struct {
	size   *Size
	slim   *Slim // a draft of it
	limits []report.Limit
}

// search finds the best size that meets the limits. Where latency is one of them,
// merging half as many tokens, or none, is tried as well, and having parts compete
// for MACs: what they are timed to take by themselves does not tell all.
func (h *hunt) search(ctx context.Context) error {
	asked := h.o
	defer func() { h.o = asked }()
	ways := []func() error{func() error { return h.rates(ctx) }}
	way := func(change func(o *task.Options)) {
		ways = append(ways, func() error {
			h.o = asked
			change(&h.o)
			return h.rates(ctx)
		})
	}
	if h.o.Budget.MaxLatency > 0 && !h.known {
		if merge := h.o.Merge; merge > 0 {
			way(func(o *task.Options) { o.Merge = merge / 2 })
			way(func(o *task.Options) { o.Merge = 0 })
		}
		if h.free && h.o.Strategies.Cost == passes.CostLatency && task.RecipeOf(h.o).Allocate == passes.AllocateSensitivity {
			way(func(o *task.Options) { o.Strategies.Cost = passes.CostMACs })
		}
	}
	return h.better(ctx, ways)
}

// rates finds the best rate, and at it the best split.
func (h *hunt) rates(ctx context.Context) error {
	h.best = nil
	try := func(rate float64) (float64, error) { return h.try(ctx, rate, 0) }
	find := search.Lowest
	if h.o.Budget.MinAccuracy > 0 {
		find = search.Highest
	}
	_, err := find(try)
	if errors.Is(err, search.ErrNone) {
		return unmet(h.limits)
	}
	if err != nil {
		return err
	}
	return h.splits(ctx)
}

// settled reports whether the size that was found is as accurate as it has to be
// when it is quantized as the search supposed. If not, what it takes is known for
// the next search.
func (h *hunt) settled(ctx context.Context) (bool, error) {
	if h.choice == nil {
		return true, nil
	}
	h.best.size.choice = h.choice
	m, err := h.best.size.Spell(ctx, h.best.slim.o, h.finishing)
	if err != nil || lowering.Within(m.quantized.Single-m.quantized.Accuracy, lowering.DefaultDrop, m.quantized.Validated) {
		return err == nil, err
	}
	h.best.size.choice = nil
	if m, err = h.best.size.spell(ctx, h.best.slim.o, h.finishing, true); err != nil {
		return false, err
	}
	both, more := h.choice.Merge(*m.choice)
	h.choice = &both
	return !more, nil
}

// confirmed times the size that was found once more, by all that is known of the
// machine by then, and reports whether it is as fast as it has to be and hardly
// faster.
func (h *hunt) confirmed(ctx context.Context) (bool, error) {
	for i, l := range h.limits {
		if l.What != "latency" {
			continue
		}
		met, err := l.measure(ctx, h.best.slim)
		if err != nil {
			return false, err
		}
		was := h.best.limits[i].Met
		h.best.limits[i].Met = met
		o := h.best.size.state.Options
		again := report.Trial{Rate: o.Rate, Cost: o.Recipe.Cost, Split: o.Split, Merge: o.Merge}
		for _, l := range h.best.limits {
			again.Values = append(again.Values, l.Met)
		}
		h.found.Trials = append(h.found.Trials, again)
		h.o.Log.Info("budget", "what", l.What, "found", was, "again", met)
		return met <= l.Bound && (met >= l.Bound*(1-drift) || met >= was*(1-drift)), nil
	}
	return true, nil
}

// try makes a model and returns by how much it misses the limits. The best of
// those that meet them is kept: the one of lowest rate, or, for an accuracy, of
// highest. split is how the recipe's rule is departed from; 0 for not at all.
func (h *hunt) try(ctx context.Context, rate, split float64) (excess float64, err error) {
	at := h.o
	at.Rate, at.Budget = rate, task.Budget{}
	trial := report.Trial{Rate: rate, Cost: task.RecipeOf(at).Cost, Split: split, Merge: at.Merge}
	s, err := NewSize(ctx, h.Task, at, split, h.slimming)
	if fault.KindOf(err) == fault.Unreachable {
		h.found.Trials = append(h.found.Trials, trial)
		return 0, search.ErrBeyond
	}
	if err != nil {
		return 0, err
	}
	s.choice = h.choice
	m, err := s.spell(ctx, at, h.finishing, true)
	if err != nil {
		return 0, err
	}
	h.choice = m.choice
	excess = math.Inf(-1)
	for i := range h.limits {
		l := &h.limits[i]
		if l.Met, err = l.measure(ctx, m); err != nil {
			return 0, err
		}
		trial.Values = append(trial.Values, l.Met)
		if l.What == "accuracy" {
			excess = l.Bound - l.Met
			continue
		}
		wanted := l.Bound
		if l.What == "latency" {
			wanted *= 1 - room
		}
		excess = max(excess, l.Met/wanted-1)
	}
	h.found.Trials = append(h.found.Trials, trial)
	h.o.Log.Info("budget", "rate", rate, "split", split, "excess", excess)
	h.o.Progress("search", len(h.found.Trials), 0)
	if h.best == nil || split > 0 || (rate > h.best.size.state.Options.Rate) == (h.o.Budget.MinAccuracy > 0) {
		h.take(s, m, excess)
	}
	return excess, nil
}

// take makes a model the best one if it meets the limits.
func (h *hunt) take(s *Size, m *Slim, excess float64) {
	if excess > 0 {
		return
	}
	h.best = &candidate{size: s, slim: m}
	for _, l := range h.limits {
		h.best.limits = append(h.best.limits, l.Limit)
	}
}

// others are the ways to depart from a rule that says how much attention loses
// of its squared singular values: by these factors.
var others = []float64{0.5, 1.5, 2.5}

// splits tries, at the rate that was found, to have attention lose less or more
// than the recipe's ρ rule says and hidden layers the rest, and keeps what is
// most accurate on images set apart for choosing. A recipe without such a rule
// has nothing to try; without such images the rule stays.
func (h *hunt) splits(ctx context.Context) error {
	rule := h.best
	rate := rule.size.state.Options.Rate
	if task.RecipeOf(h.o).Allocate == passes.AllocateSensitivity || rate == 0 {
		return nil
	}
	ways := []func() error{func() error { h.best = rule; return nil }}
	for _, split := range others {
		ways = append(ways, func() error {
			_, err := h.try(ctx, rate, split)
			return err
		})
	}
	return h.better(ctx, ways)
}

// better goes all ways and keeps, of what they lead to, what is most accurate on
// images set apart for choosing; the first where there are none. It fails where
// the first way does and nothing else leads anywhere.
func (h *hunt) better(ctx context.Context, ways []func() error) error {
	var kept *candidate
	var failed error
	quality := math.Inf(-1)
	for i, way := range ways {
		h.best = nil
		switch err := way(); {
		case errors.Is(err, search.ErrBeyond), fault.KindOf(err) == fault.Unreachable:
			if failed == nil {
				failed = err
			}
			continue
		case err != nil:
			return err
		case h.best == nil: // it does not meet the limits
			continue
		}
		if kept == nil && i == len(ways)-1 {
			kept = h.best // there is nothing to choose from
			break
		}
		q, err := h.best.slim.validate(ctx)
		if fault.KindOf(err) == fault.Data {
			if kept == nil {
				kept = h.best
			}
			break
		}
		if err != nil {
			return err
		}
		if kept == nil || q > quality {
			kept, quality = h.best, q
		}
	}
	h.best = kept
	if kept == nil {
		return failed
	}
	return nil
}

// unmet words that no rate meets the limits, as last measured.
func unmet(limits []limit) error {
	e := &fault.Error{Kind: fault.Unreachable, Where: "budget", Remedy: "ask for less, or give a smaller --align"}
	for _, l := range limits {
		if (l.Met > l.Bound) != (l.What == "accuracy") {
			e.Where, e.Want, e.Got = "budget: "+l.What, fmt.Sprintf("%.4g", l.Bound), fmt.Sprintf("%.4g at the nearest", l.Met)
		}
	}
	return e
}
