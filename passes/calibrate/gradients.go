package calibrate

import (
	"context"
	"fmt"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/grad"
)

// Gradients returns, for every tap, E[(∂ℓ/∂y_c)²]: the squared gradient of an
// image's loss with respect to channel c, averaged over images and positions.
// It is the diagonal of the Fisher information where labels are true, and says
// how much an error of that channel matters.
//
// The loss is the cross-entropy of the output called logits, as labels say.
func Gradients(ctx context.Context, eng *engine.Engine, m *graph.Model, logits string, taps []Tap, labels Labels, feeds Feeds) ([][]float64, error) {
	probe, outs, loss, err := differentiate(ctx, eng, m, logits, taps, labels.Loss())
	if err != nil {
		return nil, err
	}
	s, err := eng.Open(probe)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	sums := make([][]float64, len(taps))
	rows := make([]float64, len(taps))
	at := 0
	for feed, err := range feeds {
		if err != nil {
			return nil, err
		}
		n := batchOf(feed)
		with := map[string]*graph.Tensor{}
		for k, t := range feed {
			with[k] = t
		}
		if with[loss.Labels], err = labels.Feed(probe, loss, at, n); err != nil {
			return nil, err
		}
		at += n
		res, err := s.Run(ctx, with, nil)
		if err != nil {
			return nil, err
		}
		for i, o := range outs {
			xs, err := res[o.sum].Float32s()
			if err != nil {
				return nil, err
			}
			shape, err := res[o.rows].Ints()
			if err != nil {
				return nil, err
			}
			if sums[i] == nil {
				sums[i] = make([]float64, len(xs))
			}
			for c, x := range xs {
				if x-x != 0 {
					return nil, &fault.Error{Kind: fault.Model, Where: fmt.Sprintf("gradient at %q", taps[i].Value), Got: fmt.Sprint(x), Want: "finite numbers",
						Remedy: "check the preprocessing (--mean, --std) and the weights"}
				}
				sums[i][c] += float64(x)
			}
			rows[i] += float64(shape[0])
		}
	}
	for i := range sums {
		if rows[i] == 0 {
			return nil, noSamples()
		}
		for c := range sums[i] {
			sums[i][c] /= rows[i]
		}
	}
	return sums, nil
}

// batchOf returns the number of samples in a feed.
func batchOf(feed map[string]*graph.Tensor) int {
	for _, t := range feed {
		if len(t.Dims) > 0 {
			return int(t.Dims[0])
		}
	}
	return 1
}

// differentiate returns a copy of m that gives, for every tap, the number of
// rows and the sums of squared gradients, and the loss with its labels input.
func differentiate(ctx context.Context, eng *engine.Engine, m *graph.Model, logits string, taps []Tap, opt grad.LossOptions) (*graph.Model, []tapNames, grad.Loss, error) {
	c := m.Clone()
	shapes, err := eng.Shapes(ctx, c)
	if err != nil {
		return nil, nil, grad.Loss{}, err
	}
	loss, err := grad.AddLoss(c, shapes, logits, opt)
	if err != nil {
		return nil, nil, grad.Loss{}, err
	}
	if shapes, err = eng.Shapes(ctx, c); err != nil {
		return nil, nil, grad.Loss{}, err
	}
	var wrt []string
	for _, t := range taps {
		wrt = append(wrt, t.Value)
	}
	back, of, err := grad.Backward(c, loss.Value, wrt, shapes, grad.Options{Keep: true})
	if err != nil {
		return nil, nil, grad.Loss{}, err
	}
	g := back.Graph
	g.ClearOutputs()
	var names []tapNames
	for _, t := range taps {
		v := g.Value(of[t.Value])
		x := rows(g, g.Add("Mul", "squared", []*graph.Value{v, v}).Output(0), t)
		n := tapNames{rows: g.Add("Shape", "rows", []*graph.Value{x}).Output(0).Name(), sum: sumRows(back, x).Name()}
		g.AddOutput(g.Value(n.rows))
		g.AddOutput(g.Value(n.sum))
		names = append(names, n)
	}
	engine.Trim(g)
	return back, names, loss, nil
}
