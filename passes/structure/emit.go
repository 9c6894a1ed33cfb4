package structure

import (
	"fmt"

	"nuwa/graph"
)

// splitValue appends a Split of v into pieces of the given sizes, in the
// spelling of the model's opset: sizes are an attribute before opset 13.
func splitValue(m *graph.Model, v *graph.Value, name string, axis int, sizes []int64) []*graph.Value {
	g := m.Graph
	n := g.NewNode("Split", name)
	n.SetInput(0, v)
	n.SetAttr(graph.Int("axis", int64(axis)))
	if m.Opset("") < 13 {
		n.SetAttr(graph.Ints("split", sizes...))
	} else {
		n.SetInput(1, g.AddConst(name+".sizes", graph.NewTensor([]int64{int64(len(sizes))}, sizes)))
	}
	for i := range sizes {
		n.AddOutput(g.UniqueName(fmt.Sprintf("%s_%d", name, i)))
	}
	return n.Outputs()
}

// castLike appends a Cast of v where the two types differ.
func castLike(g *graph.Graph, v *graph.Value, have, want graph.DType) *graph.Value {
	if want == graph.Undefined || want == have {
		return v
	}
	return g.Add("Cast", v.Name()+"_cast", []*graph.Value{v}, graph.Int("to", int64(want))).Output(0)
}

// Name is what new values in the place of l are named after.
func (l *Linear) Name() string {
	if l.Node.Name != "" {
		return l.Node.Name
	}
	return l.Node.Output(0).Name()
}
