package passes

import (
	"context"
	"maps"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/ort"
	"nuwa/passes/calibrate"
	"nuwa/passes/structure"
)

// stream is where what a linear map gives joins a residual stream.
type stream struct {
	of    *structure.Linear
	sum   calibrate.Tap
	typ   *graph.Type
	scale []float64 // of each channel on the way there
	bytes int       // of the sum, per sample
}

// joined returns where what l gives joins a residual stream; nil where it does
// not.
func (s *State) joined(l *structure.Linear) *stream {
	sum, scale := l.Residual(s.ViT.Shapes)
	if sum == nil {
		return nil
	}
	sizes, _ := s.ViT.Shapes.Of(sum)
	elem := s.ViT.Shapes.Elem(sum)
	dims := make([]graph.Dim, len(sizes))
	bytes := elem.Bits() / 8
	for i, d := range sizes {
		bytes *= int(d.At(1))
		if !d.Dynamic() {
			dims[i] = graph.Fixed(d.Fixed)
		}
	}
	return &stream{of: l, scale: scale, typ: graph.TensorType(elem, dims...), bytes: bytes,
		sum: calibrate.Tap{Value: sum.Name(), Rank: len(sizes), Axis: l.Axis, Width: l.OutDim}}
}

// trailBytes is how much memory the values of trails may take. Where they would
// take more, everything is computed from the inputs.
const trailBytes = 512 << 20

// A trail holds what a residual stream is at one place for each calibration
// batch, so that what comes behind need not be computed from the inputs.
type trail struct {
	at   *stream // nil at the inputs
	held []*graph.Tensor
}

// heldInput is the input that takes a held value.
const heldInput = "nuwa:held"

// behind returns a copy of m that starts where t has come to.
func (t *trail) behind(m *graph.Model) *graph.Model {
	c := m.Clone()
	if t.at != nil {
		c.Graph.Value(t.at.sum.Value).ReplaceUses(c.Graph.AddInput(heldInput, t.at.typ))
	}
	return c
}

// feed adds to the inputs of a batch what behind needs.
func (t *trail) feed(inputs map[string]*graph.Tensor, batch int) map[string]*graph.Tensor {
	with := maps.Clone(inputs)
	if t.at != nil {
		with[heldInput] = t.held[batch]
	}
	return with
}

// leg is the way from a trail to a place further on.
type leg struct {
	from    *trail
	to      *stream
	hold    bool // the trail goes on from there
	session *ort.Session
}

// leg prepares the way to another place in m.
func (t *trail) leg(eng *engine.Engine, m *graph.Model, to *stream, hold bool) (*leg, error) {
	l := &leg{from: t, to: to, hold: hold}
	if t.at != nil && t.at.sum.Value == to.sum.Value {
		return l, nil
	}
	tapped, err := engine.Tap(t.behind(m), to.sum.Value)
	if err == nil {
		l.session, err = eng.Open(tapped)
	}
	return l, err
}

// walk returns the value of a batch at the end of l, and holds it from then on
// if that is wanted.
func (l *leg) walk(ctx context.Context, inputs map[string]*graph.Tensor, batch int) (*graph.Tensor, error) {
	if l.session == nil {
		return l.from.held[batch], nil
	}
	res, err := l.session.Run(ctx, l.from.feed(inputs, batch), nil)
	if err != nil {
		return nil, err
	}
	x := res[l.to.sum.Value]
	switch {
	case !l.hold:
	case batch < len(l.from.held):
		l.from.held[batch] = x
	default:
		l.from.held = append(l.from.held, x)
	}
	return x, nil
}

// end closes l. The trail is at its end where it was to be held.
func (l *leg) end() {
	if l.session != nil {
		_ = l.session.Close() // releasing cannot fail
	}
	if l.hold {
		l.from.at = l.to
	}
}
