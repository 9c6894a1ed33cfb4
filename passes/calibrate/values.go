package calibrate

import (
	"context"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// Values runs m over all feeds and returns the named values, a row per sample
// that holds all elements of the sample.
func Values(ctx context.Context, eng *engine.Engine, m *graph.Model, names []string, feeds Feeds) (map[string]*mat.Dense, error) {
	tapped, err := engine.Tap(m, names...)
	if err != nil {
		return nil, err
	}
	all, samples := map[string][]float64{}, 0
	err = sweep(ctx, eng, tapped, parts(m, feeds, engine.SweepSamples), func(feed, res map[string]*graph.Tensor) error {
		samples += Samples(m, feed)
		for _, name := range names {
			xs, err := res[name].Floats()
			if err != nil {
				return err
			}
			all[name] = append(all[name], xs...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if samples == 0 {
		return nil, noSamples()
	}
	out := map[string]*mat.Dense{}
	for _, name := range names {
		out[name] = mat.NewDense(samples, len(all[name])/samples, all[name])
	}
	return out, nil
}

// parts yields feeds of m cut into n samples each, where any number will do and all
// inputs have samples on their first axis.
func parts(m *graph.Model, feeds Feeds, n int) Feeds {
	for _, v := range engine.Feeds(m) {
		if dims, ok := v.Type.Dims(); !ok || len(dims) == 0 || dims[0] >= 0 || engine.BatchAxis(v) != 0 || v.Type.Elem == graph.String {
			return feeds
		}
	}
	return func(yield func(map[string]*graph.Tensor, error) bool) {
		for feed, err := range feeds {
			all := Samples(m, feed)
			for at := 0; at < max(1, all); at += n {
				part := feed
				if err == nil && all > n {
					part = map[string]*graph.Tensor{}
					for name, t := range feed {
						part[name] = t.Rows(at, min(at+n, all))
					}
				}
				if !yield(part, err) {
					return
				}
			}
		}
	}
}
