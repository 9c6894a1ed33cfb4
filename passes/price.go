package passes

import (
	"context"
	"fmt"

	"nuwa/graph"
	"nuwa/internal/cost"
	"nuwa/internal/latency"
	"nuwa/passes/structure"
)

// kernelStep is the width in whose multiples latencies are timed.
const kernelStep = 16

// price is what the sensitivity allocation saves: of the base and of a model that
// was made of it, and of its parts at widths that they may get.
type price struct {
	whole     func(ctx context.Context, s *State, m *graph.Model) (base, now float64, err error)
	attention func(ctx context.Context, s *State, a *structure.Attention, heads, qk, vo int) (float64, error)
	hidden    func(ctx context.Context, s *State, m *structure.MLP, width int) (float64, error)
}

// prices are the kinds of them, by name.
var prices = map[string]price{
	CostMACs: {
		whole: func(ctx context.Context, s *State, m *graph.Model) (base, now float64, err error) {
			c, err := s.counted(ctx, m)
			return float64(s.BaseCost.MACs), float64(c.MACs), err
		},
		attention: func(_ context.Context, s *State, a *structure.Attention, heads, qk, vo int) (float64, error) {
			uq, uv := a.UnitMACs(s.costs)
			return (uq*float64(qk) + uv*float64(vo)) * float64(heads) / float64(a.Heads), nil
		},
		hidden: func(_ context.Context, s *State, m *structure.MLP, width int) (float64, error) {
			return m.UnitMACs(s.costs) * float64(width), nil
		},
	},
	CostParameters: {
		whole: func(ctx context.Context, s *State, m *graph.Model) (base, now float64, err error) {
			c, err := s.counted(ctx, m)
			return float64(s.BaseCost.Params), float64(c.Params), err
		},
		attention: func(_ context.Context, _ *State, a *structure.Attention, heads, qk, vo int) (float64, error) {
			uq, uv := a.UnitParams()
			return (uq*float64(qk) + uv*float64(vo)) * float64(heads) / float64(a.Heads), nil
		},
		hidden: func(_ context.Context, _ *State, m *structure.MLP, width int) (float64, error) {
			return m.UnitParams() * float64(width), nil
		},
	},
	CostLatency: {
		whole: func(ctx context.Context, s *State, m *graph.Model) (base, now float64, err error) {
			c, err := s.counted(ctx, m)
			if err != nil {
				return 0, 0, err
			}
			return s.Times.Whole(ctx, fmt.Sprint(c), s.Cleaned, m) // all sizes of a task start from the same times
		},
		attention: attentionTime,
		hidden:    hiddenTime,
	},
}

// counted counts what m costs, which widths are planned for.
func (s *State) counted(ctx context.Context, m *graph.Model) (cost.Cost, error) {
	if m == s.Model && s.cost != nil {
		return *s.cost, nil
	}
	shapes, err := s.Engine.Shapes(ctx, m)
	if err != nil {
		return cost.Cost{}, err
	}
	return cost.Of(m, shapes)
}

// attentionTime adds up the linear maps around the heads of a, and what they do.
func attentionTime(ctx context.Context, s *State, a *structure.Attention, heads, qk, vo int) (float64, error) {
	total := 0.0
	add := func(ns float64, err error) error {
		total += ns
		return err
	}
	width := map[*structure.Linear]int{}
	for _, o := range []struct {
		of    *structure.Operand
		width int
	}{{a.Q, qk}, {a.K, qk}, {a.V, vo}} {
		if o.of != nil {
			width[o.of.Linear] += heads * o.width
		}
	}
	for l, w := range width {
		if err := add(s.Times.Linear(ctx, int(l.Rows(s.costs)), l.InDim, w)); err != nil {
			return 0, err
		}
	}
	d, _ := s.costs.At(a.QK.Output(0), 1)
	r := len(d)
	on := latency.Attention{Heads: int(graph.Elements(d[:r-2])) * heads / a.Heads, Queries: int(d[r-2]), Keys: int(d[r-1])}
	if err := add(s.Times.Attention(ctx, on, qk, vo)); err != nil {
		return 0, err
	}
	if a.Out == nil {
		return total, nil
	}
	l := a.Out.Linear
	return total, add(s.Times.Linear(ctx, int(l.Rows(s.costs)), heads*vo, l.OutDim))
}

// hiddenTime adds up the maps of a hidden layer and its activation.
func hiddenTime(ctx context.Context, s *State, m *structure.MLP, width int) (float64, error) {
	total := 0.0
	for _, l := range m.First {
		ns, err := s.Times.Linear(ctx, int(l.Rows(s.costs)), l.InDim, l.OutDim*width/m.Hidden)
		if err != nil {
			return 0, err
		}
		total += ns
	}
	rows := int(m.Second.Rows(s.costs))
	ns, err := s.Times.Activation(ctx, rows, width)
	if err != nil {
		return 0, err
	}
	out, err := s.Times.Linear(ctx, rows, width, m.Second.OutDim)
	return total + ns + out, err
}
