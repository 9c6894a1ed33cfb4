package structure

import (
	"fmt"
	"slices"

	"nuwa/graph"
)

// productAfter finds the product that first takes up what softmax gives, and
// which of its operands that is. Maps over heads (talking heads) and what
// combines several probabilities of the same shape (gates) are passed only when
// there is no other way, sums with other computed values (residuals) never. There
// is neither product nor reason where softmax serves no attention.
func (f *finder) productAfter(softmax *graph.Node) (pv *graph.Node, side int, reason string) {
	var other *graph.Node
	for _, throughHeads := range []bool{false, true} {
		seen := map[*graph.Value]bool{}
		next := []*graph.Value{softmax.Output(0)}
		for len(next) > 0 {
			v := next[0]
			next = next[1:]
			if v == nil || seen[v] {
				continue
			}
			seen[v] = true
			for _, u := range v.Uses() {
				switch n := u.Node; {
				case n == nil || n.Graph() != f.g:
				case isProduct(n):
					return n, u.Index, ""
				case (n.Is(unaryOps...) || n.Is(naryOps...) || n.Is(layoutOps...)) && len(computed(n)) == 1, guards(n, v), throughHeads && (f.mixesHeads(n, softmax) || f.combines(n, softmax)):
					next = append(next, n.Outputs()...)
				case f.byNode[n] == nil && other == nil:
					other = n
				}
			}
		}
	}
	if other != nil {
		reason = fmt.Sprintf("its probabilities go to %s, not to a product with values", other)
	}
	return nil, 0, reason
}

// guards reports whether n is Where(IsNaN(v), c, v) for a constant c, which PyTorch
// puts after the softmax of logits that a mask may leave out altogether.
func guards(n *graph.Node, v *graph.Value) bool {
	if !n.Is("Where") || n.Input(2) != v || n.Input(1).Const() == nil {
		return false
	}
	test := n.Input(0).Producer()
	return test.Is("IsNaN") && test.Input(0) == v
}

// combines reports whether n works elementwise on several computed values and
// gives something of the shape of softmax's probabilities: a product behind it
// takes that as it takes probabilities.
func (f *finder) combines(n, softmax *graph.Node) bool {
	p, ok1 := f.shapes.Of(softmax.Output(0))
	d, ok2 := f.shapes.Of(n.Output(0))
	return ok1 && ok2 && n.Is("Add", "Sub", "Mul", "Div") && len(d) >= 4 && slices.Equal(p, d)
}

// productBefore finds the product whose result reaches softmax through
// elementwise operators and rearrangements; maps over heads (talking heads)
// are passed only when there is no other way. An Einsum is found as well, with
// the reason that it is not understood.
func (f *finder) productBefore(softmax *graph.Node) (qk *graph.Node, reason string) {
	for _, throughHeads := range []bool{false, true} {
		var found []*graph.Node
		seen := map[*graph.Node]bool{}
		var walk func(v *graph.Value)
		walk = func(v *graph.Value) {
			if v == nil || v.Producer() == nil || seen[v.Producer()] {
				return
			}
			n := v.Producer()
			seen[n] = true
			switch {
			case isProduct(n), n.Is("Einsum"), f.asksConstants(n):
				found = append(found, n)
			case n.Is(unaryOps...) || n.Is(naryOps...) || n.Is(layoutOps...) || throughHeads && f.mixesHeads(n, softmax):
				for _, x := range n.Inputs() {
					walk(x)
				}
			}
		}
		walk(softmax.Input(0))
		switch {
		case len(found) == 1 && found[0].Is("Einsum"):
			return found[0], fmt.Sprintf("the logits come from %s, not from a product of queries and keys", found[0])
		case len(found) == 1:
			return found[0], ""
		case len(found) > 1 && len(products(found)) == 1:
			return products(found)[0], ""
		case len(found) > 1:
			return nil, fmt.Sprintf("the logits combine %d products (%s, %s)", len(found), found[0], found[1])
		}
	}
	return nil, "no product of two computed tensors leads to the softmax"
}

// products returns those of nodes that multiply two computed matrices.
func products(nodes []*graph.Node) []*graph.Node {
	var ps []*graph.Node
	for _, n := range nodes {
		if isProduct(n) {
			ps = append(ps, n)
		}
	}
	return ps
}

// asksConstants reports whether n multiplies constant matrices, one per head,
// with computed ones: queries that are the same for every image.
func (f *finder) asksConstants(n *graph.Node) bool {
	if !n.Is("MatMul") || f.byNode[n] != nil || len(computed(n)) != 1 {
		return false
	}
	d, ok := f.shapes.Of(n.Output(0))
	return ok && len(d) >= 3
}

// weighsSum reports whether what softmax gives multiplies a computed tensor,
// and the result is summed.
func (f *finder) weighsSum(softmax *graph.Node) bool {
	for _, mul := range softmax.Output(0).Users() {
		if !mul.Is("Mul") || len(computed(mul)) < 2 {
			continue
		}
		for _, n := range mul.Output(0).Users() {
			if n.Is("ReduceSum", "ReduceMean") {
				return true
			}
		}
	}
	return false
}

// mixesHeads reports whether n is a linear map over the heads of softmax's
// logits: what it reads and gives has the logits' axes, in any order.
func (f *finder) mixesHeads(n, softmax *graph.Node) bool {
	l := f.byNode[n]
	if l == nil {
		return false
	}
	sizes := func(v *graph.Value) []int64 {
		d, _ := f.shapes.At(v, f.shapes.Batch[1])
		return slices.Sorted(slices.Values(d))
	}
	logits := sizes(softmax.Output(0))
	if len(logits) == 0 || !slices.Equal(sizes(l.In), logits) || !slices.Equal(sizes(l.Out), logits) {
		return false
	}
	f.inside[l] = true
	return true
}
