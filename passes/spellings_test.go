package passes_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/passes/passtest"
)

// A spelled tensor knows what its axes mean: each is made of digits, slow to
// fast, such as "B", "N", "H", the parts of a head's width, and "P", which
// tells queries, keys and values of one linear map apart.
type spelled struct {
	v    *graph.Value
	axes [][]string
}

// speller draws ways to write attention.
type speller struct {
	*sketch
	rng  *rand.Rand
	size map[string]int64 // of each digit; the batch has none
	said []string
}

func (s *speller) say(format string, args ...any) {
	s.said = append(s.said, fmt.Sprintf(format, args...))
}

func (s *speller) coin() bool { return s.rng.IntN(2) == 0 }

// target is the Reshape target of the given axes.
func (s *speller) target(axes [][]string) []int64 {
	dims := make([]int64, len(axes))
	for i, digits := range axes {
		dims[i] = 1
		for _, d := range digits {
			if d == "B" {
				dims[i] = -1
				break
			}
			dims[i] *= s.size[d]
		}
	}
	return dims
}

func (s *speller) shaped(x spelled, axes [][]string) spelled {
	if slices.EqualFunc(x.axes, axes, slices.Equal[[]string]) {
		return x
	}
	return spelled{s.reshape(x.v, s.target(axes)...), axes}
}

func singles(digits []string) [][]string {
	var axes [][]string
	for _, d := range digits {
		axes = append(axes, []string{d})
	}
	return axes
}

// arranged carries x, by Reshape, Transpose and Reshape, to the given axes; now
// and then it takes a detour.
func (s *speller) arranged(x spelled, axes [][]string) spelled {
	x = s.shaped(x, singles(slices.Concat(x.axes...)))
	if s.rng.IntN(3) == 0 {
		x = s.turned(x, shuffled(s.rng, slices.Concat(x.axes...)))
	}
	return s.shaped(s.turned(x, slices.Concat(axes...)), axes)
}

// turned transposes x, all of whose axes are single digits, to the given order.
func (s *speller) turned(x spelled, order []string) spelled {
	perm := make([]int64, len(order))
	for i, d := range order {
		perm[i] = int64(slices.IndexFunc(x.axes, func(a []string) bool { return a[0] == d }))
	}
	return spelled{s.transpose(x.v, perm...), singles(order)}
}

func shuffled(rng *rand.Rand, xs []string) []string {
	xs = slices.Clone(xs)
	rng.Shuffle(len(xs), func(i, j int) { xs[i], xs[j] = xs[j], xs[i] })
	return xs
}

// parts gives n linear maps of x as one packed map, whose channels are digits
// in a random order, and takes them apart again: by Gather, Slice or Split,
// before or after a transpose.
func (s *speller) parts(x *graph.Value, in int64, n int, width []string) []spelled {
	digits := append([]string{"H"}, width...)
	if n > 1 {
		s.size["P"] = int64(n)
		digits = append(digits, "P")
	}
	digits = shuffled(s.rng, digits)
	channels := int64(1)
	for _, d := range digits {
		channels *= s.size[d]
	}
	s.say("%d maps packed as %v", n, digits)
	y := s.node("MatMul", []*graph.Value{x, s.weights(in, channels)})
	if s.rng.IntN(4) > 0 {
		y = s.node("Add", []*graph.Value{s.weights(channels), y})
	}
	t := s.shaped(spelled{y, [][]string{{"B"}, {"N"}, digits}}, singles(append([]string{"B", "N"}, digits...)))
	if s.coin() {
		t = s.turned(t, shuffled(s.rng, slices.Concat(t.axes...)))
	}
	if n == 1 {
		return []spelled{t}
	}
	at := slices.IndexFunc(t.axes, func(a []string) bool { return a[0] == "P" })
	rest := slices.Delete(slices.Clone(t.axes), at, at+1)
	var out []spelled
	switch s.rng.IntN(3) {
	case 0:
		s.say("taken apart by Gather on axis %d", at)
		for i := range n {
			index := s.g.AddConst("index", graph.Scalar(int64(i)))
			out = append(out, spelled{s.node("Gather", []*graph.Value{t.v, index}, graph.Int("axis", int64(at))), rest})
		}
	case 1:
		s.say("taken apart by Split on axis %d", at)
		for _, p := range s.split(t.v, int64(at), slices.Repeat([]int64{1}, n)...) {
			out = append(out, spelled{s.node("Squeeze", []*graph.Value{p, s.ints(int64(at))}), rest})
		}
	default:
		s.say("taken apart by Slice on axis %d", at)
		for i := range n {
			p := s.node("Slice", []*graph.Value{t.v, s.ints(int64(i)), s.ints(int64(i + 1)), s.ints(int64(at))})
			out = append(out, s.shaped(spelled{p, slices.Insert(slices.Clone(rest), at, []string{})}, rest))
		}
	}
	return out
}

