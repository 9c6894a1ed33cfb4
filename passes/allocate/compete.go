package allocate

import (
	"cmp"
	"slices"
)

// Choice is one way to make a part: its widths, what it costs with them, and
// how much is predicted to be lost.
type Choice struct {
	Widths     []int
	Cost, Loss float64
}

// Competition lets parts of any kind compete for a budget: where the next
// choice adds least loss per cost saved, it is made. That walks down the lower
// convex hull of each part's choices, all hulls at one slope, so that no choices
// of the same total cost lose less where losses are convex in costs (a Lagrangian
// argument); a choice that saves nothing, or that loses more than one that
// costs no more, is passed over.
type Competition struct {
	Parts  [][]Choice // what each part may become; the first is what it is
	Now    float64    // cost with every part as it is
	Target float64    // cost wanted
}

// Outcome is what a competition ends with.
type Outcome struct {
	Chosen []Choice // by part
	Cost   float64
	Loss   float64
}

// Least returns the cost with every part at its cheapest.
func (c Competition) Least() float64 {
	least := c.Now
	for _, choices := range c.Parts {
		cheapest := slices.MinFunc(choices, func(a, b Choice) int { return cmp.Compare(a.Cost, b.Cost) })
		least -= choices[0].Cost - cheapest.Cost
	}
	return least
}

// Run makes choices until the target is met, as nearly as they allow: one that
// would overshoot by more than stopping short does is not made.
func (c Competition) Run() Outcome {
	o := Outcome{Cost: c.Now}
	open := make([][]Choice, len(c.Parts)) // that are worth their cost, and below the present one
	for i, choices := range c.Parts {
		o.Chosen = append(o.Chosen, choices[0])
		open[i] = efficient(choices)
	}
	for {
		part, next, least := -1, 0, 0.0
		for i, now := range o.Chosen {
			for k, x := range open[i] {
				saved := now.Cost - x.Cost
				if saved <= 0 || saved > 2*(o.Cost-c.Target) {
					continue
				}
				if slope := (x.Loss - now.Loss) / saved; part < 0 || slope < least {
					part, next, least = i, k, slope
				}
			}
		}
		if part < 0 {
			break
		}
		x := open[part][next]
		o.Cost -= o.Chosen[part].Cost - x.Cost
		o.Chosen[part], open[part] = x, open[part][next+1:]
	}
	for _, x := range o.Chosen {
		o.Loss += x.Loss
	}
	return o
}

// efficient returns the choices that lose less than all that cost no more,
// dearest first.
func efficient(choices []Choice) []Choice {
	byCost := slices.Clone(choices)
	slices.SortStableFunc(byCost, func(a, b Choice) int { return cmp.Or(cmp.Compare(a.Cost, b.Cost), cmp.Compare(a.Loss, b.Loss)) })
	var best []Choice
	for _, x := range byCost {
		if len(best) == 0 || x.Loss < best[len(best)-1].Loss {
			best = append(best, x)
		}
	}
	slices.Reverse(best)
	return best
}

// Widths lists the widths that one of now may become: itself and the multiples
// of align below, largest first.
func Widths(now, align int) []int {
	widths := []int{now}
	for w := (now - 1) / align * align; w > 0; w -= align {
		widths = append(widths, w)
	}
	return widths
}
