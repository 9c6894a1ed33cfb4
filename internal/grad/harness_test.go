package grad

import (
	"context"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/internal/engine"
)

var update = flag.Bool("update", false, "rewrite testdata")

// eng runs the gradients that tests compare with. Graph rewriting stays on: it
// is what users get.
var eng = &engine.Engine{Threads: 1}

// An operand is one input of a case's node.
type operand struct {
	dims   []int64
	lo, hi float64   // range of the elements drawn
	kinks  []float64 // points that elements keep away from
	tensor *graph.Tensor
	active bool // the gradient is wanted
	fed    bool // an input that is not differentiated
	open   bool // the first dimension is the batch
}

const apart = 0.15 // from kinks

// x is an operand that is differentiated, away from zero.
func x(dims ...int64) operand {
	return operand{dims: dims, lo: -2, hi: 2, kinks: []float64{0}, active: true}
}

// in restricts the range of an operand, and keeps it away from kinks.
func (o operand) in(lo, hi float64, kinks ...float64) operand {
	o.lo, o.hi, o.kinks = lo, hi, kinks
	return o
}

// batched makes the first dimension the batch.
func (o operand) batched() operand { o.open = true; return o }

// w is a constant of the case's floating-point type.
func w(dims ...int64) operand { return operand{dims: dims, lo: -2, hi: 2, kinks: []float64{0}} }

// num is a constant scalar.
func num(v float64) operand { return operand{lo: v, hi: v} }

// ints is a constant list of integers, or a scalar.
func ints(vs ...int64) operand {
	return operand{tensor: graph.NewTensor([]int64{int64(len(vs))}, vs)}
}
func scalarInt(v int64) operand { return operand{tensor: graph.Scalar(v)} }

// shaped gives a constant other dimensions.
func (o operand) shaped(dims ...int64) operand {
	t := *o.tensor
	t.Dims = dims
	o.tensor = &t
	return o
}

// fedBy turns a constant into an input.
func (o operand) fedBy() operand { o.fed = true; return o }

func bools(vs ...bool) operand {
	return operand{tensor: graph.NewTensor([]int64{int64(len(vs))}, vs)}
}

// none is an omitted operand.
var none = operand{lo: math.NaN()}

func (o operand) omitted() bool { return math.IsNaN(o.lo) }

// problem is a graph with a single result y and inputs to differentiate.
type problem struct {
	m     *graph.Model
	y     *graph.Value
	wrt   []string
	feeds map[string]*graph.Tensor
	elem  graph.DType
	rng   *rand.Rand
}

func newProblem(opset int64, elem graph.DType, seed uint64) *problem {
	p := &problem{m: graph.NewModel(graph.Opset{Version: opset}), elem: elem, rng: rand.New(rand.NewPCG(seed, 1)), feeds: map[string]*graph.Tensor{}}
	p.m.SetOpset("com.microsoft", 1)
	return p
}

func (p *problem) draw(dims []int64, lo, hi float64, kinks []float64) []float64 {
	xs := make([]float64, graph.Elements(dims))
	for i := range xs {
	again:
		xs[i] = lo + (hi-lo)*p.rng.Float64()
		for _, k := range kinks {
			if math.Abs(xs[i]-k) < apart && hi > lo {
				goto again
			}
		}
	}
	return xs
}

func (p *problem) floats(dims []int64, xs []float64) *graph.Tensor {
	t, err := graph.FromFloats(p.elem, dims, xs)
	if err != nil {
		panic(err)
	}
	return t
}

// add makes the value of an operand.
func (p *problem) add(o operand) *graph.Value {
	if o.omitted() {
		return nil
	}
	t := o.tensor
	if t == nil {
		t = p.floats(o.dims, p.draw(o.dims, o.lo, o.hi, o.kinks))
	}
	if !o.active && !o.fed {
		return p.m.Graph.AddConst("c", t)
	}
	dims := make([]graph.Dim, len(t.Dims))
	for i, d := range t.Dims {
		dims[i] = graph.Fixed(d)
		if i == 0 && o.open {
			dims[i] = graph.Sym("batch")
		}
	}
	v := p.m.Graph.AddInput(p.m.Graph.UniqueName("x"), graph.TensorType(t.Type, dims...))
	p.feeds[v.Name()] = t
	if o.active {
		p.wrt = append(p.wrt, v.Name())
	}
	return v
}

