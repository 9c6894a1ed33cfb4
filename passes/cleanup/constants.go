package cleanup

import (
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// Constants turns the results of Constant nodes into initializers and returns
// how many. A constant that is returned by its graph, and a sparse one, stay
// nodes.
func Constants(m *graph.Model) int {
	count := 0
	for _, g := range graphs(m.Graph) {
		for _, n := range slices.Clone(g.Nodes()) {
			if !n.Is("Constant") || n.Output(0) == nil || n.Output(0).IsOutput() {
				continue
			}
			t := constantOf(n)
			if t == nil {
				continue
			}
			v := n.Output(0)
			name := v.Name()
			c := hold(v, t)
			if n.Remove() == nil {
				claim(c, name)
				count++
			}
		}
	}
	return count
}

// constantOf returns the tensor that a Constant node gives, nil for a sparse
// one or one that a function's attribute decides.
func constantOf(n *graph.Node) *graph.Tensor {
	for _, a := range n.Attrs() {
		if a.Ref != "" {
			return nil
		}
		switch a.Name {
		case "value":
			if len(a.Tensors) != 1 {
				return nil
			}
			t := a.Tensors[0].Clone()
			t.Name = ""
			return t
		case "value_float":
			return graph.Scalar(a.F)
		case "value_int":
			return graph.Scalar(a.I)
		case "value_floats":
			return graph.NewTensor([]int64{int64(len(a.Floats))}, a.Floats)
		case "value_ints":
			return graph.NewTensor([]int64{int64(len(a.Ints))}, a.Ints)
		case "value_string":
			return &graph.Tensor{Type: graph.String, Strings: [][]byte{a.S}, Storage: graph.StoreTyped}
		case "value_strings":
			return &graph.Tensor{Type: graph.String, Dims: []int64{int64(len(a.Strings))}, Strings: a.Strings, Storage: graph.StoreTyped}
		}
	}
	return nil
}

// InitializersAsInputs makes plain constants of initializers that are also
// graph inputs, and returns how many. Up to IR version 3 the format lists every
// initializer as an input, and PyTorch can still be told to; formally it means
// a default that a caller may override, so this is for a caller who will not.
// The inputs that must be given stay the same; the IR version becomes one that
// knows initializers by themselves.
func InitializersAsInputs(m *graph.Model) int {
	count := 0
	for _, v := range slices.Clone(m.Graph.Inputs()) {
		if (v.Default() != nil || v.Sparse() != nil) && m.Graph.RemoveInput(v) == nil {
			count++
		}
	}
	if count > 0 {
		m.IRVersion = max(m.IRVersion, 4)
	}
	return count
}

// Dead removes nodes that no output depends on, and initializers that nothing
// reads, in m's graph and those nested in it.
func Dead(m *graph.Model) (nodes, consts int) {
	for _, g := range graphs(m.Graph) {
		if g.Owner() != nil && g.Owner().Graph() == nil {
			continue // went with its owner
		}
		n, c := engine.Trim(g)
		nodes, consts = nodes+n, consts+c
	}
	return nodes, consts
}
