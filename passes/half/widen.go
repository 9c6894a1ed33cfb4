package half

import (
	"slices"

	"nuwa/graph"
)

// Widen has a model that computes in bfloat16 compute in single precision, as
// ONNX Runtime's CPU has next to no operators of bfloat16. Inputs and outputs
// keep their type, behind casts; weights are known to be stored in bfloat16. It
// reports whether m was such a model: one with nothing but weights in bfloat16,
// each behind a Cast, is not.
func Widen(m *graph.Model) bool {
	if !computesBrain(m) {
		return false
	}
	m.Graphs(func(g *graph.Graph) bool {
		for _, v := range g.Consts() {
			if t := widened(v.Default()); t != nil {
				v.SetConst(t)
			}
			retyped(v)
		}
		for _, n := range g.Nodes() {
			for _, a := range slices.Clone(n.Attrs()) {
				widenAttr(n, a)
			}
			for _, v := range n.Outputs() {
				if v != nil && !(g == m.Graph && v.IsOutput()) {
					retyped(v)
				}
			}
		}
		for _, v := range append(slices.Clone(g.Inputs()), g.Infos...) {
			if g != m.Graph || !v.IsInput() && !v.IsOutput() {
				retyped(v)
			}
		}
		return true
	})
	g := m.Graph
	for _, v := range g.Inputs() {
		if isBrain(v) && v.Default() == nil {
			w := g.Add("Cast", v.Name()+"_single", []*graph.Value{v}, graph.Int("to", int64(graph.Float32))).Output(0)
			v.ReplaceUses(w)
			w.Producer().SetInput(0, v)
		}
	}
	for i, v := range slices.Clone(g.Outputs()) {
		if isBrain(v) {
			outputAs(m, i, v, graph.BFloat16, "_single")
		}
	}
	return true
}

// computesBrain reports whether something other than a Cast to another type
// reads or gives bfloat16 in m.
func computesBrain(m *graph.Model) bool {
	found := slices.ContainsFunc(m.Graph.Inputs(), func(v *graph.Value) bool { return v.Default() == nil && isBrain(v) })
	m.Graphs(func(g *graph.Graph) bool {
		for _, n := range g.Nodes() {
			if n.Is("Cast") {
				found = found || n.IntAttr("to", 0) == int64(graph.BFloat16)
				continue
			}
			found = found || slices.ContainsFunc(n.Inputs(), func(v *graph.Value) bool {
				return v != nil && v.Default() != nil && v.Default().Type == graph.BFloat16
			})
		}
		return !found
	})
	return found
}

func isBrain(v *graph.Value) bool { return v.Type != nil && v.Type.Elem == graph.BFloat16 }

func retyped(v *graph.Value) {
	if isBrain(v) {
		v.Type = v.Type.Clone()
		v.Type.Elem = graph.Float32
	}
}

// widened is t in single precision, nil if it is not in bfloat16.
func widened(t *graph.Tensor) *graph.Tensor {
	if t == nil || t.Type != graph.BFloat16 {
		return nil
	}
	xs, err := t.Floats()
	if err != nil {
		return nil
	}
	w, err := graph.FromFloats(graph.Float32, t.Dims, xs)
	if err != nil {
		return nil
	}
	w.Name, w.Doc, w.Stored = t.Name, t.Doc, graph.BFloat16
	return w
}

// widenAttr changes an attribute that holds or names bfloat16.
func widenAttr(n *graph.Node, a *graph.Attr) {
	switch {
	case len(a.Tensors) == 1 && widened(a.Tensors[0]) != nil:
		n.SetAttr(graph.TensorAttr(a.Name, widened(a.Tensors[0])))
	case slices.Contains([]string{"to", "dtype", "output_dtype"}, a.Name) && a.I == int64(graph.BFloat16):
		n.SetAttr(graph.Int(a.Name, int64(graph.Float32)))
	}
}

// outputAs gives output i, which v is, the given type by a Cast, under its own
// name; v is called anew.
func outputAs(m *graph.Model, i int, v *graph.Value, to graph.DType, suffix string) {
	g, name, typ := m.Graph, v.Name(), v.Type
	g.Rename(v, g.UniqueName(name+suffix))
	v.Type = nil
	w := g.Add("Cast", name+"_cast", []*graph.Value{v}, graph.Int("to", int64(to))).Output(0)
	g.Rename(w, name)
	w.Type = typ
	g.SetOutput(i, w)
}
