package lowering

import (
	"context"
	"slices"

	"nuwa/exporter/target"
	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/ort"
)

// Placement says which nodes of a model a target's execution provider runs.
type Placement struct {
	From    string         `json:"from"`               // "profile": what ONNX Runtime did; "operators": what the target's list says, as the provider is not here
	Taken   int            `json:"taken"`              // nodes that the provider runs
	Left    int            `json:"left"`               // nodes that the CPU runs instead
	LeftOps map[string]int `json:"left_ops,omitempty"` // those, by operator
}

// Place finds out where the nodes of the model at path run: from ONNX Runtime's
// profile of one run where the provider is at hand, from the target's list of
// operators where not.
func Place(ctx context.Context, eng *engine.Engine, m *graph.Model, t target.Target, path string) (*Placement, error) {
	p := &Placement{From: "operators", LeftOps: map[string]int{}}
	provider := ort.Provider(t.Provider)
	if provider == "" {
		provider = ort.CPU
	}
	lib, err := ort.Load("")
	if err != nil {
		return nil, err
	}
	if !slices.Contains(lib.Providers(), provider) {
		for _, n := range m.Graph.Nodes() {
			p.count(t.Takes(n), n.Op)
		}
		return p, nil
	}
	s, err := ort.NewSessionFile(path, ort.Options{Threads: eng.Threads, Providers: []ort.Provider{provider}, Profile: true})
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
	for _, n := range times {
		p.count(n.Provider == string(provider), n.Op)
	}
	return p, nil
}

func (p *Placement) count(taken bool, op string) {
	if taken {
		p.Taken++
		return
	}
	p.Left++
	p.LeftOps[op]++
}
