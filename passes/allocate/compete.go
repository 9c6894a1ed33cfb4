package allocate

// Contender is one width in a competition.
type Contender struct {
	Width int                     // now
	Cost  float64                 // of one channel
	Loss  func(width int) float64 // predicted at a width
}

// Competition lets widths of any kind compete for a budget: where the next
// step adds least loss per cost saved, it is taken. For convex losses that is
// the choice of widths with the least sum of losses (a Lagrangian argument:
// the marginal loss per cost ends up equal everywhere).
type Competition struct {
	Contenders []Contender
	Now        float64 // cost with all contenders at their width
	Target     float64 // cost wanted
	Align      int     // widths are multiples of it; a present width is admissible too
}

// Outcome is what a competition ends with.
type Outcome struct {
	Widths []int
	Cost   float64
	Loss   float64
}

// Least returns the cost with every width at its least.
func (c Competition) Least() float64 {
	least := c.Now
	for _, x := range c.Contenders {
		least -= x.Cost * float64(x.Width-min(x.Width, c.Align))
	}
	return least
}

// Run takes steps until the target is met, as nearly as they allow: one that
// would overshoot by more than stopping short does is not taken.
func (c Competition) Run() Outcome {
	o := Outcome{Cost: c.Now}
	losses := make([]float64, len(c.Contenders)) // at the present width
	for i, x := range c.Contenders {
		o.Widths = append(o.Widths, x.Width)
		losses[i] = x.Loss(x.Width)
	}
	for {
		best, width := -1, 0
		var cheapest, loss, saved float64
		for i, x := range c.Contenders {
			w := Below(o.Widths[i], c.Align)
			s := float64(o.Widths[i]-w) * x.Cost
			if w == 0 || s > 2*(o.Cost-c.Target) {
				continue
			}
			l := x.Loss(w)
			if rel := (l - losses[i]) / s; best < 0 || rel < cheapest {
				best, width, cheapest, loss, saved = i, w, rel, l, s
			}
		}
		if best < 0 {
			break
		}
		o.Widths[best], losses[best] = width, loss
		o.Cost -= saved
	}
	for _, l := range losses {
		o.Loss += l
	}
	return o
}

// Below returns the largest multiple of align under width, 0 where there is
// none.
func Below(width, align int) int { return (width - 1) / align * align }
