// Package calibrate gathers statistics of a model's inner values over sample
// inputs: means and second moments per channel. They come out of ONNX Runtime
// as extra outputs of an instrumented copy, batch by batch, and are summed in
// float64, so memory does not grow with the number of samples.
//
//	taps := []calibrate.Tap{{Value: mlp.Second.In.Name(), Rank: 3, Axis: 1, Width: mlp.Hidden}}
//	moments, err := calibrate.Collect(ctx, eng, model, taps, batches)
//	c := moments[0].Second(true) // the covariance over all samples and tokens
//
// It may import graph, internal/engine and internal/linalg.
package calibrate

import (
	"context"
	"fmt"
	"iter"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/linalg"
)

// Feeds are batches of model inputs by name. A sequence can be ranged over
// more than once and gives the same batches each time.
type Feeds = iter.Seq2[map[string]*graph.Tensor, error]

// First gives the batches of feeds of m up to that which holds the n-th sample.
func First(m *graph.Model, feeds Feeds, n int) Feeds {
	return func(yield func(map[string]*graph.Tensor, error) bool) {
		left := n
		for feed, err := range feeds {
			left -= Samples(m, feed)
			if !yield(feed, err) || left <= 0 {
				return
			}
		}
	}
}

// Tap names a value to watch.
type Tap struct {
	Value string // the value's name
	Rank  int    // its number of axes
	Axis  int    // the axis of its channels, counted from the end: 1 is the last
	Width int    // the number of channels
}

// Collect runs m over all feeds. A value that turns out NaN or infinite is an
// error that names it.
func Collect(ctx context.Context, eng *engine.Engine, m *graph.Model, taps []Tap, feeds Feeds) ([]*linalg.Moments, error) {
	probe, asked, err := instrument(m, taps)
	if err != nil {
		return nil, err
	}
	out := make([]*linalg.Moments, len(taps))
	for i := range out {
		out[i] = linalg.NewMoments(taps[i].Width)
	}
	err = sweep(ctx, eng, probe, feeds, func(_, res map[string]*graph.Tensor) error {
		for i, n := range asked {
			if err := n.add(out[i], res); err != nil {
				return fmt.Errorf("value %q: %w", taps[i].Value, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(out) > 0 && out[0].Rows == 0 {
		return nil, noSamples()
	}
	return out, nil
}

// sweep runs m over all feeds, and calls see with each and with what m gives for
// it, in the order of feeds.
func sweep(ctx context.Context, eng *engine.Engine, m *graph.Model, feeds Feeds, see func(feed, res map[string]*graph.Tensor) error) error {
	if !engine.Heavy(m) { // of which what one run needs is enough for the memory
		eng = eng.Sweeping()
	}
	s, err := eng.Open(m)
	if err != nil {
		return err
	}
	defer s.Close()
	run := func(feed map[string]*graph.Tensor) (map[string]*graph.Tensor, error) { return s.Run(ctx, feed, nil) }
	weigh := func(res map[string]*graph.Tensor) (n int64) {
		for _, t := range res {
			n += int64(len(t.Data))
		}
		return n
	}
	return engine.Sweep(eng, feeds, run, weigh, see)
}

func noSamples() error {
	return &fault.Error{Kind: fault.Data, Got: "no calibration samples", Remedy: "give images with --data, or use --calibration synthetic"}
}

// instrument returns a copy of m that gives the sums of every tap.
func instrument(m *graph.Model, taps []Tap) (*graph.Model, []sums, error) {
	c := m.Clone()
	c.Graph.ClearOutputs()
	var all []sums
	for _, t := range taps {
		v := c.Graph.Value(t.Value)
		if v == nil {
			return nil, nil, fmt.Errorf("no value is called %q", t.Value)
		}
		x := rows(c.Graph, v, t)
		all = append(all, askSums(c, x, x, t.Width))
	}
	engine.Trim(c.Graph)
	return c, all, nil
}

// sumRows appends the sum over the rows of the matrix x.
func sumRows(m *graph.Model, x *graph.Value) *graph.Value {
	n := m.Graph.Add("ReduceSum", "sum", []*graph.Value{x}, graph.Int("keepdims", 0))
	if m.Opset("") >= 13 {
		n.SetInput(1, m.Graph.AddConst("axes", graph.NewTensor([]int64{1}, []int64{0})))
	} else {
		n.SetAttr(graph.Ints("axes", 0))
	}
	return n.Output(0)
}

// zero is Gemm's third operand, which opset 9 and 10 demand.
func zero(g *graph.Graph) *graph.Value { return g.AddConst("zero", graph.Scalar(float32(0))) }

// rows appends operators that turn v into a float32 matrix with one row per
// position and the channels in columns.
func rows(g *graph.Graph, v *graph.Value, t Tap) *graph.Value {
	if t.Axis != 1 {
		perm := []int64{}
		for i := range t.Rank {
			if i != t.Rank-t.Axis {
				perm = append(perm, int64(i))
			}
		}
		perm = append(perm, int64(t.Rank-t.Axis))
		v = g.Add("Transpose", "channels_last", []*graph.Value{v}, graph.Ints("perm", perm...)).Output(0)
	}
	v = g.Add("Cast", "rows_f32", []*graph.Value{v}, graph.Int("to", int64(graph.Float32))).Output(0)
	shape := g.AddConst("rows_shape", graph.NewTensor([]int64{2}, []int64{-1, int64(t.Width)}))
	return g.Add("Reshape", "rows", []*graph.Value{v, shape}).Output(0)
}