// attention draws one spelling of attention over x [B, 5, 8].
func (s *speller) attention(x *graph.Value) *graph.Value {
	s.size = map[string]int64{"N": 5, "H": int64(1 + s.rng.IntN(3)), "u": int64(1 + s.rng.IntN(3)), "v": 2}
	width := []string{"u", "v"}
	var q, k, v spelled
	switch s.rng.IntN(3) {
	case 0:
		p := s.parts(x, 8, 3, width)
		s.rng.Shuffle(3, func(i, j int) { p[i], p[j] = p[j], p[i] })
		q, k, v = p[0], p[1], p[2]
	case 1:
		p := s.parts(x, 8, 2, width)
		k, v, q = p[0], p[1], s.parts(x, 8, 1, width)[0]
	default:
		q, k, v = s.parts(x, 8, 1, width)[0], s.parts(x, 8, 1, width)[0], s.parts(x, 8, 1, width)[0]
	}
	lead := [][]string{{"B"}, {"H"}}
	if s.coin() {
		lead = pickOne(s.rng, [][][]string{{{"B", "H"}}, {{"H", "B"}}, {{"H"}, {"B"}}})
	}
	s.say("heads on %v", lead)
	on := func(last ...[]string) [][]string { return append(slices.Clone(lead), last...) }
	// Queries and keys agree on an order of the width, which values have no part in.
	qk, vo := shuffled(s.rng, width), shuffled(s.rng, width)
	q = s.arranged(q, on([]string{"N"}, qk))
	k = s.arranged(k, on(qk, []string{"N"}))
	if s.coin() {
		q.v = s.node("Mul", []*graph.Value{q.v, s.g.AddConst("scale", graph.Scalar(float32(0.7)))})
	}
	if s.coin() {
		k.v = s.node("Div", []*graph.Value{k.v, s.g.AddConst("scale", graph.NewTensor([]int64{1}, []float32{1.3}))})
	}
	probs := s.node("Softmax", []*graph.Value{s.node("MatMul", []*graph.Value{q.v, k.v})}, graph.Int("axis", -1))
	var o spelled
	if s.rng.IntN(3) == 0 { // Vᵀ·Pᵀ
		s.say("values on the left")
		perm := make([]int64, len(lead)+2)
		for i := range perm {
			perm[i] = int64(i)
		}
		r := len(perm)
		perm[r-1], perm[r-2] = perm[r-2], perm[r-1]
		v = s.arranged(v, on(vo, []string{"N"}))
		o = spelled{s.node("MatMul", []*graph.Value{v.v, s.transpose(probs, perm...)}), on(vo, []string{"N"})}
	} else {
		v = s.arranged(v, on([]string{"N"}, vo))
		o = spelled{s.node("MatMul", []*graph.Value{probs, v.v}), on([]string{"N"}, vo)}
	}
	// The width of a head stays together on its way out; its place among the heads is free.
	out := pickOne(s.rng, [][]string{append([]string{"H"}, vo...), append(slices.Clone(vo), "H")})
	s.say("out as %v", out)
	o = s.arranged(o, [][]string{{"B"}, {"N"}, out})
	n := s.size["H"] * s.size["u"] * s.size["v"]
	return s.node("Add", []*graph.Value{s.linear(o.v, n, 8), x})
}

// Attention written in a random way is understood, and pruned right.
func TestRandomSpellingsOfAttention(t *testing.T) {
	passtest.Load(t, plantedCases(t)[0].Path()) // ONNX Runtime
	var c tally
	for seed := range uint64(60) {
		m := graph.NewModel(graph.Opset{Version: 17})
		x := m.Graph.AddInput("x", graph.TensorType(graph.Float32, graph.Sym("batch"), graph.Fixed(5), graph.Fixed(8)))
		rng := rand.New(rand.NewPCG(seed, 6))
		s := &speller{sketch: &sketch{m, m.Graph, rng}, rng: rng}
		m.Graph.AddOutput(s.attention(x))
		vit := passtest.Find(t, m)
		if got := prunable(vit); got[0] != 1 || got[1] != 1 {
			t.Errorf("seed %d: %s: declined: %q", seed, strings.Join(s.said, "; "), reasonsOf(vit))
			continue
		}
		if err := tryPruning(t, m, rand.New(rand.NewPCG(seed, 7)), "spelling", nil, &c); err != nil {
			t.Errorf("seed %d: %s: %v", seed, strings.Join(s.said, "; "), err)
		}
	}
	t.Log(c.String())
	if c.valid < 55 {
		t.Errorf("only %d ran", c.valid)
	}
}
