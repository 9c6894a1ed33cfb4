// Package latency tells how long the parts of a Vision Transformer take on this
// machine: a linear map of so many rows, an activation, and the attention of so
// many tokens. It times graphs of one part each in ONNX Runtime, on a grid of
// widths, and interpolates between them.
//
//	t := latency.New(eng, 16)
//	ns, err := t.Linear(ctx, 197, 384, 616)
//	ns, err = t.Attention(ctx, latency.Attention{Heads: 6, Queries: 197, Keys: 197}, 56, 56)
//	of, now, err := t.Whole(ctx, "anchored", base, anchored)
//
// Times are the fastest of several runs, so that a busy machine does not count,
// less those of a graph that does next to nothing: what a call takes is no part of
// the time of a node within a model. What was timed once is kept. The package may
// import graph, internal/engine and internal/fault.
package latency

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
)

// Table holds what was timed. Goroutines that share one take turns.
type Table struct {
	eng  *engine.Engine
	step int

	mu    sync.Mutex
	times map[string]float64 // nanoseconds
	whole map[string][2]float64
}

// Attention is what an attention works on: so many heads, each of one sample's
// queries against its keys.
type Attention struct{ Heads, Queries, Keys int }

// How long one part is timed.
const (
	runsAtLeast = 10
	longEnough  = 40 * time.Millisecond
)

// New returns an empty table. Widths are timed at multiples of step, in which
// kernels work, and at every second, fourth, … of them from 16, 32, … steps on;
// times between two of them lie between theirs.
func New(eng *engine.Engine, step int) *Table {
	return &Table{eng: eng, step: max(step, 1), times: map[string]float64{}, whole: map[string][2]float64{}}
}

// Linear returns the nanoseconds that a linear map with a bias takes on so many
// rows.
func (t *Table) Linear(ctx context.Context, rows, in, out int) (float64, error) {
	return t.between(ctx, []int{in, out}, func(w []int) (string, func() *graph.Model) {
		return fmt.Sprintf("linear %d %d %d", rows, w[0], w[1]), func() *graph.Model { return linear(rows, w[0], w[1]) }
	})
}

// Activation returns the nanoseconds that a GELU takes on so many rows.
func (t *Table) Activation(ctx context.Context, rows, width int) (float64, error) {
	return t.between(ctx, []int{width}, func(w []int) (string, func() *graph.Model) {
		return fmt.Sprintf("activation %d %d", rows, w[0]), func() *graph.Model { return activation(rows, w[0]) }
	})
}

// Attention returns the nanoseconds that the two products and the softmax of an
// attention take for one sample, its heads of q/k and v/o widths given, linear
// maps not counted.
func (t *Table) Attention(ctx context.Context, a Attention, qk, vo int) (float64, error) {
	return t.between(ctx, []int{qk, vo}, func(w []int) (string, func() *graph.Model) {
		return fmt.Sprintf("attention %v %d %d", a, w[0], w[1]), func() *graph.Model { return attention(a, w[0], w[1]) }
	})
}

// Whole returns the nanoseconds that base and model take for one sample, timed in
// turns, so that what else the machine does slows both. They are timed once for
// each name.
func (t *Table) Whole(ctx context.Context, name string, base, model *graph.Model) (of, now float64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.whole[name]; !ok {
		ns, err := t.time(ctx, base, model)
		if err != nil {
			return 0, 0, err
		}
		t.whole[name] = [2]float64{ns[0], ns[1]}
	}
	return t.whole[name][0], t.whole[name][1], nil
}

// between interpolates, in each width, between the grid's points around it.
func (t *Table) between(ctx context.Context, widths []int, part func([]int) (string, func() *graph.Model)) (float64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range widths {
		if w < 1 {
			return 0, &fault.Error{Kind: fault.Internal, Where: "latency", Got: fmt.Sprintf("widths %v", widths), Want: "at least 1"}
		}
	}
	total := 0.0
	for corner := range 1 << len(widths) {
		at, weight := slices.Clone(widths), 1.0
		for i, w := range widths {
			step := t.step
			for w > 16*step {
				step *= 2
			}
			low := w / step * step
			high := low + step
			f := float64(w-low) / float64(step)
			if low == 0 { // narrower than one step costs as much as one
				low = high
			}
			if corner>>i&1 == 0 {
				at[i], weight = low, weight*(1-f)
			} else {
				at[i], weight = high, weight*f
			}
		}
		if weight == 0 {
			continue
		}
		key, make := part(at)
		ns, ok := t.times[key]
		if !ok {
			took, err := t.time(ctx, make(), idle())
			if err != nil {
				return 0, err
			}
			ns = max(took[0]-took[1], took[0]/100)
			t.times[key] = ns
		}
		total += weight * ns
	}
	return total, nil
}

