package graph

import (
	"fmt"
	"slices"
	"strings"
)

// Node is one application of an operator.
type Node struct {
	Name     string
	Op       string
	Domain   string
	Overload string
	Doc      string
	Metadata []Entry
	Wire     Wire

	graph   *Graph // nil once removed
	inputs  []*Value
	outputs []*Value
	attrs   []*Attr
}

// Graph returns the graph that n belongs to; nil once n was removed.
func (n *Node) Graph() *Graph { return n.graph }

// Is reports whether n applies one of the given operators of ONNX's own domain.
func (n *Node) Is(ops ...string) bool {
	return n != nil && canonDomain(n.Domain) == "" && slices.Contains(ops, n.Op)
}

// Inputs returns the operands; an omitted optional one is nil. The slice must
// not be changed.
func (n *Node) Inputs() []*Value { return n.inputs }

// Input returns operand i, nil if it is omitted or there is none.
func (n *Node) Input(i int) *Value {
	if i < 0 || i >= len(n.inputs) {
		return nil
	}
	return n.inputs[i]
}

// Outputs returns the results; an omitted optional one is nil. The slice must
// not be changed.
func (n *Node) Outputs() []*Value { return n.outputs }

// Output returns result i, nil if it is omitted or there is none.
func (n *Node) Output(i int) *Value {
	if i < 0 || i >= len(n.outputs) {
		return nil
	}
	return n.outputs[i]
}

// SetInput makes v operand i, growing the list with omitted operands if it is
// shorter; nil omits the operand.
func (n *Node) SetInput(i int, v *Value) {
	for len(n.inputs) <= i {
		n.inputs = append(n.inputs, nil)
	}
	if old := n.inputs[i]; old != nil {
		old.dropUse(Use{Node: n, Index: i})
	}
	n.inputs[i] = v
	if v != nil {
		v.addUse(Use{Node: n, Index: i})
	}
}

// SetInputs replaces all operands.
func (n *Node) SetInputs(vs ...*Value) {
	for i := range n.inputs {
		n.SetInput(i, nil)
	}
	n.inputs = n.inputs[:0]
	for i, v := range vs {
		n.SetInput(i, v)
	}
}

// AddOutput appends a result of that name; the empty name makes an omitted one.
func (n *Node) AddOutput(name string) *Value {
	if name == "" {
		n.outputs = append(n.outputs, nil)
		return nil
	}
	v := &Value{name: name, graph: n.graph, producer: n, index: len(n.outputs)}
	n.graph.names[name] = v
	n.outputs = append(n.outputs, v)
	return v
}

// Remove takes n out of its graph. It is refused while a result is still used,
// naming the users.
func (n *Node) Remove() error {
	var users []string
	for _, v := range n.outputs {
		if v == nil {
			continue
		}
		for _, u := range v.uses {
			if u.Node == nil {
				users = append(users, fmt.Sprintf("output %d of graph %q", u.Index, u.Graph.Name))
			} else {
				users = append(users, u.Node.String())
			}
		}
	}
	if len(users) > 0 {
		return fmt.Errorf("cannot remove %s: its results are used by %s", n, strings.Join(users, ", "))
	}
	for _, g := range n.Subgraphs() {
		g.release()
	}
	n.SetInputs()
	g := n.graph
	for _, v := range n.outputs {
		if v != nil {
			delete(g.names, v.name)
			v.graph = nil
		}
	}
	i := slices.Index(g.nodes, n)
	g.nodes = slices.Delete(g.nodes, i, i+1)
	n.graph = nil
	return nil
}

// String names n for messages: `MatMul "fc1"`, or by its first result when it
// has no name.
func (n *Node) String() string {
	op := n.Op
	if canonDomain(n.Domain) != "" {
		op = n.Domain + "." + op
	}
	if n.Name != "" {
		return fmt.Sprintf("%s %q", op, n.Name)
	}
	for _, v := range n.outputs {
		if v != nil {
			return fmt.Sprintf("%s of %q", op, v.name)
		}
	}
	return op
}
