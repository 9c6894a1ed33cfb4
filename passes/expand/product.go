package expand

import "nuwa/graph"

// fusedMatMul is α·A·B, each operand with its last two axes swapped (trans), or
// its first axis moved in front of the last (transBatch) before that.
func fusedMatMul(w *writer) ([]*graph.Value, string) {
	a, reason := w.arranged(0, "transA", "transBatchA")
	if reason != "" {
		return nil, reason
	}
	b, reason := w.arranged(1, "transB", "transBatchB")
	if reason != "" {
		return nil, reason
	}
	y := w.op("MatMul", a, b)
	if alpha := w.n.FloatAttr("alpha", 1); alpha != 1 {
		y = w.op("Mul", y, w.number(float64(alpha)))
	}
	return []*graph.Value{y}, ""
}

// arranged is operand i with its axes as the attributes want them.
func (w *writer) arranged(i int, trans, transBatch string) (*graph.Value, string) {
	v := w.n.Input(i)
	swap, batch := w.n.IntAttr(trans, 0) != 0, w.n.IntAttr(transBatch, 0) != 0
	if !swap && !batch {
		return v, ""
	}
	r := int64(w.rank(v))
	if r < 2 {
		return v, "" // a vector is the same either way
	}
	perm := make([]int64, r)
	for k := range perm {
		perm[k] = int64(k)
	}
	if batch { // [M, batch..., K] → [batch..., M, K]
		for k := int64(0); k < r-2; k++ {
			perm[k] = k + 1
		}
		perm[r-2] = 0
	}
	if swap {
		perm[r-2], perm[r-1] = perm[r-1], perm[r-2]
	}
	return w.transpose(v, perm...), ""
}

// fusedGemm is a Gemm with an activation behind it.
func fusedGemm(w *writer) ([]*graph.Value, string) {
	var attrs []*graph.Attr
	for _, a := range w.n.Attrs() {
		switch a.Name {
		case "alpha", "beta", "transA", "transB":
			attrs = append(attrs, a)
		}
	}
	var params []float32
	for _, name := range []string{"activation_alpha", "activation_beta", "activation_gamma"} {
		if a := w.n.Attr(name); a != nil {
			params = append(params, a.F)
		}
	}
	y, reason := w.activate(w.with("Gemm", w.n.Inputs(), attrs...), w.n.StringAttr("activation", ""), params)
	return []*graph.Value{y}, reason
}

// fusedConv is a convolution, plus operand 3 where there is one, with an
// activation behind it.
func fusedConv(w *writer) ([]*graph.Value, string) {
	var attrs []*graph.Attr
	var params []float32
	for _, a := range w.n.Attrs() {
		switch a.Name {
		case "activation":
		case "activation_params":
			params = a.Floats
		default:
			attrs = append(attrs, a)
		}
	}
	in := w.n.Inputs()
	y := w.with("Conv", in[:min(3, len(in))], attrs...)
	if z := w.n.Input(3); z != nil {
		y = w.op("Add", y, z)
	}
	y, reason := w.activate(y, w.n.StringAttr("activation", ""), params)
	return []*graph.Value{y}, reason
}
