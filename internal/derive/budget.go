package derive

import (
	"context"
	"slices"
	"time"

	"gonum.org/v1/gonum/stat"

	"nuwa/exporter"
	"nuwa/internal/cost"
	"nuwa/internal/lowering"
	"nuwa/internal/measure"
	"nuwa/internal/modelfile"
	"nuwa/internal/report"
	"nuwa/internal/task"
)

// limit is one of the limits of a budget and how a model, in the form in which it
// is written, is measured by it.
type limit struct {
	report.Limit
	measure func(ctx context.Context, m *Slim) (float64, error)
}

func limits(b task.Budget, c *clock) []limit {
	var out []limit
	add := func(what string, bound float64, measure func(ctx context.Context, m *Slim) (float64, error)) {
		if bound > 0 {
			out = append(out, limit{report.Limit{What: what, Bound: bound}, measure})
		}
	}
	add("macs", float64(b.MaxMACs), func(_ context.Context, m *Slim) (float64, error) { return float64(m.plain.MACs), nil })
	add("params", float64(b.MaxParams), func(_ context.Context, m *Slim) (float64, error) { return float64(m.plain.Params), nil })
	add("bytes", float64(b.MaxBytes), func(_ context.Context, m *Slim) (float64, error) {
		if err := m.provenance(); err != nil {
			return 0, err
		}
		text, err := exporter.Encode(m.State.Model)
		return float64(len(text)), err
	})
	add("memory", float64(b.MaxMemory), func(ctx context.Context, m *Slim) (float64, error) { return m.memory(ctx) })
	add("latency", b.MaxLatency.Seconds(), c.time)
	add("accuracy", b.MinAccuracy, func(ctx context.Context, m *Slim) (float64, error) { return m.validate(ctx) })
	return out
}

// memory estimates the bytes of weights and activations during one run.
func (s *Slim) memory(ctx context.Context) (float64, error) {
	shapes, err := s.Eng.Shapes(ctx, s.State.Model)
	if err != nil {
		return 0, err
	}
	return float64(cost.PeakMemory(s.State.Model, shapes)), nil
}

// latency measures the median time of one run in seconds, as the target runs
// models as far as that can be had here.
func (s *Slim) latency(ctx context.Context) (float64, error) {
	var c clock
	defer c.stop()
	return c.time(ctx, s)
}

// clock times models one after another. Each but the first is timed in turns with
// the first, and takes its part of what that took in the median of all turns: so
// a load on the machine that comes and goes does not count.
type clock struct {
	first *measure.Model
	took  []float64 // seconds that the first took, turn by turn
}

// How long models are timed at least.
const (
	firstTime = time.Second
	laterTime = 1500 * time.Millisecond // both together
)

// time returns the median time of one run of s in seconds.
func (c *clock) time(ctx context.Context, s *Slim) (float64, error) {
	eng, _, err := lowering.Device(s.o.Runtime.Engine(), s.o.Target)
	if err != nil {
		return 0, err
	}
	m, err := measure.Open(measure.Source{Name: slimName(s.o.Output), Graph: s.State.Model}, eng)
	if err != nil {
		return 0, err
	}
	opt := measure.BenchOptions{Seed: s.o.Seed, Image: modelfile.ImageDims(s.State.Model), MinTime: laterTime}
	turn := []*measure.Model{c.first, m}
	if c.first == nil {
		c.first, turn, opt.MinTime = m, []*measure.Model{m}, firstTime
	} else {
		defer m.Close()
	}
	b, err := measure.Bench(ctx, turn, opt)
	if err != nil {
		return 0, err
	}
	c.took = append(c.took, b.Models[0].Median.Seconds())
	seconds := stat.Quantile(0.5, stat.Empirical, slices.Sorted(slices.Values(c.took)), nil)
	if len(turn) == 1 {
		return seconds, nil
	}
	return seconds / b.Speedups[0].Median, nil
}

func (c *clock) stop() {
	if c.first != nil {
		c.first.Close()
	}
}

// validate measures the accuracy among the wanted classes on images that were
// set apart for choosing.
func (s *Slim) validate(ctx context.Context) (float64, error) {
	set, err := s.Validation()
	if err != nil {
		return 0, err
	}
	classOf, err := s.LogitsOf(set.Classes)
	if err != nil {
		return 0, err
	}
	classOf, wanted := s.decision(classOf)
	m, err := measure.Open(measure.Source{Name: slimName(s.o.Output), Graph: s.State.Model}, s.Eng.Sweeping())
	if err != nil {
		return 0, err
	}
	defer m.Close()
	a, err := measure.Evaluate(ctx, m, measure.FromSet(set, s.pre), classOf, measure.EvalOptions{Wanted: wanted, Names: s.Classes})
	if err != nil {
		return 0, err
	}
	return a.Restricted.Quality(a.MultiLabel, s.Task.Options.Purification.Balance), nil
}
