package structure

import (
	"nuwa/graph"
	"nuwa/internal/engine"
)

// Rows returns how many times l is applied for one image.
func (l *Linear) Rows(s *engine.Shapes) float64 {
	d, _ := s.At(l.Out, 1)
	return float64(graph.Elements(d)) / float64(l.OutDim)
}

// UnitMACs returns the multiply-accumulates per image that one q/k channel and
// one v/o channel of every head cost together, the heads of the site sharing
// their width: (2·N·d + N²)·H each for plain self-attention.
func (a *Attention) UnitMACs(s *engine.Shapes) (qk, vo float64) {
	logits, _ := s.At(a.QK.Output(0), 1)
	qk = float64(graph.Elements(logits))
	for _, o := range []*Operand{a.Q, a.K} {
		if o != nil {
			qk += float64(len(o.Channels)*o.Linear.InDim) * o.Linear.Rows(s)
		}
	}
	out, _ := s.At(a.PV.Output(0), 1)
	keys := 1.0
	if d, ok := s.At(a.QK.Output(0), 1); ok {
		keys = float64(d[len(d)-1])
	}
	if a.V == nil || a.Out == nil {
		return qk, 0
	}
	vo = float64(graph.Elements(out)) / float64(a.VODim) * keys
	vo += float64(len(a.V.Channels)*a.V.Linear.InDim) * a.V.Linear.Rows(s)
	vo += float64(len(a.V.Channels)*a.Out.Linear.OutDim) * a.Out.Linear.Rows(s)
	return qk, vo
}

// UnitParams returns how many weights one q/k channel and one v/o channel of
// every head have together, the heads of the site sharing their width.
func (a *Attention) UnitParams() (qk, vo float64) {
	count := func(o *Operand) float64 { return float64(len(o.Channels) * (o.Linear.InDim + o.Linear.biases())) }
	for _, o := range []*Operand{a.Q, a.K} {
		if o != nil {
			qk += count(o)
		}
	}
	if a.V == nil || a.Out == nil {
		return qk, 0
	}
	return qk, count(a.V) + float64(len(a.V.Channels)*a.Out.Linear.OutDim)
}

// biases returns how many biases one channel of l's output has.
func (l *Linear) biases() int {
	if l.B == nil {
		return 0
	}
	return 1
}

// UnitMACs returns the multiply-accumulates per image that one hidden channel
// costs: 2·N·d, or 3·N·d where the layer is gated, and its filters' where there
// are depthwise convolutions.
func (m *MLP) UnitMACs(s *engine.Shapes) float64 {
	n := float64(m.Second.OutDim) * m.Second.Rows(s)
	for _, l := range m.First {
		n += float64(l.InDim) * l.Rows(s) * float64(l.OutDim) / float64(m.Hidden)
	}
	for _, c := range m.region.convs {
		out, _ := s.At(c.Output(0), 1)
		n += float64(graph.Elements(out)) * float64(graph.Elements(c.Input(1).Const().Dims[2:])) / float64(m.Hidden)
	}
	return n
}

// UnitParams returns how many weights one hidden channel has.
func (m *MLP) UnitParams() float64 {
	n := float64(m.Second.OutDim)
	for _, l := range m.First {
		n += float64((l.InDim+l.biases())*l.OutDim) / float64(m.Hidden)
	}
	for _, c := range m.region.convs {
		for _, v := range c.Inputs()[1:] {
			if v != nil {
				n += float64(v.Const().Len()) / float64(m.Hidden)
			}
		}
	}
	return n
}
