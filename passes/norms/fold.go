package norms

import "nuwa/graph"

// reader is a linear map that reads a norm: MatMul with a constant weight
// [d, out] and the Add of its bias.
type reader struct{ product, bias *graph.Node }

// fold takes what multiplies and shifts the channels of a norm, per channel,
// into the linear maps that read it: W′ = diag(γ)·W and b′ = b + βᵀ·W. It does
// nothing unless every reader is such a map.
func fold(m *graph.Model, scale *graph.Node) bool {
	gamma := channels(scale)
	shift := scale.Output(0).OnlyUser()
	last, beta := scale, []float64(nil)
	if shift.Is("Add") && channels(shift) != nil {
		last, beta = shift, channels(shift)
	}
	if gamma == nil || beta != nil && len(beta) != len(gamma) {
		return false
	}
	var readers []reader
	for _, u := range last.Output(0).Uses() {
		r, ok := readerOf(u, len(gamma))
		if !ok {
			return false
		}
		readers = append(readers, r)
	}
	if len(readers) == 0 {
		return false
	}
	for _, r := range readers {
		if !r.take(m, gamma, beta) {
			return false
		}
	}
	unit := scale.Input(0)
	if unit.Const() != nil {
		unit = scale.Input(1)
	}
	last.Output(0).ReplaceUses(unit)
	return true
}

// channels reads the constant operand of n as one number per channel of the
// last axis; nil where it is anything else.
func channels(n *graph.Node) []float64 {
	for _, v := range n.Inputs() {
		if c := v.Const(); c != nil && len(c.Dims) == 1 && c.Dims[0] > 1 && c.Type == graph.Float32 {
			if xs, err := c.Floats(); err == nil {
				return xs
			}
		}
	}
	return nil
}

func readerOf(u graph.Use, d int) (reader, bool) {
	n := u.Node
	if !n.Is("MatMul") || u.Index != 0 {
		return reader{}, false
	}
	w := n.Input(1).Const()
	if w == nil || w.Type != graph.Float32 || len(w.Dims) != 2 || w.Dims[0] != int64(d) || len(n.Input(1).Uses()) != 1 {
		return reader{}, false
	}
	bias := n.Output(0).OnlyUser()
	if !bias.Is("Add") {
		return reader{}, false
	}
	b := channels(bias)
	return reader{n, bias}, len(b) == int(w.Dims[1])
}

// take changes the weight and the bias. It reports false, having changed
// nothing, when their elements cannot be read.
func (r reader) take(m *graph.Model, gamma, beta []float64) bool {
	w := r.product.Input(1).Const()
	xs, err := w.Floats()
	if err != nil {
		return false
	}
	out := int(w.Dims[1])
	b := channels(r.bias)
	for i := range gamma {
		row := xs[i*out : (i+1)*out]
		for j := range row {
			if beta != nil {
				b[j] += beta[i] * row[j]
			}
			row[j] *= gamma[i]
		}
	}
	wt, err1 := w.With(w.Dims, xs)
	bt, err2 := w.With([]int64{int64(out)}, b)
	if err1 != nil || err2 != nil {
		return false
	}
	r.product.SetInput(1, m.Graph.AddConst(r.product.Input(1).Name(), wt))
	at := 0
	if r.bias.Input(0) == r.product.Output(0) {
		at = 1
	}
	r.bias.SetInput(at, m.Graph.AddConst(r.bias.Input(at).Name(), bt))
	return true
}
