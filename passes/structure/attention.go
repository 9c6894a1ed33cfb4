package structure

import (
	"context"

	"nuwa/graph"
)

// Attention is one multi-head attention: the softmax, the two products around
// it, and the linear maps that feed and drain them.
type Attention struct {
	Softmax *graph.Node
	QK, PV  *graph.Node // the products Q·Kᵀ and P·V
	Q, K, V *Operand    // nil where not understood
	Out     *Output     // nil where not understood

	Heads  int // as far as the shapes tell
	QKDim  int // width of queries and keys per head
	VODim  int // width of values and outputs per head
	Tokens int // queries per head

	QKReason string // why q/k cannot be reduced; empty when it can
	VOReason string // why v/o cannot be reduced; empty when it can
}

// attention follows one Softmax outward. It returns nil where the softmax does
// not stand between two products, so that it is no attention.
func (f *finder) attention(ctx context.Context, softmax *graph.Node) (*Attention, error) {
	if f.independent(softmax.Output(0)) { // a constant, such as a position's share
		return nil, nil
	}
	pv, side, after := f.productAfter(softmax)
	qk, reason := f.productBefore(softmax)
	switch {
	case pv == nil && qk == nil && f.weighsSum(softmax):
		f.decline(softmax, "attention", "its probabilities weigh a sum over tokens, not a product of matrices (as in linear attention)")
		return nil, nil
	case pv == nil && (qk == nil || after == ""):
		return nil, nil
	case pv == nil:
		f.decline(softmax, "attention", after)
		return nil, nil
	case qk == nil || qk.Is("Einsum"):
		f.decline(softmax, "attention", reason)
		return nil, nil
	}
	a := &Attention{Softmax: softmax, QK: qk, PV: pv}
	a.measure(f, side)
	var err error
	var q, k, v sideOf
	if q, err = f.side(ctx, qk, 0, 1); err != nil {
		return nil, err
	}
	if k, err = f.side(ctx, qk, 1, 2); err != nil {
		return nil, err
	}
	if v, err = f.side(ctx, pv, 1-side, side+1); err != nil {
		return nil, err
	}
	a.Q, a.K, a.V = q.operand, k.operand, v.operand
	out, outReason, err := f.output(ctx, pv, side)
	if err != nil {
		return nil, err
	}
	a.Out = out
	a.QKReason = firstReason("queries", q.reason, "keys", k.reason)
	if a.QKReason == "" {
		a.QKReason = pairing(f, a.Q, a.K, "queries", "keys")
	}
	a.VOReason = firstReason("values", v.reason, "output", outReason)
	if a.VOReason == "" {
		a.VOReason = a.pairOutput(f)
	}
	if a.Q != nil {
		a.Heads = len(a.Q.Channels)
	} else if a.V != nil {
		a.Heads = len(a.V.Channels)
	}
	return a, nil
}

func firstReason(pairs ...string) string {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			return pairs[i] + ": " + pairs[i+1]
		}
	}
	return ""
}

// measure reads heads, widths and tokens off the products' shapes.
func (a *Attention) measure(f *finder, side int) {
	b := f.shapes.Batch[0]
	if d, ok := f.shapes.At(a.QK.Input(0), b); ok && len(d) >= 2 {
		a.QKDim, a.Tokens = int(d[len(d)-1]), int(d[len(d)-2])
		a.Heads = int(graph.Elements(d[:len(d)-2])) / max(1, b)
	}
	if d, ok := f.shapes.At(a.PV.Input(1-side), b); ok && len(d) >= 2 {
		a.VODim = int(d[len(d)-1])
		if side == 1 {
			a.VODim = int(d[len(d)-2])
		}
	}
}
