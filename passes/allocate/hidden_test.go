package allocate

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"nuwa/internal/fault"
)

// of returns a problem whose layers cost 1 per neuron and which consists of
// nothing else.
func of(rate float64, widths ...int) Problem {
	p := Problem{Rate: rate, Align: 8}
	for _, w := range widths {
		p.Layers = append(p.Layers, Layer{Width: w, Cost: 1})
		p.Base += float64(w)
	}
	p.Now = p.Base
	return p
}

func TestUniform(t *testing.T) {
	fixed := of(0.5, 100, 100, 100)
	fixed.Layers[1].Fixed = true
	already := of(0.5, 64, 64)
	already.Base = 256 // half is gone before
	dear := of(0.25, 64, 64)
	dear.Layers[1].Cost = 3
	dear.Base, dear.Now = 256, 256
	for _, c := range []struct {
		name string
		p    Problem
		want []int
	}{
		{"nothing", of(0, 64, 48), []int{64, 48}},
		{"equal", of(0.5, 64, 64, 64), []int{32, 32, 32}},
		{"the rest goes to the first", of(0.5, 72, 72, 72), []int{40, 40, 32}}, // 108, nearest 112 and 104
		{"narrow ones keep theirs", of(0.5, 16, 128, 24, 128), []int{16, 56, 24, 56}},
		{"down to one multiple", of(0.875, 64, 64), []int{8, 8}},
		{"slightly too much", of(0.89, 64, 64), []int{8, 8}},
		{"narrower than a multiple", of(0.5, 6, 64), []int{6, 32}}, // 29 wanted, 24 and 32 offered
		{"not a multiple", of(0.05, 100), []int{96}},
		{"a fixed one", fixed, []int{24, 100, 24}},
		{"already there", already, []int{64, 64}},
		{"the widest first, whatever it costs", dear, []int{48, 48}},
	} {
		got, err := c.p.Uniform()
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v; want %v", c.name, got, err, c.want)
		}
	}
}

func TestProportion(t *testing.T) {
	for _, c := range []struct {
		p    Problem
		want []int
	}{
		{of(0.5, 64, 128, 256), []int{32, 64, 128}},
		{of(0.75, 64, 128, 256), []int{16, 32, 64}},
		{of(0.25, 32, 32), []int{24, 24}},
	} {
		got, err := c.p.Proportion()
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, %v; want %v", c.p, got, err, c.want)
		}
	}
}

func TestAdaptive(t *testing.T) {
	scores := [][]float64{make([]float64, 32), make([]float64, 32)}
	for i := range 32 {
		scores[0][i] = float64(32 - i)      // 1 … 32
		scores[1][i] = float64(i+1)/2 + 0.1 // 0.6 … 16.1
	}
	p := of(0.5, 32, 32)
	got, err := p.Adaptive(scores)
	// Group means: 4.5 12.5 20.5 of the first, 2.35 6.35 10.35 of the second.
	if want := []int{24, 8}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}

	p.Layers[1].Fixed = true
	scores[1] = nil
	p.Rate = 0.25
	if got, err = p.Adaptive(scores); err != nil || !slices.Equal(got, []int{16, 32}) {
		t.Errorf("beside a fixed layer: %v, %v", got, err)
	}
}

// waterline is Algorithm 1 on real numbers: visit the layers by ascending
// width, cap each at the running mean, leave the rest to those that follow.
func waterline(widths []int, total float64) map[int]float64 {
	out := map[int]float64{}
	sorted := slices.Sorted(slices.Values(widths))
	for i, w := range sorted {
		share := min(float64(w), total/float64(len(sorted)-i))
		total -= share
		out[w] = share
	}
	return out
}

func TestUniformIsAlgorithmOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 0))
	for range 300 {
		widths := make([]int, 1+rng.IntN(12))
		total := 0
		for i := range widths {
			widths[i] = 8 * (4 + rng.IntN(60))
			total += widths[i]
		}
		p := of(0.8*rng.Float64(), widths...)
		got, err := p.Uniform()
		if err != nil {
			t.Fatal(err)
		}
		want := waterline(widths, float64(total)*(1-p.Rate))
		for i, w := range widths {
			if off := math.Abs(float64(got[i]) - want[w]); off > 8 {
				t.Fatalf("%v at %.3f: %v, layer %d off Algorithm 1 (%.1f) by %.1f", widths, p.Rate, got, i, want[w], off)
			}
		}
	}
}

