package nuwa

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"nuwa/exporter"
	"nuwa/internal/cost"
	"nuwa/internal/data"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/measure"
	"nuwa/internal/report"
)

// Budget are limits that a rate is found for: the lowest one that meets all of
// them, or, for an accuracy, the highest. Zero limits nothing.
type Budget struct {
	MaxMACs     int64 // per image
	MaxParams   int64
	MaxBytes    int64         // of the file
	MaxMemory   int64         // of weights and activations while running one image
	MaxLatency  time.Duration // of one image, measured with Runtime
	MinAccuracy float64       // among the wanted classes (their mean with Balance, their mean average precision where images may have several), on images of Data that nothing is calibrated on and that do not judge, 0 to 1
}

// IsZero reports whether nothing is limited.
func (b Budget) IsZero() bool { return b == Budget{} }

// check reports limits that make no sense.
func (b Budget) check() error {
	bad := func(what string, got any, want string) error {
		return &fault.Error{Kind: fault.Usage, Where: what, Got: fmt.Sprint(got), Want: want}
	}
	for what, n := range map[string]int64{"max-macs": b.MaxMACs, "max-params": b.MaxParams, "max-bytes": b.MaxBytes, "max-memory": b.MaxMemory, "max-latency": int64(b.MaxLatency)} {
		if n < 0 {
			return bad(what, n, "more than 0")
		}
	}
	limits := b
	limits.MinAccuracy = 0
	switch {
	case !(b.MinAccuracy >= 0 && b.MinAccuracy <= 1):
		return bad("min-accuracy", b.MinAccuracy, "0 to 1")
	case b.MinAccuracy > 0 && !limits.IsZero():
		return bad("min-accuracy", "limits beside an accuracy", "one or the other: limits ask for the largest model, an accuracy for the smallest")
	}
	return nil
}

// limit is one of the limits of a budget and how a model is measured by it.
type limit struct {
	report.Limit
	measure func(ctx context.Context, m *slim) (float64, error)
}

func (t *task) limits(b Budget) []limit {
	var out []limit
	add := func(what string, bound float64, measure func(ctx context.Context, m *slim) (float64, error)) {
		if bound > 0 {
			out = append(out, limit{report.Limit{What: what, Bound: bound}, measure})
		}
	}
	add("macs", float64(b.MaxMACs), func(ctx context.Context, m *slim) (float64, error) {
		size, err := measure.SizeOf(ctx, t.eng, m.state.Model, "")
		return float64(size.MACs), err
	})
	add("params", float64(b.MaxParams), func(ctx context.Context, m *slim) (float64, error) {
		size, err := measure.SizeOf(ctx, t.eng, m.state.Model, "")
		return float64(size.Params), err
	})
	add("bytes", float64(b.MaxBytes), func(_ context.Context, m *slim) (float64, error) {
		if err := m.provenance(); err != nil {
			return 0, err
		}
		text, err := exporter.Encode(m.state.Model)
		return float64(len(text)), err
	})
	add("memory", float64(b.MaxMemory), func(ctx context.Context, m *slim) (float64, error) {
		shapes, err := t.eng.Shapes(ctx, m.state.Model)
		if err != nil {
			return 0, err
		}
		return float64(cost.PeakMemory(m.state.Model, shapes)), nil
	})
	add("latency", b.MaxLatency.Seconds(), func(ctx context.Context, m *slim) (float64, error) { return m.latency(ctx) })
	add("accuracy", b.MinAccuracy, func(ctx context.Context, m *slim) (float64, error) { return m.validate(ctx) })
	return out
}

// latency measures the median time of one image in seconds.
func (s *slim) latency(ctx context.Context) (float64, error) {
	eng := &engine.Engine{Threads: cmp.Or(s.o.latencyThreads, s.o.Runtime.Threads), Providers: s.o.Runtime.providers()}
	m, err := measure.Open(measure.Source{Name: slimName(s.o.Output), Graph: s.state.Model}, eng)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	b, err := measure.Bench(ctx, []*measure.Model{m}, measure.BenchOptions{Seed: s.o.Seed, Image: imageDims(s.state.Model), MinTime: 300 * time.Millisecond})
	if err != nil {
		return 0, err
	}
	return b.Models[0].Median.Seconds(), nil
}

// validationImages limits how many images an accuracy is searched for on.
const validationImages = 2000

// validation returns images of the wanted classes that nothing is calibrated
// on and that do not judge.
func (t *task) validation() (*data.Set, error) {
	few := func(n int) error {
		return &fault.Error{Kind: fault.Data, File: t.o.Data, Where: "min-accuracy", Got: fmt.Sprintf("%d images beside those for calibration", n),
			Want: "at least 20, with their classes", Remedy: "give more images, or calibrate on fewer with --images"}
	}
	if t.pool == nil || t.classOf == nil {
		return nil, few(0)
	}
	rest := t.pool.Without(t.fit)
	if rest.Len() < 20 {
		return nil, few(rest.Len())
	}
	if rest.Multi && slices.Min(rest.Counts()) == 0 { // there is no precision of a class without images
		return nil, few(0)
	}
	return rest.Take(validationImages, t.o.Seed), nil
}

// validate measures the accuracy among the wanted classes on images that were
// set apart for choosing.
func (s *slim) validate(ctx context.Context) (float64, error) {
	set, err := s.validation()
	if err != nil {
		return 0, err
	}
	classOf, err := s.logitsOf(set.Classes)
	if err != nil {
		return 0, err
	}
	classOf, wanted := s.slimLogits(classOf)
	if s.state.Other != nil {
		wanted = upTo(len(s.wanted))
	}
	m, err := measure.Open(measure.Source{Name: slimName(s.o.Output), Graph: s.state.Model}, s.eng)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	a, err := measure.Evaluate(ctx, m, measure.FromSet(set, s.file.pre), classOf, measure.EvalOptions{Wanted: wanted, Names: s.classes})
	if err != nil {
		return 0, err
	}
	return a.Restricted.Quality(a.MultiLabel, s.task.o.Purification.Balance), nil
}
