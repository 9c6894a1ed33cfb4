package cost

import (
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// PeakMemory returns the bytes that weights and activations of the main graph
// take while one image runs: all constants, and the most that values which are
// still to be read take at any node, in the order of the nodes. What a runtime
// adds for itself, and what it saves by working in place, is not counted.
func PeakMemory(m *graph.Model, s *engine.Shapes) int64 {
	bytes := func(v *graph.Value) int64 {
		dims, ok := s.At(v, 1)
		if !ok {
			return 0
		}
		return (graph.Elements(dims)*int64(s.Elem(v).Bits()) + 7) / 8
	}
	weights := int64(0)
	for _, v := range m.Graph.Consts() {
		if v.Default() != nil {
			weights += bytes(v)
		}
	}
	last := map[*graph.Value]int{} // the node that reads a value last
	nodes := m.Graph.Nodes()
	for i, n := range nodes {
		for _, v := range n.Inputs() {
			last[v] = i
		}
	}
	for _, v := range m.Graph.Outputs() {
		last[v] = len(nodes)
	}
	live, peak := int64(0), int64(0)
	for _, v := range engine.Feeds(m) {
		live += bytes(v)
	}
	for i, n := range nodes {
		for _, v := range n.Outputs() {
			if v != nil {
				live += bytes(v)
			}
		}
		peak = max(peak, live)
		seen := map[*graph.Value]bool{}
		for _, v := range slices.Concat(n.Inputs(), n.Outputs()) {
			if at, read := last[v]; v != nil && v.Default() == nil && !seen[v] && (read && at == i || !read) {
				live -= bytes(v)
			}
			seen[v] = true
		}
	}
	return weights + peak
}
