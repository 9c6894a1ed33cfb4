package cleanup

import "nuwa/graph"

// Casts makes a Cast of every CastLike of the main graph, which reads a value for its
// type alone, where elem tells that type, and returns how many. Without this, what PyTorch
// computes of constants would seem to depend on activations.
func Casts(m *graph.Model, elem func(*graph.Value) graph.DType) int {
	count := 0
	for _, n := range m.Graph.Nodes() {
		if n.Is("CastLike") && n.Input(1) != nil && elem(n.Input(1)) != graph.Undefined {
			n.Op = "Cast"
			n.SetAttr(graph.Int("to", int64(elem(n.Input(1)))))
			n.SetInputs(n.Input(0))
			count++
		}
	}
	return count
}
