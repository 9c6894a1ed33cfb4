package derive

import (
	"context"
	"fmt"

	"nuwa/exporter/target"
	"nuwa/internal/fault"
	"nuwa/internal/lowering"
	"nuwa/internal/report"
)

// meetTarget tells how far the model, which lies at s.path, is what its target
// wants. One that exceeds the target's memory or latency is an error.
func (s *Slim) meetTarget(ctx context.Context) error {
	t := s.o.Target
	if t.Name == "" && s.o.Precision == "fp32" {
		return nil
	}
	m := s.State.Model
	r := &report.Target{Name: t.Name, Provider: t.Provider, ProviderOptions: t.ProviderOptions, Threads: t.Threads, Opset: m.Opset(""), OpsetCeiling: t.Opset,
		Align: s.o.Align, Unaligned: unaligned(s.Result.Blocks, s.o.Align), Precision: s.o.Precision, Batch: t.Batch, Layout: t.Layout, Quantized: s.quantized}
	s.Result.Target = r
	if t.Name == "" {
		return nil
	}
	r.Violations = target.Check(m, t)
	var err error
	if r.Placement, err = lowering.Place(ctx, s.Eng, m, t, s.path); err != nil {
		return err
	}
	for _, l := range []struct {
		what    string
		bound   float64
		measure func(context.Context) (float64, error)
	}{{"memory", float64(t.MaxMemory), s.memory}, {"latency", t.MaxLatency.Seconds(), s.latency}} {
		if l.bound <= 0 {
			continue
		}
		met, searched := s.searched(l.what)
		if !searched {
			if met, err = l.measure(ctx); err != nil {
				return err
			}
		}
		limit := report.Limit{What: l.what, Bound: l.bound, Met: met}
		r.Limits = append(r.Limits, limit)
		if met > l.bound {
			return &fault.Error{Kind: fault.Unreachable, File: s.o.Output, Where: "target " + t.Name + ": max-" + l.what, Got: limit.Amount(met), Want: "at most " + limit.Amount(l.bound),
				Remedy: fmt.Sprintf("ask for a higher rate, or for a max-%s instead of one", l.what)}
		}
	}
	return nil
}

// searched returns what the model takes of something that its size was searched
// for.
func (s *Slim) searched(what string) (met float64, ok bool) {
	if s.budget == nil {
		return 0, false
	}
	for _, l := range s.budget.Limits {
		if l.What == what {
			return l.Met, true
		}
	}
	return 0, false
}

// unaligned lists the widths that were left as they are and are no multiples of
// align.
func unaligned(blocks []report.BlockWidths, align int) (out []string) {
	for i, b := range blocks {
		for _, w := range []struct {
			what  string
			width [2]int
		}{{"q/k", b.QK}, {"v/o", b.VO}, {"hidden", b.Hidden}} {
			if w.width[1]%align != 0 {
				out = append(out, fmt.Sprintf("block %d: %s %d", i, w.what, w.width[1]))
			}
		}
	}
	return out
}
