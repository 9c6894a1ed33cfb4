package merge

import (
	"slices"

	"nuwa/graph"
)

// pairing is one merge: who is merged with whom, and what comes of it.
type pairing struct {
	spell
	n, pairs int64
	elem     graph.DType  // of the tokens
	size     *graph.Value // [batch, n, 1]
	single   []int64      // tokens that are not merged

	from, into []int64 // the two sets

	order  *graph.Value // of from: tokens of the first set, those to be merged first, [batch, from]
	onehot *graph.Value // which of into each of the merged goes to, [batch, into, pairs]
	moved  *graph.Value // sizes of the merged ones, [batch, pairs, 1]
	grown  *graph.Value // sizes of into afterwards, [batch, into, 1]
}

// metric returns the keys of s, averaged over the heads, as unit vectors, in
// single precision: [batch, width, n].
func (s spell) metric(keys *graph.Value, heads, width, n int64) *graph.Value {
	mean := s.cast(s.reduce("ReduceMean", s.reshape(keys, -1, heads, width, n), 1, 0), graph.Float32)
	norm := s.op("Max", s.reduce("ReduceL2", mean, 1, 1), s.number(graph.Float32, 1e-12))
	return s.op("Div", mean, norm)
}

// deal puts all tokens that may be merged into the two sets, in turns.
func (p *pairing) deal() {
	turn := 0
	for i := range p.n {
		switch {
		case slices.Contains(p.single, i):
			continue
		case turn%2 == 0:
			p.into = append(p.into, i)
		default:
			p.from = append(p.from, i)
		}
		turn++
	}
}

// match finds the nearest of into for each of from, and which are merged.
func (p *pairing) match(unit *graph.Value) {
	from := p.node("Transpose", []*graph.Value{p.take(unit, 2, p.from)}, graph.Ints("perm", 0, 2, 1)).Output(0)
	like := p.op("MatMul", from, p.take(unit, 2, p.into)) // [batch, from, into]
	nearest := p.node("ArgMax", []*graph.Value{like}, graph.Int("axis", 2), graph.Int("keepdims", 0)).Output(0)
	top := p.node("TopK", []*graph.Value{p.reduce("ReduceMax", like, 2, 0), p.ints(int64(len(p.from)))}, graph.Int("axis", 1))
	p.order = top.AddOutput(p.g.UniqueName("merge_order"))
	first := p.part(p.order, 1, 0, p.pairs)
	to := p.node("GatherElements", []*graph.Value{nearest, first}, graph.Int("axis", 1)).Output(0)
	numbers := p.g.AddConst("merge.numbers", graph.NewTensor([]int64{1, int64(len(p.into)), 1}, upTo(len(p.into))))
	p.onehot = p.cast(p.op("Equal", p.reshape(to, 0, 1, -1), numbers), p.elem)
	p.order = p.op("Gather", p.ints(p.from...), p.order)
}

// sizes returns how many tokens each of those after the merge stands for.
func (p *pairing) sizes() *graph.Value {
	parts, moved := p.sorted(p.size, 1)
	p.moved = moved
	p.grown = p.op("Add", p.take(p.size, 1, p.into), p.op("MatMul", p.onehot, moved))
	return p.joined(append(parts, p.grown))
}

// merged returns the tokens x, [batch, n, width], after the merge: those that
// are not merged as they are, first the single ones, then the second set with the
// means of what went to it.
func (p *pairing) merged(x *graph.Value, width int64) *graph.Value {
	parts, moved := p.sorted(x, width)
	sum := p.op("MatMul", p.onehot, p.op("Mul", moved, p.moved))
	sum = p.op("Add", p.op("Mul", p.take(x, 1, p.into), p.take(p.size, 1, p.into)), sum)
	return p.joined(append(parts, p.op("Div", sum, p.grown)))
}

// sorted returns the parts of v, [batch, n, width], that stay as they are, and
// those of the first set that are merged.
func (p *pairing) sorted(v *graph.Value, width int64) (stay []*graph.Value, moved *graph.Value) {
	if len(p.single) > 0 {
		stay = append(stay, p.take(v, 1, p.single))
	}
	from := p.rows(v, p.order, width)
	if rest := int64(len(p.from)); rest > p.pairs {
		stay = append(stay, p.part(from, 1, p.pairs, rest))
	}
	return stay, p.part(from, 1, 0, p.pairs)
}

func (p *pairing) joined(parts []*graph.Value) *graph.Value {
	return p.node("Concat", parts, graph.Int("axis", 1)).Output(0)
}