// draw returns a random problem with unlike layers, and scores for them.
func draw(rng *rand.Rand) (Problem, [][]float64) {
	p := Problem{Align: []int{1, 4, 8, 16}[rng.IntN(4)]}
	var scores [][]float64
	for range 1 + rng.IntN(10) {
		l := Layer{Width: 1 + rng.IntN(300), Cost: 1 + rng.Float64()*4, Fixed: rng.IntN(8) == 0}
		p.Layers = append(p.Layers, l)
		p.Now += float64(l.Width) * l.Cost
		s := make([]float64, l.Width)
		for i := range s {
			s[i] = rng.ExpFloat64()
		}
		scores = append(scores, s)
	}
	p.Now *= 1 + rng.Float64()
	p.Base = p.Now * (1 + rng.Float64()/2)
	return p, scores
}

// rules are the three allocations under one signature.
var rules = map[string]func(Problem, [][]float64) ([]int, error){
	"uniform":    func(p Problem, _ [][]float64) ([]int, error) { return p.Uniform() },
	"proportion": func(p Problem, _ [][]float64) ([]int, error) { return p.Proportion() },
	"adaptive":   func(p Problem, s [][]float64) ([]int, error) { return p.Adaptive(s) },
}

func TestEveryRule(t *testing.T) {
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(3, 0))
			for range 200 {
				p, scores := draw(rng)
				reach := p.Reach()
				var last []int
				for i := range 21 {
					p.Rate = reach.Min + (reach.Max-reach.Min)*float64(i)/20
					got, err := rule(p, scores)
					if err != nil {
						t.Fatal(err)
					}
					step := 0.0
					for j, l := range p.Layers {
						w := got[j]
						if w > l.Width || w < min(p.Align, l.Width) || w%p.Align != 0 && w != l.Width || l.Fixed && w != l.Width {
							t.Fatalf("%+v of %+v: width %d", l, p, w)
						}
						if last != nil && w > last[j] {
							t.Fatalf("%+v: a higher rate gives layer %d more width: %v after %v", p, j, got, last)
						}
						if !l.Fixed {
							step = max(step, min(float64(p.Align), float64(l.Width))*l.Cost)
						}
					}
					if off := math.Abs(p.Achieved(got) - p.Rate); off > step/2/p.Base+1e-12 {
						t.Fatalf("%+v: off by %g, more than half the largest step of %g", p, off, step/p.Base)
					}
					last = got
				}
				if off := math.Abs(p.Achieved(last) - reach.Max); off > 1e-12 {
					t.Fatalf("the end of the range is missed by %g", off)
				}
			}
		})
	}
}

// The order of the layers does not matter: each keeps its width when they are
// shuffled, but for the last step among layers of equal width.
func TestUniformIgnoresOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 0))
	for range 300 {
		widths := make([]int, 2+rng.IntN(10))
		for i := range widths {
			widths[i] = 8 * (3 + rng.IntN(20))
		}
		rate := 0.6 * rng.Float64()
		shuffled := slices.Clone(widths)
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		a, errA := of(rate, widths...).Uniform()
		b, errB := of(rate, shuffled...).Uniform()
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		slices.Sort(a)
		slices.Sort(b)
		if !slices.Equal(a, b) {
			t.Fatalf("%v at %.3f: %v, shuffled %v", widths, rate, a, b)
		}
	}
}

// A small model still lands within the tolerance of every rate it can reach.
func TestSmallModelIsClose(t *testing.T) {
	b := Block{N: 65, D: 192, H: 6, Q: 32, V: 32, E: 768}
	p := Problem{Align: 8}
	for range 6 {
		p.Layers = append(p.Layers, Layer{Width: b.E, Cost: b.HiddenCost()})
		p.Now += b.MACs()
	}
	p.Base = p.Now
	for p.Rate = 0; p.Rate < p.Reach().Max; p.Rate += 0.01 {
		w, err := p.Uniform()
		if err != nil {
			t.Fatal(err)
		}
		if off := math.Abs(p.Achieved(w) - p.Rate); off > 0.001 {
			t.Errorf("rate %.2f: off by %g with %v", p.Rate, off, w)
		}
	}
}

