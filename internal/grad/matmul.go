package grad

import (
	"slices"
	"strings"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// Products. With Y = A·B: dA = dY·Bᵀ and dB = Aᵀ·dY, summed over the batch
// dimensions that were broadcast.

func matMulRule(c *call, i int) *graph.Value { return c.product(i, false, false) }

// fusedMatMulRule: alpha·A·B with either transposed in its last two axes.
func fusedMatMulRule(c *call, i int) *graph.Value {
	if c.node.IntAttr("transBatchA", 0) != 0 || c.node.IntAttr("transBatchB", 0) != 0 {
		return c.unsupported("transposed batch dimensions", "write it as Transpose and MatMul")
	}
	v := c.product(i, c.node.IntAttr("transA", 0) != 0, c.node.IntAttr("transB", 0) != 0)
	return c.scaled(v, float64(c.node.FloatAttr("alpha", 1)))
}

// gemmRule: alpha·A·B + beta·C.
func gemmRule(c *call, i int) *graph.Value {
	if i == 2 {
		return c.scaled(c.dy(), float64(c.node.FloatAttr("beta", 1)))
	}
	v := c.product(i, c.node.IntAttr("transA", 0) != 0, c.node.IntAttr("transB", 0) != 0)
	return c.scaled(v, float64(c.node.FloatAttr("alpha", 1)))
}

// product is the gradient with respect to operand i of A·B, either of which is
// read transposed. A vector counts as one row or one column.
func (c *call) product(i int, transA, transB bool) *graph.Value {
	ra, rb := len(c.inDims(0)), len(c.inDims(1))
	dy := c.dy()
	if c.err != nil {
		return nil
	}
	if ra == 1 {
		dy = c.insert(dy, len(c.dims(dy))-min(1, rb-1))
	}
	if rb == 1 {
		dy = c.insert(dy, len(c.dims(dy)))
	}
	transA, transB = transA && ra > 1, transB && rb > 1
	if i == 0 {
		b := c.in(1)
		if rb == 1 {
			b = c.insert(b, 1)
		}
		if transA {
			return c.matmul(b, transB, dy, true)
		}
		return c.matmul(dy, false, b, !transB)
	}
	a := c.in(0)
	if ra == 1 {
		a = c.insert(a, 0)
	}
	if rb == 2 && ra > 2 && !transA { // a weight: all rows at once
		a, dy = c.rows(a), c.rows(dy)
	}
	if transB {
		return c.matmul(dy, true, a, transA)
	}
	db := c.matmul(a, !transA, dy, false)
	if rb == 1 && c.err == nil {
		dims := c.dims(db)
		return c.reshape(db, dims[:len(dims)-1])
	}
	return db
}

// rows flattens all axes but the last into one, where their product is known.
func (e *emitter) rows(a *graph.Value) *graph.Value {
	if e.err != nil {
		return nil
	}
	dims := e.dims(a)
	n, ok := product(dims[:len(dims)-1])
	if !ok {
		return a
	}
	return e.reshape(a, []engine.Size{n, dims[len(dims)-1]})
}

// matmul multiplies two values of at least two axes, each transposed in its
// last two where asked. With a matrix on the right it is one Gemm, which needs
// no transposed copy of a weight.
func (e *emitter) matmul(a *graph.Value, transA bool, b *graph.Value, transB bool) *graph.Value {
	if e.err != nil {
		return nil
	}
	da, db := e.dims(a), e.dims(b)
	ra, rb := len(da), len(db)
	n, m := da[ra-2], db[rb-1]
	if transA {
		n = da[ra-1]
	}
	if transB {
		m = db[rb-2]
	}
	if rb == 2 && e.opset >= 11 && (ra == 2 || !transA) {
		flat := e.rows(a)
		if e.err == nil && len(e.dims(flat)) == 2 {
			first := e.dims(flat)[0]
			if transA {
				first = n
			}
			var attrs []*graph.Attr
			if transA {
				attrs = append(attrs, graph.Int("transA", 1))
			}
			if transB {
				attrs = append(attrs, graph.Int("transB", 1))
			}
			y := e.op("Gemm", info{[]engine.Size{first, m}, e.elem(a)}, []*graph.Value{flat, b}, attrs...)
			return e.reshape(y, append(slices.Clone(da[:ra-2]), n, m))
		}
	}
	if transA {
		a = e.swap(a)
	}
	if transB {
		b = e.swap(b)
	}
	batch := e.broadcast(da[:ra-2], db[:rb-2])
	return e.op("MatMul", info{append(batch, n, m), e.elem(a)}, []*graph.Value{a, b})
}

// einsumRule: the gradient with respect to one operand is the Einsum that has
// the result in its place. An index that only this operand has was summed up,
// so its gradient is the same all along that axis.
func einsumRule(c *call, i int) *graph.Value {
	terms, out, ok := einsumTerms(c.node.StringAttr("equation", ""))
	if !ok || len(terms) != len(c.node.Inputs()) {
		return c.unsupported("an equation that repeats an index in one operand, or is not understood", "write it as MatMul and Transpose")
	}
	others := out
	inputs, from := []*graph.Value{c.dy()}, []string{out}
	for j, t := range terms {
		if j != i {
			inputs, from, others = append(inputs, c.in(j)), append(from, t), others+t
		}
	}
	have := c.inDims(i)
	if c.err != nil || len(have) != len(terms[i]) {
		return nil
	}
	kept := "" // the indices of the operand that anything else has
	var small, aligned []engine.Size
	for at, x := range terms[i] {
		if !strings.ContainsRune(others, x) {
			aligned = append(aligned, one)
			continue
		}
		kept += string(x)
		small, aligned = append(small, have[at]), append(aligned, have[at])
	}
	v := c.op("Einsum", info{small, c.elem(c.dy())}, inputs, graph.Str("equation", strings.Join(from, ",")+"->"+kept))
	return c.reshape(v, aligned)
}

// einsumTerms splits an equation into the indices of each operand and of the
// result. Spaces are dropped; an implicit result is the indices that occur
// once, in order. It is not ok for an ellipsis or a repeated index.
func einsumTerms(equation string) (terms []string, out string, ok bool) {
	left, out, explicit := strings.Cut(strings.ReplaceAll(equation, " ", ""), "->")
	terms = strings.Split(left, ",")
	if strings.Contains(equation, ".") {
		return nil, "", false
	}
	if !explicit {
		all := strings.Split(strings.Join(terms, ""), "")
		slices.Sort(all)
		for _, x := range all {
			if strings.Count(left, x) == 1 {
				out += x
			}
		}
	}
	for _, t := range append(slices.Clone(terms), out) {
		for _, x := range t {
			if strings.Count(t, string(x)) > 1 {
				return nil, "", false
			}
		}
	}
	return terms, out, true
}
