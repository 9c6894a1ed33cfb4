package lowering

import (
	"context"
	"slices"

	"nuwa/exporter/target"
	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/ort"
	"nuwa/internal/report"
)

// Device returns an engine that runs models as the target does, as far as this
// machine can: with the target's threads, and with its execution provider and
// the options of that where ONNX Runtime has it here, else as eng does.
func Device(eng *engine.Engine, t target.Target) (e *engine.Engine, here bool, err error) {
	out := *eng
	if t.Threads > 0 {
		out.Threads = t.Threads
	}
	if t.Provider == "" {
		return &out, true, nil
	}
	lib, err := ort.Load("") // the one that is loaded
	if err != nil {
		return nil, false, err
	}
	if here = slices.Contains(lib.Providers(), ort.Provider(t.Provider)); here {
		out.Providers, out.Provider = []ort.Provider{ort.Provider(t.Provider)}, t.ProviderOptions
	}
	return &out, here, nil
}

// Place finds out where the nodes of the model at path run: from ONNX Runtime's
// profile of one run where the provider is at hand, from the target's list of
// operators where not. It returns nil where there is neither.
func Place(ctx context.Context, eng *engine.Engine, m *graph.Model, t target.Target, path string) (*report.Placement, error) {
	p := &report.Placement{From: "operators", LeftOps: map[string]int{}}
	count := func(taken bool, op string) {
		if taken {
			p.Taken++
			return
		}
		p.Left++
		p.LeftOps[op]++
	}
	device, here, err := Device(eng, t)
	if err != nil {
		return nil, err
	}
	if !here && t.Operators == nil {
		return nil, nil
	}
	if !here {
		for _, n := range m.Graph.Nodes() {
			count(t.Takes(n), n.Op)
		}
		return p, nil
	}
	s, err := ort.NewSessionFile(path, ort.Options{Threads: device.Threads, Providers: device.Providers, Provider: device.Provider, Profile: true})
	if err != nil {
		return nil, err
	}
	feeds, err := engine.Inputs(m, 1, 1)
	if err == nil {
		_, err = s.Run(ctx, feeds, nil)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	times, err := s.Profile()
	if err != nil {
		return nil, err
	}
	p.From = "profile"
	provider := string(ort.CPU)
	if len(device.Providers) > 0 {
		provider = string(device.Providers[0])
	}
	for _, n := range times {
		count(n.Provider == provider, n.Op)
	}
	return p, nil
}
