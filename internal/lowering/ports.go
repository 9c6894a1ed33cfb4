package lowering

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/passes"
	"nuwa/passes/ports"
)

// Ports says how a model's input shall be.
type Ports struct {
	Batch  string // a number, or "dynamic"; "" leaves it
	Layout string // of images: "nchw" or "nhwc"; "" leaves it
	Fold   bool   // what follows from a fixed batch is computed now
}

// Apply gives the model its ports, and says what changed. It returns m, or what
// m was folded to.
func (p Ports) Apply(ctx context.Context, eng *engine.Engine, log *slog.Logger, m *graph.Model) (_ *graph.Model, changes []string, err error) {
	if p.Batch == "dynamic" && !engine.DynamicBatch(m) {
		shapes, err := eng.Shapes(ctx, m)
		if err != nil {
			return nil, nil, err
		}
		if err := ports.OpenBatch(m, shapes); err != nil {
			return nil, nil, err
		}
		changes = append(changes, "batch: open")
	}
	if n, err := strconv.Atoi(p.Batch); err == nil {
		if err := ports.FixBatch(m, int64(n)); err != nil {
			return nil, nil, err
		}
		changes = append(changes, fmt.Sprintf("batch: %d", n))
		if p.Fold {
			s := &passes.State{Model: m, Engine: eng, Log: log}
			if _, err := (&passes.Manager{SkipProof: true}).Run(ctx, s, passes.Folding()); err != nil {
				return nil, nil, err
			}
			m = s.Model
		}
	}
	if p.Layout != "" {
		if err := ports.Layout(m, p.Layout); err != nil {
			return nil, nil, err
		}
		changes = append(changes, "input: "+p.Layout)
	}
	return m, changes, nil
}
