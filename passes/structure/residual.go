package structure

import (
	"fmt"
	"slices"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// Residual returns the sum in which what l gives meets a residual stream, and
// what each channel is multiplied by on the way there, as by LayerScale; nil
// where something else becomes of it.
func (l *Linear) Residual(s *engine.Shapes) (sum *graph.Value, scale []float64) {
	scale = make([]float64, l.OutDim)
	for i := range scale {
		scale[i] = 1
	}
	dims, ok := s.Of(l.Out)
	if !ok {
		return nil, nil
	}
	for v := l.Out; ; {
		n := v.OnlyUser()
		if n == nil || !n.Is("Mul", "Add") || n.Graph() != l.Node.Graph() {
			return nil, nil
		}
		other := n.Input(0)
		if other == v {
			other = n.Input(1)
		}
		if d, ok := s.Of(n.Output(0)); !ok || !slices.Equal(d, dims) {
			return nil, nil
		}
		if n.Is("Add") {
			if d, ok := s.Of(other); !ok || other.Const() != nil || !slices.Equal(d, dims) {
				return nil, nil
			}
			return n.Output(0), scale
		}
		if other.Const() == nil || !isPerChannel(other.Const().Dims, l.OutDim, l.Axis) {
			return nil, nil
		}
		xs, err := other.Const().Floats()
		if err != nil {
			return nil, nil
		}
		for i := range scale {
			scale[i] *= xs[i%len(xs)]
		}
		v = n.Output(0)
	}
}

// Replace puts the same kind of linear map from in, with another weight
// (OutDim×in's channels) and bias (nil for none), in the place of l, which is
// that one from then on.
func (l *Linear) Replace(g *graph.Graph, in *graph.Value, w *mat.Dense, b []float64) error {
	y, err := l.Rebuild(g, in, l.Name(), w, b)
	if err != nil {
		return fmt.Errorf("%s: %w", l.Node, err)
	}
	l.Out.ReplaceUses(y)
	n := y.Producer()
	l.In, l.Out, l.Add, l.B = in, y, nil, nil
	if l.Node.Is("MatMul") && n.Is("Add") {
		l.Add, l.B, n = n, n.Input(1), n.Input(0).Producer()
	} else if b := n.Input(2); b != nil {
		l.B = b
	}
	_, l.InDim = w.Dims()
	l.Node, l.W = n, n.Input(1)
	return nil
}
