package grad

import (
	"math"
	"slices"

	"nuwa/graph"
)

// planBatch is the batch size that memory is planned for where it is open.
const planBatch = 32

// plan cuts the nodes, given in order, into segments and returns the segment
// of each. Two things take memory in a gradient that recomputes: the values
// that cross from one segment into later ones, which are held for all
// segments, and what is made inside the one segment that is being recomputed.
// plan makes the sum of the first and the largest of the second as small as it
// can.
func (e *emitter) plan(nodes []*graph.Node, loss *graph.Value) []int {
	made, held := e.footprint(nodes, loss)
	total := int64(0)
	for _, b := range made {
		total += b
	}
	best, cuts := total, []int(nil)
	for limit := slices.Max(append(made, 1)); limit < total; limit += limit/8 + 1 {
		cost, at := cutsWithin(made, held, limit)
		if cost+limit < best {
			best, cuts = cost+limit, at
		}
	}
	segment := make([]int, len(nodes))
	for _, at := range cuts {
		for i := at; i < len(nodes); i++ {
			segment[i]++
		}
	}
	return segment
}

// footprint returns, for each node, the bytes of its results, and the bytes
// that are made before it and still read by it or a later one.
func (e *emitter) footprint(nodes []*graph.Node, loss *graph.Value) (made, held []int64) {
	made, held = make([]int64, len(nodes)), make([]int64, len(nodes)+1)
	needed := map[*graph.Value]bool{loss: true}
	last := map[*graph.Value]int{}
	for i, n := range slices.Backward(nodes) {
		if !slices.ContainsFunc(n.Outputs(), func(v *graph.Value) bool { return needed[v] }) {
			continue
		}
		for _, v := range reads(n) {
			if !needed[v] {
				needed[v], last[v] = true, i
			}
		}
	}
	for i, n := range nodes {
		for _, v := range n.Outputs() {
			if v == nil || !needed[v] {
				continue
			}
			b := e.bytes(v)
			if !n.Is("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Constant") { // those share their operand's memory
				made[i] += b
			}
			if last[v] > i {
				held[i+1] += b // from here
				held[last[v]+1] -= b
			}
		}
	}
	for i := range held[1:] {
		held[i+1] += held[i]
	}
	return made, held[:len(nodes)]
}

// bytes returns the size of v at the planned batch, 0 where it is not known.
func (e *emitter) bytes(v *graph.Value) int64 {
	dims, ok := e.shapes.At(v, planBatch)
	if !ok || constantOf(v) != nil {
		return 0
	}
	return e.elem(v).ByteLen(graph.Elements(dims))
}

// cutsWithin chooses cuts such that no segment makes more than limit, which no
// single node may exceed, and that what is held across them is least. It
// returns the nodes that the segments begin with, the first one left out, and
// what is held.
func cutsWithin(made, held []int64, limit int64) (cost int64, cuts []int) {
	n := len(made)
	least := make([]int64, n+1) // to have nodes before i in segments, one of which ends there
	from := make([]int, n+1)    // where that one begins
	for i := 1; i <= n; i++ {
		least[i] = math.MaxInt64
		inside := int64(0)
		for j := i - 1; j >= 0 && inside+made[j] <= limit; j-- {
			inside += made[j]
			c := least[j]
			if j > 0 {
				c += held[j]
			}
			if c < least[i] {
				least[i], from[i] = c, j
			}
		}
	}
	for i := from[n]; i > 0; i = from[i] {
		cuts = append(cuts, i)
	}
	slices.Reverse(cuts)
	return least[n], cuts
}
