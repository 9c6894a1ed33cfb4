package grad

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"nuwa/graph"
)

// randomProblem draws a graph of a few dozen nodes over values of 2×3×4, in
// which every value may be read several times. Operators keep values moderate,
// so that finite differences are exact.
func randomProblem(seed uint64) *problem {
	r := rand.New(rand.NewPCG(seed, 99))
	p := newProblem([]int64{11, 13, 17, 18}[r.IntN(4)], graph.Float64, seed)
	g := p.m.Graph
	axesIn := p.m.Opset("") >= 18
	values := []*graph.Value{p.add(x(2, 3, 4).batched()), p.add(x(2, 3, 4).batched())}
	per := []*graph.Value{p.add(x(4)), p.add(x(3, 1))}
	weight := p.add(w(4, 4))
	pick := func() *graph.Value { return values[max(r.IntN(len(values)), r.IntN(len(values)))] }
	op := func(op string, in []*graph.Value, attrs ...*graph.Attr) *graph.Value {
		return g.Add(op, "n", in, attrs...).Output(0)
	}
	list := func(xs ...int64) *graph.Value {
		return g.AddConst("ints", graph.NewTensor([]int64{int64(len(xs))}, xs))
	}
	calm := func(v *graph.Value) *graph.Value { return op("Tanh", []*graph.Value{v}) }
	for range 6 + r.IntN(20) {
		a := pick()
		var v *graph.Value
		switch r.IntN(14) {
		case 0:
			v = op([]string{"Add", "Sub", "Mul"}[r.IntN(3)], []*graph.Value{a, pick()})
		case 1:
			v = op([]string{"Add", "Mul"}[r.IntN(2)], []*graph.Value{a, per[r.IntN(2)]})
		case 2:
			v = op([]string{"Sigmoid", "Tanh", "Neg"}[r.IntN(3)], []*graph.Value{a})
		case 3:
			v = op("MatMul", []*graph.Value{a, weight})
		case 4: // scores of tokens and back
			t := op("Transpose", []*graph.Value{pick()}, graph.Ints("perm", 0, 2, 1))
			v = op("MatMul", []*graph.Value{op("MatMul", []*graph.Value{a, t}), pick()})
		case 5:
			s := op("Softmax", []*graph.Value{a}, graph.Int("axis", 2))
			v = op("Mul", []*graph.Value{s, pick()})
		case 6: // centred
			var m *graph.Value
			if axesIn {
				m = op("ReduceMean", []*graph.Value{a, list(-1)})
			} else {
				m = op("ReduceMean", []*graph.Value{a}, graph.Ints("axes", -1))
			}
			v = op("Sub", []*graph.Value{a, m})
		case 7: // halves changed over
			left := op("Slice", []*graph.Value{a, list(0), list(2), list(2)})
			right := op("Slice", []*graph.Value{pick(), list(2), list(4), list(2)})
			v = op("Concat", []*graph.Value{right, left}, graph.Int("axis", 2))
		case 8:
			v = op("Reshape", []*graph.Value{op("Transpose", []*graph.Value{a}, graph.Ints("perm", 0, 2, 1)), list(0, 3, 4)})
		case 9: // one token for all
			v = op("Add", []*graph.Value{op("Gather", []*graph.Value{a, list(int64(r.IntN(3)))}, graph.Int("axis", 1)), pick()})
		case 10:
			v = op("Div", []*graph.Value{a, op("Exp", []*graph.Value{calm(pick())})})
		case 11:
			v = op("Mul", []*graph.Value{a, a})
		case 12:
			sq := op("Mul", []*graph.Value{a, a})
			v = op("Sqrt", []*graph.Value{op("Add", []*graph.Value{sq, g.AddConst("one", p.floats(nil, []float64{1}))})})
		case 13:
			v = op("Mul", []*graph.Value{a, g.AddConst("half", p.floats(nil, []float64{0.5}))})
		}
		if r.IntN(3) == 0 {
			v = calm(v)
		}
		values = append(values, v)
	}
	y := calm(values[len(values)-1])
	for range 3 { // results that are read elsewhere too
		y = op("Add", []*graph.Value{y, calm(pick())})
	}
	p.y = y
	for _, v := range append(per, values[:2]...) { // every input counts
		p.y = op("Add", []*graph.Value{p.y, calm(v)})
	}
	return p
}

// TestRandomGraphs holds the gradients of random graphs to finite differences,
// computed with all activations kept and with every possible number of
// segments computed again.
func TestRandomGraphs(t *testing.T) {
	n := 40
	if testing.Short() {
		n = 10
	}
	for seed := range uint64(n) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			for _, keep := range []bool{true, false} {
				if worst, err := randomProblem(seed).check(t, Options{Keep: keep}); err != nil {
					t.Fatalf("keep %v: %g: %v", keep, worst, err)
				}
			}
		})
	}
}

// TestSegments cuts random graphs anywhere at all: the gradient must not
// depend on where.
func TestSegments(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(20) {
		p := randomProblem(seed)
		p.m.Graph.AddOutput(p.y)
		y, err := eng.Run(ctx, p.m, p.feeds)
		if err != nil {
			t.Fatal(err)
		}
		m, loss, _ := p.scalarize(t, y[p.y.Name()])
		shapes, err := eng.Shapes(ctx, m)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range m.Graph.Nodes() {
			n.Name = "" // as in many files
		}
		var want map[string]*graph.Tensor
		for _, pieces := range []int{1, 2, 5, 1000} {
			r := rand.New(rand.NewPCG(seed, uint64(pieces)))
			cut := func(_ *emitter, nodes []*graph.Node, _ *graph.Value) []int {
				segment := make([]int, len(nodes))
				for i := 1; i < len(nodes); i++ {
					segment[i] = segment[i-1]
					if r.IntN(len(nodes)) < pieces-1 {
						segment[i]++
					}
				}
				return segment
			}
			back, names, err := backward(m, loss, p.wrt, shapes, cut)
			if err != nil {
				t.Fatal(err)
			}
			if err := back.Check(); err != nil {
				t.Fatal(err)
			}
			got, err := eng.Run(ctx, back, p.feeds)
			if err != nil {
				t.Fatal(err)
			}
			if want == nil {
				want = got
			}
			for _, name := range p.wrt {
				a, b := floatsOf(t, want[names[name]]), floatsOf(t, got[names[name]])
				for i := range a {
					if math.Abs(a[i]-b[i]) > 1e-12*(1+math.Abs(a[i])) {
						t.Fatalf("seed %d, %d pieces: gradient of %s is %g, was %g\n%s", seed, pieces, name, b[i], a[i], back)
					}
				}
			}
		}
	}
}
