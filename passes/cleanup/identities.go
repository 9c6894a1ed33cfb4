package cleanup

import (
	"nuwa/graph"
	"nuwa/internal/engine"
)

// Identities bypasses operators that give back their input: Identity, Dropout
// in inference, Cast to the type that is there, Transpose that keeps the
// order, and reshapes to the shape that is there.
func Identities(m *graph.Model, shapes *engine.Shapes) int {
	n := 0
	for _, node := range append([]*graph.Node(nil), m.Graph.Nodes()...) {
		x, y := node.Input(0), node.Output(0)
		if x == nil || y == nil || !idle(m, node, shapes) {
			continue
		}
		if y.IsOutput() && (x.IsInput() || x.Default() != nil || x.IsOutput()) {
			continue // an output must be computed
		}
		y.ReplaceUses(x)
		if node.Remove() == nil {
			n++
		}
	}
	return n
}

func idle(m *graph.Model, n *graph.Node, shapes *engine.Shapes) bool {
	switch {
	case n.Is("Identity"):
		return true
	case n.Is("Dropout"):
		mode := n.Input(2)
		off := mode == nil || mode.Const() != nil && len(mode.Const().Data) > 0 && mode.Const().Data[0] == 0
		return off && (n.Output(1) == nil || len(n.Output(1).Uses()) == 0)
	case n.Is("Cast"):
		t := shapes.Elem(n.Input(0))
		return t != graph.Undefined && int64(t) == n.IntAttr("to", 0)
	case n.Is("Transpose"):
		perm, ok := n.IntsAttr("perm")
		for i, p := range perm {
			ok = ok && p == int64(i)
		}
		return ok
	case n.Is("Reshape", "Flatten"):
		in, ok1 := shapes.Of(n.Input(0))
		out, ok2 := shapes.Of(n.Output(0))
		if !ok1 || !ok2 || len(in) != len(out) {
			return false
		}
		for i := range in {
			if in[i] != out[i] {
				return false
			}
		}
		return true
	}
	return false
}