// scalarize makes y, weighted at random, the loss of a copy of the problem's
// model, and returns that with the weight of each element of y. Along axes
// that grow with the batch the weights are the same.
func (p *problem) scalarize(t *testing.T, y *graph.Tensor) (m *graph.Model, loss string, each []float64) {
	t.Helper()
	shapes, err := eng.Shapes(context.Background(), p.m)
	if err != nil {
		t.Fatal(err)
	}
	sizes, _ := shapes.Of(p.y)
	dims := append([]int64(nil), y.Dims...)
	for i, d := range sizes {
		if d.Dynamic() {
			dims[i] = 1
		}
	}
	weights := p.draw(dims, 0.5, 1.5, nil)
	each = make([]float64, y.Len())
	for i := range each {
		at, stride, rest := int64(0), int64(1), int64(i)
		for a := len(dims) - 1; a >= 0; a-- {
			if dims[a] > 1 {
				at += rest % y.Dims[a] * stride
			}
			stride, rest = stride*dims[a], rest/y.Dims[a]
		}
		each[i] = weights[at]
	}
	m = p.m.Clone()
	g := m.Graph
	v := g.Add("Mul", "weighted", []*graph.Value{g.Value(p.y.Name()), g.AddConst("weights", p.floats(dims, weights))}).Output(0)
	axes := []int64{}
	for i := range dims {
		axes = append(axes, int64(i))
	}
	switch {
	case len(dims) == 0:
	case m.Opset("") >= 13:
		v = g.Add("ReduceSum", "loss", []*graph.Value{v, g.AddConst("axes", graph.NewTensor([]int64{int64(len(axes))}, axes))}, graph.Int("keepdims", 0)).Output(0)
	default:
		v = g.Add("ReduceSum", "loss", []*graph.Value{v}, graph.Ints("axes", axes...), graph.Int("keepdims", 0)).Output(0)
	}
	return m, v.Name(), each
}

// step is the distance of finite differences.
func (p *problem) step() float64 {
	if p.elem == graph.Float64 {
		return 2e-4
	}
	return 0.03
}

// check differentiates the problem and compares with finite differences. It
// returns the largest difference, relative to the largest element of the
// gradient.
func (p *problem) check(t *testing.T, opt Options) (worst float64, err error) {
	t.Helper()
	ctx := context.Background()
	p.m.Graph.AddOutput(p.y)
	forward, err := eng.Open(p.m)
	if err != nil {
		return 0, err
	}
	defer forward.Close()
	eval := func(feeds map[string]*graph.Tensor) *graph.Tensor {
		out, err := forward.Run(ctx, feeds, []string{p.y.Name()})
		if err != nil {
			t.Fatal(err)
		}
		return out[p.y.Name()]
	}
	y := eval(p.feeds)
	full, loss, weights := p.scalarize(t, y)
	shapes, err := eng.Shapes(ctx, full)
	if err != nil {
		return 0, err
	}
	back, names, err := Backward(full, loss, p.wrt, shapes, opt)
	if err != nil {
		return 0, err
	}
	if err := back.Check(); err != nil {
		t.Fatal(err)
	}
	got, err := eng.Run(ctx, back, p.feeds)
	if err != nil {
		return 0, fmt.Errorf("%w\n%s", err, back)
	}
	dot := func(y *graph.Tensor) float64 {
		s := 0.0
		for i, v := range floatsOf(t, y) {
			s += v * weights[i]
		}
		return s
	}
	for _, name := range p.wrt {
		base := floatsOf(t, p.feeds[name])
		have := floatsOf(t, got[names[name]])
		if len(have) != len(base) {
			t.Fatalf("gradient of %s has %d elements, want %d\n%s", name, len(have), len(base), back)
		}
		want, largest := make([]float64, len(base)), 1e-3
		h := p.step()
		for i := range base {
			at := func(d float64) float64 {
				moved := append([]float64(nil), base...)
				moved[i] += d
				feeds := map[string]*graph.Tensor{}
				for k, v := range p.feeds {
					feeds[k] = v
				}
				feeds[name] = p.floats(p.feeds[name].Dims, moved)
				return dot(eval(feeds))
			}
			want[i] = (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h)
			largest = math.Max(largest, math.Abs(want[i]))
		}
		for i := range want {
			d := math.Abs(have[i]-want[i]) / largest
			if !(d <= worst) {
				worst = d
			}
			if d > p.tolerance() || math.IsNaN(d) {
				return worst, fmt.Errorf("gradient of %s, element %d of %v: got %g, finite differences say %g\n%s", name, i, p.feeds[name].Dims, have[i], want[i], back)
			}
		}
	}
	return worst, nil
}

// tolerance is how far finite differences may be off.
func (p *problem) tolerance() float64 {
	if p.elem == graph.Float64 {
		return 1e-7
	}
	return 1e-3
}

func floatsOf(t *testing.T, x *graph.Tensor) []float64 {
	t.Helper()
	if x == nil {
		t.Fatal("no such output")
	}
	xs, err := x.Floats()
	if err != nil {
		t.Fatal(err)
	}
	return xs
}

// unimplemented reports that ONNX Runtime has no kernel for the type.
func unimplemented(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "NOT_IMPLEMENTED") || strings.Contains(err.Error(), "Could not find an implementation"))
}