func TestUnreachable(t *testing.T) {
	p := of(0.5, 64, 64)
	p.Base *= 2 // attention: the other half
	p.Now = p.Base * 0.8
	for _, c := range []struct {
		rate   float64
		remedy string
	}{{0.1, "ask for more"}, {0.7, "ask for less"}} {
		p.Rate = c.rate
		for name, rule := range rules {
			_, err := rule(p, [][]float64{make([]float64, 64), make([]float64, 64)})
			var r Range
			if fault.KindOf(err) != fault.Unreachable || !errors.As(err, &r) {
				t.Fatalf("%s: rate %g: got %v, want it unreachable with the range", name, c.rate, err)
			}
			if math.Abs(r.Min-0.2) > 1e-12 || math.Abs(r.Max-0.6375) > 1e-12 {
				t.Errorf("range %+v, want 0.2 to 0.6375", r)
			}
			if s := err.Error(); !strings.Contains(s, c.remedy) || !strings.Contains(s, "0.200 to 0.637") && !strings.Contains(s, "0.200 to 0.638") {
				t.Errorf("%q lacks the range or %q", s, c.remedy)
			}
		}
	}
	for _, rate := range []float64{0.185, 0.65} { // within the tolerance
		p.Rate = rate
		if _, err := p.Uniform(); err != nil {
			t.Errorf("rate %g: %v", rate, err)
		}
	}
}

func TestMalformed(t *testing.T) {
	change := func(f func(*Problem)) Problem {
		p := of(0.5, 64, 64)
		f(&p)
		return p
	}
	for _, c := range []struct {
		p    Problem
		kind fault.Kind
	}{
		{change(func(p *Problem) { p.Rate = 1 }), fault.Usage},
		{change(func(p *Problem) { p.Rate = -0.1 }), fault.Usage},
		{change(func(p *Problem) { p.Rate = math.NaN() }), fault.Usage},
		{change(func(p *Problem) { p.Align = 0 }), fault.Usage},
		{change(func(p *Problem) { p.Base = 0 }), fault.Internal},
		{change(func(p *Problem) { p.Now = math.Inf(1) }), fault.Internal},
		{change(func(p *Problem) { p.Layers[1].Width = 0 }), fault.Internal},
		{change(func(p *Problem) { p.Layers[0].Cost = 0 }), fault.Internal},
	} {
		if _, err := c.p.Uniform(); fault.KindOf(err) != c.kind {
			t.Errorf("%+v: got %v, want a %v error", c.p, err, c.kind)
		}
	}
	nan := [][]float64{make([]float64, 64), make([]float64, 64)}
	nan[1][5] = math.NaN()
	if _, err := of(0.5, 64, 64).Adaptive(nan); fault.KindOf(err) != fault.Model {
		t.Errorf("NaN score: got %v", err)
	}
	for _, scores := range [][][]float64{nil, {make([]float64, 64)}, {make([]float64, 64), make([]float64, 63)}} {
		if _, err := of(0.5, 64, 64).Adaptive(scores); fault.KindOf(err) != fault.Internal {
			t.Errorf("%d score lists: got %v", len(scores), err)
		}
	}
}

func ExampleProblem_Uniform() {
	block := Block{N: 65, D: 192, H: 6, Q: 32, V: 32, E: 768}
	p := Problem{Rate: 0.4, Align: 8}
	for range 6 {
		p.Layers = append(p.Layers, Layer{Width: block.E, Cost: block.HiddenCost()})
		p.Base += block.MACs()
	}
	p.Now = p.Base
	widths, err := p.Uniform()
	fmt.Println(widths, err)
	fmt.Printf("%.3f\n", p.Achieved(widths))
	// Output:
	// [288 280 280 280 280 280] <nil>
	// 0.400
}
