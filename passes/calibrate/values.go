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
	s, err := eng.Open(tapped)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	all, samples := map[string][]float64{}, 0
	for feed, err := range feeds {
		if err != nil {
			return nil, err
		}
		res, err := s.Run(ctx, feed, nil)
		if err != nil {
			return nil, err
		}
		samples += Samples(m, feed)
		for _, name := range names {
			xs, err := res[name].Floats()
			if err != nil {
				return nil, err
			}
			all[name] = append(all[name], xs...)
		}
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
