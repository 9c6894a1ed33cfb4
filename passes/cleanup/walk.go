package cleanup

import (
	"slices"

	"nuwa/graph"
)

// graphs returns g and all graphs nested in it, outer before inner.
func graphs(g *graph.Graph) []*graph.Graph {
	all := []*graph.Graph{g}
	for _, n := range g.Nodes() {
		for _, h := range n.Subgraphs() {
			all = append(all, graphs(h)...)
		}
	}
	return all
}

// inside reports whether g is outer, or nested in it at any depth.
func inside(g, outer *graph.Graph) bool {
	for g != nil {
		if g == outer {
			return true
		}
		if g.Owner() == nil {
			return false
		}
		g = g.Owner().Graph()
	}
	return false
}

// outermost returns the graph that g is nested in at the end, g itself if in none.
func outermost(g *graph.Graph) *graph.Graph {
	for g.Owner() != nil && g.Owner().Graph() != nil {
		g = g.Owner().Graph()
	}
	return g
}

// captures returns the values that graphs nested in n read from outside n.
func captures(n *graph.Node) []*graph.Value {
	var vs []*graph.Value
	for _, h := range n.Subgraphs() {
		for _, inner := range graphs(h) {
			read := func(v *graph.Value) {
				if v != nil && !inside(v.Graph(), h) {
					vs = append(vs, v)
				}
			}
			for _, m := range inner.Nodes() {
				for _, v := range m.Inputs() {
					read(v)
				}
			}
			for _, v := range inner.Outputs() {
				read(v)
			}
		}
	}
	return vs
}

// random are the operators whose results differ from run to run.
var random = []string{"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout"}

// Random returns the nodes of m that may give other results at every run.
func Random(m *graph.Model) []*graph.Node {
	var ns []*graph.Node
	m.Graphs(func(g *graph.Graph) bool {
		for _, n := range g.Nodes() {
			if n.Is(random...) && !(n.Is("Dropout") && inference(n, m.Opset(""))) {
				ns = append(ns, n)
			}
		}
		return true
	})
	return ns
}

// computable reports whether n always gives the same results for the same
// operands, and may therefore be replaced by them. Quantization stays: a
// weight behind DequantizeLinear is stored in fewer bits on purpose.
func computable(n *graph.Node) bool {
	if !n.Is(n.Op) || n.Is(random...) || n.Is("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear") {
		return false
	}
	for _, h := range n.Subgraphs() {
		for _, g := range graphs(h) {
			if slices.ContainsFunc(g.Nodes(), func(m *graph.Node) bool { return !m.Is(m.Op) || m.Is(random...) }) {
				return false
			}
		}
	}
	return true
}

// bypass makes everything that reads v read w instead, and removes the
// producer of v when nothing reads it any more. Outputs that cannot take over
// their name keep reading v. It reports whether anything changed.
func bypass(v, w *graph.Value) bool {
	keep := false
	outputs := 0
	for _, u := range v.Uses() {
		if u.Node == nil {
			outputs++
			plain := u.Graph == v.Graph() && u.Graph == w.Graph() && !w.IsInput() && w.Default() == nil && w.Sparse() == nil
			keep = keep || !plain || w.IsOutput() || outputs > 1
		}
	}
	if keep {
		return readInstead(v, w) > 0
	}
	v.ReplaceUses(w)
	return v.Producer().Remove() == nil
}

// readInstead makes every node that reads v read w, and returns the number of
// operands that this changed. Graph outputs stay.
func readInstead(v, w *graph.Value) int {
	changed := 0
	for _, u := range slices.Clone(v.Uses()) {
		if u.Node != nil {
			u.Node.SetInput(u.Index, w)
			changed++
		}
	}
	return changed
}

// hold adds the constant t to v's graph and makes every node that reads v read
// it. Once v is gone, claim gives the constant its name.
func hold(v *graph.Value, t *graph.Tensor) *graph.Value {
	c := v.Graph().AddConst(v.Name(), t)
	readInstead(v, c)
	return c
}

// claim renames c to name if the name has become free.
func claim(c *graph.Value, name string) {
	if g := c.Graph(); g != nil && c.Name() != name && g.UniqueName(name) == name {
		g.Rename(c, name)
	}
}
