package merge

import (
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/passes/structure"
)

// bottlenecks finds, for each attention, the first value behind it that is all
// that is left of the tokens at that time.
func (w *walk) bottlenecks(attentions []*structure.Attention) map[*graph.Value]*structure.Attention {
	nodes := w.m.Graph.Nodes()
	last, at := map[*graph.Value]int{}, map[*graph.Node]int{}
	for i, n := range nodes {
		at[n] = i
		for _, v := range n.Inputs() {
			last[v] = i
		}
	}
	for _, v := range w.m.Graph.Outputs() {
		last[v] = len(nodes)
	}
	ends := map[*graph.Value]*structure.Attention{}
	live := map[*graph.Value]bool{}
	next := 0 // the attention that is looked behind
	for i, n := range nodes {
		for _, v := range n.Inputs() {
			if last[v] == i {
				delete(live, v)
			}
		}
		for _, v := range n.Outputs() {
			if v != nil && last[v] > i && w.shapes.Elem(v).IsFloat() && w.holdsTokens(v) {
				live[v] = true
			}
		}
		for next < len(attentions) && (next+1 < len(attentions) && at[attentions[next+1].QK] <= i) {
			next++ // nothing was found behind it
		}
		v := n.Output(0)
		if next < len(attentions) && i > at[attentions[next].PV] && len(live) == 1 && live[v] && w.isStream(v) {
			ends[v] = attentions[next]
			next++
		}
	}
	return ends
}

func (w *walk) holdsTokens(v *graph.Value) bool {
	d, ok := w.shapes.Of(v)
	return !ok || slices.Contains(d, engine.Size{Fixed: w.size}) || slices.Contains(d, times(w.batch(), w.size))
}

func times(s engine.Size, n int64) engine.Size {
	return engine.Size{Fixed: s.Fixed * n, PerBatch: s.PerBatch * n}
}

func (w *walk) isStream(v *graph.Value) bool {
	d, ok := w.shapes.Of(v)
	n, b := engine.Size{Fixed: w.size}, w.batch()
	return ok && len(d) == 3 && (d[0] == b && d[1] == n || d[0] == n && d[1] == b)
}
