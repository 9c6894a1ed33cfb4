package grid

import (
	"math"
	"math/rand/v2"
	"slices"
)

// draws is how often images and seeds are drawn anew to tell noise.
const draws = 400

// place is what all outcomes of a task share.
type place struct{ model, task string }

// table finds outcomes.
type table struct {
	c      *Config
	places []place
	of     map[place]map[string]map[float64][]Outcome // by recipe and rate, a seed each
	base   map[place]string                           // a 1 for each test image that the base is right on
}

func newTable(c *Config, all []Outcome) *table {
	t := &table{c: c, of: map[place]map[string]map[float64][]Outcome{}, base: map[place]string{}}
	for _, o := range all {
		p := place{o.Model, o.Task}
		if t.of[p] == nil {
			t.places = append(t.places, p)
			t.of[p] = map[string]map[float64][]Outcome{}
		}
		if t.of[p][o.Recipe] == nil {
			t.of[p][o.Recipe] = map[float64][]Outcome{}
		}
		t.of[p][o.Recipe][o.Asked] = append(t.of[p][o.Recipe][o.Asked], o)
		if o.BaseRight != "" {
			t.base[p] = o.BaseRight
		}
	}
	return t
}

// reached returns the outcomes that are models.
func reached(all []Outcome) []Outcome {
	return slices.DeleteFunc(slices.Clone(all), func(o Outcome) bool { return o.Unreachable != "" })
}

// Range is a number with the interval that holds it in 95 of 100 draws.
type Range struct{ Value, Low, High float64 }

// sample is one draw of test images and seeds: how often each counts.
type sample struct {
	rng    *rand.Rand // nil for the images and seeds as they are
	images map[place][]float64
	seeds  map[uint64]float64
}

func (t *table) draw(rng *rand.Rand) *sample {
	s := &sample{rng: rng, images: map[place][]float64{}, seeds: map[uint64]float64{}}
	for _, seed := range t.c.Seeds {
		if rng == nil {
			s.seeds[seed]++
		} else {
			s.seeds[t.c.Seeds[rng.IntN(len(t.c.Seeds))]]++
		}
	}
	for _, p := range t.places {
		n := len(t.base[p])
		w := make([]float64, n)
		for i := range w {
			if rng == nil {
				w[i] = 1
			} else {
				w[rng.IntN(n)]++
			}
		}
		s.images[p] = w
	}
	return s
}

// accuracy returns the accuracy in % of a model that is right on the images
// marked 1.
func (s *sample) accuracy(p place, right string) float64 {
	sum, all := 0.0, 0.0
	for i, w := range s.images[p] {
		all += w
		if right[i] == '1' {
			sum += w
		}
	}
	return 100 * sum / all
}

// mean returns the mean accuracy in % over seeds; NaN without any model. Where
// none of the seeds drawn has one, all count alike.
func (s *sample) mean(p place, all []Outcome) float64 {
	all = reached(all)
	sum, n := 0.0, 0.0
	for _, o := range all {
		sum += s.seeds[o.Seed] * s.accuracy(p, o.Right)
		n += s.seeds[o.Seed]
	}
	if n == 0 {
		for _, o := range all {
			sum += s.accuracy(p, o.Right)
			n++
		}
	}
	return sum / n
}

// baseOf returns the base's accuracy in %, deciding among the wanted classes.
func (s *sample) baseOf(t *table, p place) float64 {
	return s.accuracy(p, t.base[p])
}

// noise evaluates f on the images and seeds as they are, and on draws of them.
func (t *table) noise(f func(*sample) float64) Range {
	r := Range{Value: f(t.draw(nil))}
	rng := rand.New(rand.NewPCG(1, 0x67726964))
	var xs []float64
	for range draws {
		if x := f(t.draw(rng)); !math.IsNaN(x) {
			xs = append(xs, x)
		}
	}
	if len(xs) == 0 {
		r.Low, r.High = math.NaN(), math.NaN()
		return r
	}
	slices.Sort(xs)
	r.Low, r.High = xs[len(xs)*25/1000], xs[min(len(xs)*975/1000, len(xs)-1)]
	return r
}

// lost returns what a recipe loses against the base at a rate, in points.
func (t *table) lost(p place, recipe string, rate float64) func(*sample) float64 {
	return func(s *sample) float64 { return s.baseOf(t, p) - s.mean(p, t.of[p][recipe][rate]) }
}

// crossing returns the x at which y, a function of ascending x given by points,
// first rises over level, between two points or from zero on; NaN where it
// does not.
func crossing(xs, ys []float64, level float64) float64 {
	x0, y0 := 0.0, 0.0
	for i, y := range ys {
		if math.IsNaN(y) {
			continue
		}
		if y > level {
			return x0 + (xs[i]-x0)*(level-y0)/(y-y0)
		}
		x0, y0 = xs[i], y
	}
	return math.NaN()
}
