// Package latency tells how long the parts of a Vision Transformer take on this
// machine: a linear map of so many rows, and the attention of so many tokens. It
// times graphs of one part each in ONNX Runtime, on a grid of widths, and
// interpolates between them.
//
//	t := latency.New(eng, 16)
//	ns, err := t.Linear(ctx, 197, 384, 616)
//	ns, err = t.Attention(ctx, 197, 6, 56, 56)
//
// Times are the fastest of several runs, so that a busy machine does not count.
// What was timed once is kept, and can be stored (Encode, Decode). The package
// may import graph, internal/engine and internal/fault.
package latency

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
)

// Table holds what was timed. It is for one goroutine at a time.
type Table struct {
	eng   *engine.Engine
	step  int
	times map[string]float64 // nanoseconds
}

// How long one part is timed.
const (
	runsAtLeast = 10
	longEnough  = 40 * time.Millisecond
)

// New returns an empty table. Widths are timed at multiples of step, in which
// kernels work; times between two of them lie between theirs.
func New(eng *engine.Engine, step int) *Table {
	return &Table{eng: eng, step: max(step, 1), times: map[string]float64{}}
}

// Linear returns the nanoseconds that a linear map with a bias takes on so many
// rows.
func (t *Table) Linear(ctx context.Context, rows, in, out int) (float64, error) {
	return t.between(ctx, []int{in, out}, func(w []int) (string, func() (*graph.Model, error)) {
		return fmt.Sprintf("linear %d %d %d", rows, w[0], w[1]), func() (*graph.Model, error) { return linear(rows, w[0], w[1]) }
	})
}

// Attention returns the nanoseconds that the two products and the softmax of an
// attention take for one sample, its heads of q/k and v/o widths given, linear
// maps not counted.
func (t *Table) Attention(ctx context.Context, tokens, heads, qk, vo int) (float64, error) {
	return t.between(ctx, []int{qk, vo}, func(w []int) (string, func() (*graph.Model, error)) {
		return fmt.Sprintf("attention %d %d %d %d", tokens, heads, w[0], w[1]), func() (*graph.Model, error) { return attention(tokens, heads, w[0], w[1]) }
	})
}

// between interpolates, in each width, between the grid's points around it.
func (t *Table) between(ctx context.Context, widths []int, part func([]int) (string, func() (*graph.Model, error))) (float64, error) {
	for _, w := range widths {
		if w < 1 {
			return 0, &fault.Error{Kind: fault.Internal, Where: "latency", Got: fmt.Sprintf("widths %v", widths), Want: "at least 1"}
		}
	}
	total := 0.0
	for corner := range 1 << len(widths) {
		at, weight := slices.Clone(widths), 1.0
		for i, w := range widths {
			low := w / t.step * t.step
			high := low + t.step
			f := float64(w-low) / float64(t.step)
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
			m, err := make()
			if err == nil {
				ns, err = t.time(ctx, m)
			}
			if err != nil {
				return 0, err
			}
			t.times[key] = ns
		}
		total += weight * ns
	}
	return total, nil
}

// time returns the fastest of several runs of m.
func (t *Table) time(ctx context.Context, m *graph.Model) (float64, error) {
	s, err := t.eng.Open(m)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	feeds, err := engine.Inputs(m, 1, 1)
	if err != nil {
		return 0, err
	}
	call, err := s.Bind(ctx, feeds)
	if err != nil {
		return 0, err
	}
	defer call.Close()
	best := math.Inf(1)
	begin := time.Now()
	for i := 0; i < runsAtLeast || time.Since(begin) < longEnough; i++ {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		start := time.Now()
		if err := call.Run(); err != nil {
			return 0, err
		}
		if took := float64(time.Since(start)); i > 0 {
			best = min(best, took)
		}
	}
	return best, nil
}

// linear is x·W + b, in the spelling that ONNX Runtime runs slim models in.
func linear(rows, in, out int) (*graph.Model, error) {
	m := graph.NewModel(graph.Opset{Version: 13})
	m.IRVersion = 7
	x := m.Graph.AddInput("x", graph.TensorType(graph.Float32, graph.Fixed(int64(rows)), graph.Fixed(int64(in))))
	w := m.Graph.AddConst("w", graph.NewTensor([]int64{int64(in), int64(out)}, wave(in*out)))
	b := m.Graph.AddConst("b", graph.NewTensor([]int64{int64(out)}, wave(out)))
	output(m, m.Graph.Add("Gemm", "y", []*graph.Value{x, w, b}).Output(0), rows, out)
	return m, nil
}

// attention is softmax(Q·Kᵀ)·V of each head.
func attention(tokens, heads, qk, vo int) (*graph.Model, error) {
	m := graph.NewModel(graph.Opset{Version: 13})
	m.IRVersion = 7
	in := func(name string, width int) *graph.Value {
		return m.Graph.AddInput(name, graph.TensorType(graph.Float32, graph.Fixed(1), graph.Fixed(int64(heads)), graph.Fixed(int64(tokens)), graph.Fixed(int64(width))))
	}
	q, k, v := in("q", qk), in("k", qk), in("v", vo)
	k = m.Graph.Add("Transpose", "flip", []*graph.Value{k}, graph.Ints("perm", 0, 1, 3, 2)).Output(0)
	s := m.Graph.Add("MatMul", "logits", []*graph.Value{q, k}).Output(0)
	p := m.Graph.Add("Softmax", "probabilities", []*graph.Value{s}, graph.Int("axis", -1)).Output(0)
	output(m, m.Graph.Add("MatMul", "y", []*graph.Value{p, v}).Output(0), 1, heads, tokens, vo)
	return m, nil
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

// Encode returns what was timed, to be stored.
func (t *Table) Encode() ([]byte, error) { return json.Marshal(t.times) }

// Decode adds what Encode gave.
func (t *Table) Decode(b []byte) error {
	times := map[string]float64{}
	if err := json.Unmarshal(b, &times); err != nil {
		return &fault.Error{Kind: fault.Data, Where: "latency table", Err: err}
	}
	for key, ns := range times {
		t.times[key] = ns
	}
	return nil
}
