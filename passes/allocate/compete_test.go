package allocate

import (
	"math"
	"math/rand/v2"
	"testing"
)

// convex makes contenders whose losses are convex in the width.
func convex(rng *rand.Rand, n, width int, equal bool) []Contender {
	var out []Contender
	for range n {
		loss := make([]float64, width+1)
		step := rng.Float64()
		for w := width - 1; w >= 0; w-- {
			loss[w] = loss[w+1] + step
			step *= 1 + rng.Float64()
		}
		x := Contender{Width: width, Cost: 1, Loss: func(w int) float64 { return loss[w] }}
		if !equal {
			x.Cost = 1 + 9*rng.Float64()
		}
		out = append(out, x)
	}
	return out
}

// With equal costs and convex losses, no other widths of the same cost lose
// less.
func TestCompetitionIsOptimal(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 2))
		c := Competition{Contenders: convex(rng, 4, 5, true), Now: 30, Target: 30 - float64(rng.IntN(14)), Align: 1}
		o := c.Run()
		if o.Cost != c.Target {
			t.Errorf("seed %d: cost %g, want %g", seed, o.Cost, c.Target)
		}
		best := math.Inf(1)
		for code := range 625 {
			cost, loss := c.Now, 0.0
			for _, x := range c.Contenders {
				w := 1 + code%5
				code /= 5
				cost, loss = cost-float64(5-w), loss+x.Loss(w)
			}
			if cost == c.Target {
				best = math.Min(best, loss)
			}
		}
		if math.Abs(o.Loss-best) > 1e-9 {
			t.Errorf("seed %d: loss %g, the least is %g", seed, o.Loss, best)
		}
	}
}

func TestCompetitionMeetsTheTargetInMultiples(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 4))
		align := []int{1, 4, 8}[seed%3]
		c := Competition{Contenders: convex(rng, 5, 30, false), Now: 1000, Align: align}
		least := c.Least()
		c.Target = least + (c.Now-least)*rng.Float64()
		o := c.Run()
		cost, most := c.Now, 0.0
		for i, w := range o.Widths {
			if w != 30 && w%align != 0 || w < align {
				t.Errorf("seed %d: width %d in multiples of %d", seed, w, align)
			}
			cost -= float64(30-w) * c.Contenders[i].Cost
			most = math.Max(most, c.Contenders[i].Cost*float64(align))
		}
		if math.Abs(cost-o.Cost) > 1e-9 || math.Abs(cost-c.Target) > most/2+1e-9 {
			t.Errorf("seed %d: cost %g, said to be %g, wanted %g with steps of up to %g", seed, cost, o.Cost, c.Target, most)
		}
	}
}

func TestBelow(t *testing.T) {
	for _, c := range []struct{ width, align, want int }{
		{64, 8, 56}, {60, 8, 56}, {16, 8, 8}, {8, 8, 0}, {9, 8, 8}, {7, 8, 0}, {2, 1, 1}, {1, 1, 0},
	} {
		if got := Below(c.width, c.align); got != c.want {
			t.Errorf("below %d in multiples of %d: %d, want %d", c.width, c.align, got, c.want)
		}
	}
}
