package target

import (
	"fmt"
	"slices"

	"nuwa/graph"
)

// Violation is something about a model that a target does not take.
type Violation struct {
	Where string `json:"where"` // the node, input or the model
	Got   string `json:"got"`
	Want  string `json:"want"`
}

// Check returns what of m the target does not take: the opset, operators,
// element types, the batch and the layout of inputs. Nodes of an operator that
// is not among the target's run on the CPU instead where ONNX Runtime has the
// last word, so these are listed and no error.
func Check(m *graph.Model, t Target) []Violation {
	var out []Violation
	if v := m.Opset(""); t.Opset > 0 && v > int64(t.Opset) {
		out = append(out, Violation{"the model", fmt.Sprintf("opset %d", v), fmt.Sprintf("at most %d", t.Opset)})
	}
	out = append(out, checkInputs(m, t)...)
	m.Graphs(func(g *graph.Graph) bool {
		for _, n := range g.Nodes() {
			if !t.Takes(n) {
				out = append(out, Violation{n.String(), "an operator that " + t.Name + " does not list", "one of its operators"})
			}
		}
		return true
	})
	return out
}

func checkInputs(m *graph.Model, t Target) (out []Violation) {
	for _, v := range m.Graph.Inputs() {
		dims, ok := v.Type.Dims()
		if v.Default() != nil || !ok || len(dims) == 0 {
			continue
		}
		where := fmt.Sprintf("input %q", v.Name())
		if t.Batch > 0 && dims[0] != int64(t.Batch) {
			out = append(out, Violation{where, v.Type.String(), fmt.Sprintf("batch %d", t.Batch)})
		}
		if len(dims) == 4 && t.Layout == "nhwc" && dims[3] > 4 || len(dims) == 4 && t.Layout == "nchw" && dims[1] > 4 {
			out = append(out, Violation{where, v.Type.String(), t.Layout})
		}
	}
	return out
}

// Takes reports whether the target lists n's operator.
func (t Target) Takes(n *graph.Node) bool {
	if t.Operators == nil {
		return true
	}
	name := n.Op
	if n.Domain != "" && n.Domain != "ai.onnx" {
		name = n.Domain + "." + n.Op
	}
	return slices.Contains(t.Operators, name)
}
