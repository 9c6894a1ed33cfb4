package allocate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// convex makes parts of one width each whose losses are convex in it.
func convex(rng *rand.Rand, n, width, align int, equal bool) [][]Choice {
	var parts [][]Choice
	for range n {
		loss := make([]float64, width+1)
		step := rng.Float64()
		for w := width - 1; w >= 0; w-- {
			loss[w] = loss[w+1] + step
			step *= 1 + rng.Float64()
		}
		cost := 1.0
		if !equal {
			cost += 9 * rng.Float64()
		}
		var choices []Choice
		for _, w := range Widths(width, align) {
			choices = append(choices, Choice{Widths: []int{w}, Cost: cost * float64(w), Loss: loss[w]})
		}
		parts = append(parts, choices)
	}
	return parts
}

// total returns the cost of parts as they are.
func total(parts [][]Choice) float64 {
	sum := 0.0
	for _, p := range parts {
		sum += p[0].Cost
	}
	return sum
}

// least returns the least loss of any choices that together cost no more than
// budget, by trying all.
func least(parts [][]Choice, budget float64) float64 {
	if len(parts) == 0 {
		return 0
	}
	best := math.Inf(1)
	for _, x := range parts[0] {
		if x.Cost <= budget+1e-9 {
			best = math.Min(best, x.Loss+least(parts[1:], budget-x.Cost))
		}
	}
	return best
}

// With equal costs and convex losses, no other widths of the same cost lose
// less.
func TestCompetitionIsOptimal(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 2))
		parts := convex(rng, 4, 5, 1, true)
		c := Competition{Parts: parts, Now: total(parts)}
		c.Target = c.Now - float64(rng.IntN(14))
		o := c.Run()
		if o.Cost != c.Target {
			t.Errorf("seed %d: cost %g, want %g", seed, o.Cost, c.Target)
		}
		if best := least(parts, c.Target); math.Abs(o.Loss-best) > 1e-9 {
			t.Errorf("seed %d: loss %g, the least is %g", seed, o.Loss, best)
		}
	}
}

// Whatever costs and losses are, no choices that cost as little lose less where
// the target lies on the hull: there, every choice made is worth its slope.
func TestCompetitionIsOptimalOnTheHull(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 7))
		var parts [][]Choice
		for range 4 {
			choices := []Choice{{Cost: 100}}
			for range 6 {
				choices = append(choices, Choice{Cost: 100 * rng.Float64(), Loss: rng.Float64()})
			}
			parts = append(parts, choices)
		}
		c := Competition{Parts: parts, Now: 400}
		slope := 0.002 + 0.01*rng.Float64()
		for _, choices := range parts { // the cost that this slope leads to
			best := slices.MinFunc(choices, func(a, b Choice) int {
				return int(math.Copysign(1, a.Loss+slope*a.Cost-b.Loss-slope*b.Cost))
			})
			c.Target += best.Cost
		}
		o := c.Run()
		if best := least(parts, c.Target); math.Abs(o.Cost-c.Target) > 1e-9 || math.Abs(o.Loss-best) > 1e-9 {
			t.Errorf("seed %d: loss %g at cost %g, the least is %g at %g", seed, o.Loss, o.Cost, best, c.Target)
		}
	}
}

// A choice that saves nothing is jumped over, and one that costs more and loses
// more is never made.
func TestCompetitionJumpsOverPlateaus(t *testing.T) {
	plateau := []Choice{
		{Widths: []int{4}, Cost: 10, Loss: 0}, {Widths: []int{3}, Cost: 10, Loss: 1},
		{Widths: []int{2}, Cost: 12, Loss: 2}, {Widths: []int{1}, Cost: 2, Loss: 3},
	}
	o := Competition{Parts: [][]Choice{plateau}, Now: 30, Target: 22}.Run()
	if o.Chosen[0].Widths[0] != 1 || o.Cost != 22 || o.Loss != 3 {
		t.Errorf("chosen %+v, cost %g, loss %g", o.Chosen, o.Cost, o.Loss)
	}
	if o := (Competition{Parts: [][]Choice{plateau}, Now: 30, Target: 27}).Run(); o.Chosen[0].Widths[0] != 4 {
		t.Errorf("chosen %+v, which overshoots by more than staying misses", o.Chosen)
	}
}

func TestCompetitionMeetsTheTargetInMultiples(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 4))
		align := []int{1, 4, 8}[seed%3]
		parts := convex(rng, 5, 30, align, false)
		c := Competition{Parts: parts, Now: 1000 + total(parts)}
		least := c.Least()
		c.Target = least + (c.Now-least)*rng.Float64()
		o := c.Run()
		cost, most := 1000.0, 0.0
		for i, x := range o.Chosen {
			cost += x.Cost
			most = math.Max(most, parts[i][0].Cost/30*float64(align))
		}
		if math.Abs(cost-o.Cost) > 1e-9 || math.Abs(cost-c.Target) > most/2+1e-9 {
			t.Errorf("seed %d: cost %g, said to be %g, wanted %g with steps of up to %g", seed, cost, o.Cost, c.Target, most)
		}
	}
}

func TestWidths(t *testing.T) {
	for _, c := range []struct {
		now, align int
		want       []int
	}{
		{24, 8, []int{24, 16, 8}}, {20, 8, []int{20, 16, 8}}, {8, 8, []int{8}}, {7, 8, []int{7}}, {3, 1, []int{3, 2, 1}},
	} {
		if got := Widths(c.now, c.align); !slices.Equal(got, c.want) {
			t.Errorf("%d in multiples of %d may become %v, want %v", c.now, c.align, got, c.want)
		}
	}
}