// time returns the fastest of several runs of each of models.
func (t *Table) time(ctx context.Context, models ...*graph.Model) ([]float64, error) {
	runs, best := make([]func() error, len(models)), make([]float64, len(models))
	for i, m := range models {
		s, err := t.eng.Open(m)
		if err != nil {
			return nil, err
		}
		defer s.Close()
		feeds, err := engine.Inputs(m, 1, 1)
		if err != nil {
			return nil, err
		}
		call, err := s.Bind(ctx, feeds)
		if err != nil {
			return nil, err
		}
		defer call.Close()
		runs[i], best[i] = call.Run, math.Inf(1)
	}
	begin := time.Now()
	for n := 0; n < runsAtLeast*len(models) || time.Since(begin) < longEnough; n++ {
		for i, run := range runs {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			start := time.Now()
			if err := run(); err != nil {
				return nil, err
			}
			if took := float64(time.Since(start)); n > 0 {
				best[i] = min(best[i], took)
			}
		}
	}
	return best, nil
}

// linear is x·W + b, in the spelling that ONNX Runtime runs slim models in.
func linear(rows, in, out int) *graph.Model {
	m := blank()
	x := m.Graph.AddInput("x", graph.TensorType(graph.Float32, graph.Fixed(int64(rows)), graph.Fixed(int64(in))))
	w := m.Graph.AddConst("w", graph.NewTensor([]int64{int64(in), int64(out)}, wave(in*out)))
	b := m.Graph.AddConst("b", graph.NewTensor([]int64{int64(out)}, wave(out)))
	output(m, m.Graph.Add("Gemm", "y", []*graph.Value{x, w, b}).Output(0), rows, out)
	return m
}

func blank() *graph.Model {
	m := graph.NewModel(graph.Opset{Version: 13})
	m.IRVersion = 7
	return m
}

// idle does next to nothing.
func idle() *graph.Model {
	m := blank()
	x := m.Graph.AddInput("x", graph.TensorType(graph.Float32, graph.Fixed(1), graph.Fixed(1)))
	output(m, m.Graph.Add("Neg", "y", []*graph.Value{x}).Output(0), 1, 1)
	return m
}

// activation is the GELU that most Vision Transformers have.
func activation(rows, width int) *graph.Model {
	m := blank()
	x := m.Graph.AddInput("x", graph.TensorType(graph.Float32, graph.Fixed(int64(rows)), graph.Fixed(int64(width))))
	number := func(name string, x float32) *graph.Value {
		return m.Graph.AddConst(name, graph.NewTensor(nil, []float32{x}))
	}
	op := func(op string, a ...*graph.Value) *graph.Value { return m.Graph.Add(op, op, a).Output(0) }
	erf := op("Add", op("Erf", op("Div", x, number("root", math.Sqrt2))), number("one", 1))
	output(m, op("Mul", op("Mul", x, erf), number("half", 0.5)), rows, width)
	return m
}

// attention is softmax(Q·Kᵀ)·V of each head.
func attention(a Attention, qk, vo int) *graph.Model {
	m := blank()
	in := func(name string, tokens, width int) *graph.Value {
		return m.Graph.AddInput(name, graph.TensorType(graph.Float32, graph.Fixed(1), graph.Fixed(int64(a.Heads)), graph.Fixed(int64(tokens)), graph.Fixed(int64(width))))
	}
	q, k, v := in("q", a.Queries, qk), in("k", a.Keys, qk), in("v", a.Keys, vo)
	k = m.Graph.Add("Transpose", "flip", []*graph.Value{k}, graph.Ints("perm", 0, 1, 3, 2)).Output(0)
	s := m.Graph.Add("MatMul", "logits", []*graph.Value{q, k}).Output(0)
	p := m.Graph.Add("Softmax", "probabilities", []*graph.Value{s}, graph.Int("axis", -1)).Output(0)
	output(m, m.Graph.Add("MatMul", "y", []*graph.Value{p, v}).Output(0), 1, a.Heads, a.Queries, vo)
	return m
}

func output(m *graph.Model, v *graph.Value, dims ...int) {
	fixed := make([]graph.Dim, len(dims))
	for i, d := range dims {
		fixed[i] = graph.Fixed(int64(d))
	}
	v.Type = graph.TensorType(graph.Float32, fixed...)
	m.Graph.AddOutput(v)
}

// wave is n numbers of ordinary size.
func wave(n int) []float32 {
	xs := make([]float32, n)
	for i := range xs {
		xs[i] = float32(math.Sin(float64(i)))
	}
	return xs
}
