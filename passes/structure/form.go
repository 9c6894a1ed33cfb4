package structure

import (
	"fmt"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// Form is an attention as fused operators compute it: for each sample and head,
//
//	softmax(Scale·Q·Kᵀ + Bias)·V
//
// over all tokens, where Q, K and V are linear maps of [batch, tokens, channels]
// and the heads' outputs go, next to each other, to a linear map of such; or of
// other arrangements, which tokens and samples are then put into.
type Form struct {
	Scale   float64
	Bias    *graph.Value // a constant that broadcasts to [1, heads, queries, keys]; nil for none
	Q, K, V Arrangement  // of what the maps read
	Out     Arrangement  // of what the output projection reads
}

// Arrangement says how samples and tokens lie beside the channels, which are last.
type Arrangement struct {
	TokensFirst bool // [tokens, batch, channels]
	Flat        bool // tokens and samples share an axis
}

// Form reads a in that form, or tells why it does something else.
func (a *Attention) Form(m *graph.Model, s *engine.Shapes) (f Form, reason string) {
	switch {
	case a.QKReason != "":
		return f, a.QKReason
	case a.VOReason != "":
		return f, a.VOReason
	}
	if f, reason = a.logits(m, s); reason != "" {
		return f, reason
	}
	for _, x := range []struct {
		what    string
		o       *Operand
		fromEnd int // of the tokens' axis at the product
		is      *Arrangement
	}{{"queries", a.Q, 2, &f.Q}, {"keys", a.K, 1, &f.K}, {"values", a.V, 2, &f.V}} {
		if *x.is, reason = x.o.arrangement(s, x.fromEnd); reason != "" {
			return f, x.what + ": " + reason
		}
	}
	if !slices.Equal(a.Q.places(), a.V.places()) || len(a.Q.Leaf.layout.dst) != len(a.V.Leaf.layout.dst) {
		return f, "the heads of queries and values are not arranged alike"
	}
	var ok bool
	if f.Out, ok = a.Out.arrangement(s); !ok {
		return f, "the output projection does not take the tokens of one sample"
	}
	return f, ""
}

// arrangement tells how samples and tokens lie where the linear map of o reads
// them, or why their tokens, all and in order, are not on the product's given axis.
func (o *Operand) arrangement(s *engine.Shapes, fromEnd int) (is Arrangement, reason string) {
	lay := o.Leaf.layout
	if len(lay.src) != 3 || lay.channel != 2 || o.Linear.Axis != 1 {
		return is, "they do not come from [batch, tokens, channels]"
	}
	at, inner := len(lay.dst)-fromEnd, len(lay.dst)-2
	samples := lay.src[0]
	switch {
	case slices.Equal(lay.dst[at], lay.src[1]):
	case slices.Equal(lay.dst[at], lay.src[0]):
		is.TokensFirst, samples = true, lay.src[1]
	default:
		return is, "attention is not over all tokens"
	}
	for _, f := range samples {
		if lay.dstPlace(f).axis >= inner {
			return is, "attention is over samples"
		}
	}
	if s.Elem(o.Linear.In) != graph.Float32 || s.Elem(o.Leaf.Value) != graph.Float32 {
		return is, "they are not in single precision"
	}
	return is, ""
}

// arrangement tells how samples and tokens lie where the output projection reads
// them; ok is false where the way to it does more than to put heads side by side.
func (o *Output) arrangement(s *engine.Shapes) (is Arrangement, ok bool) {
	lay := o.leaf.layout
	inner := len(lay.src) - 2
	tokens := lay.src[inner]
	if o.axis != len(lay.dst)-1 || s.Elem(o.Linear.Out) != graph.Float32 {
		return is, false
	}
	rows := slices.Concat(lay.dst[:o.axis]...)
	switch n := len(rows) - len(tokens); {
	case n < 0 || o.axis < 1 || o.axis > 2:
		return is, false
	case o.axis == 2 && slices.Equal(lay.dst[1], tokens), o.axis == 1 && slices.Equal(rows[n:], tokens):
		rows = rows[:n]
	case o.axis == 2 && slices.Equal(lay.dst[0], tokens), o.axis == 1 && slices.Equal(rows[:len(tokens)], tokens):
		is.TokensFirst, rows = true, rows[len(tokens):]
	default:
		return is, false
	}
	is.Flat = o.axis == 1
	return is, !slices.ContainsFunc(rows, func(f int) bool { return lay.factors[f].axis >= inner })
}

// logits follows the product of queries and keys to the softmax, and that to
// the product with values.
func (a *Attention) logits(m *graph.Model, s *engine.Shapes) (f Form, reason string) {
	f.Scale = 1
	v := a.QK.Output(0)
	dims, ok := s.Of(v)
	if !ok {
		return f, "the logits' shape is not known"
	}
	for n := v.OnlyUser(); n != a.Softmax; n = v.OnlyUser() {
		if n == nil {
			return f, "something else reads the logits"
		}
		at := slices.Index(n.Inputs(), v)
		c := n.Input(1 - at)
		if len(n.Inputs()) != 2 || c == nil || c.Const() == nil {
			return f, fmt.Sprintf("the logits pass through %s", n)
		}
		number, scalar := 0.0, c.Const().Len() == 1
		if scalar {
			xs, err := c.Const().Floats()
			if err != nil {
				return f, err.Error()
			}
			number = xs[0]
		}
		switch {
		case n.Is("Mul") && scalar && f.Bias == nil:
			f.Scale *= number
		case n.Is("Div") && scalar && at == 0 && f.Bias == nil:
			f.Scale /= number
		case n.Is("Add") && f.Bias == nil && len(dims) == 4 && len(c.Const().Dims) <= 4 && biases(c.Const().Dims, dims):
			f.Bias = c
		default:
			return f, fmt.Sprintf("the logits pass through %s", n)
		}
		v = n.Output(0)
	}
	axis := a.Softmax.IntAttr("axis", -1)
	if m.Opset("") < 13 {
		axis = a.Softmax.IntAttr("axis", 1)
	}
	if axis != -1 && axis != int64(len(dims)-1) {
		return f, "the softmax is over another axis than keys"
	}
	if p := a.Softmax.Output(0); p.OnlyUser() != a.PV || a.PV.Input(0) != p {
		return f, "the probabilities are changed or read elsewhere"
	}
	return f, ""
}

// biases reports whether a constant of dims holds a number for every query and
// key, and is the same for all samples.
func biases(dims []int64, logits []engine.Size) bool {
	n := len(dims)
	if n < 2 || logits[2].Dynamic() || logits[3].Dynamic() || dims[n-1] != logits[3].Fixed || dims[n-2] != logits[2].Fixed {
		return false
	}
	return n < 3 || (n < 4 || dims[0] == 1) && (dims[n-3] == 1 || dims[n-3] == logits[1].Fixed && !logits[1].Dynamic())
}
