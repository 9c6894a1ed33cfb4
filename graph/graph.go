package graph

import (
	"fmt"
	"slices"
)

// Graph is a list of nodes between inputs and outputs. A graph nested in a
// node may read the values of the graphs around it.
type Graph struct {
	Name         string
	Doc          string
	Metadata     []Entry
	Quantization []Annotation
	Infos        []*Value // values whose type the file declares, in its order, repeated declarations included
	Wire         Wire

	owner   *Node // the node that holds this graph; nil for a main graph or function body
	inputs  []*Value
	outputs []*Value
	consts  []*Value
	nodes   []*Node
	names   map[string]*Value
	repeats map[int]*Value // by output, where the file declares it otherwise than the value itself
}

// Annotation is quantization information about a tensor, kept as it is.
type Annotation struct {
	Tensor string
	Params []Entry
	Wire   Wire
}

// NewGraph returns an empty graph.
func NewGraph(name string) *Graph { return &Graph{Name: name, names: map[string]*Value{}} }

// Owner returns the node that g is nested in, nil for a main graph.
func (g *Graph) Owner() *Node { return g.owner }

// Inputs returns the inputs in order. The slice must not be changed.
func (g *Graph) Inputs() []*Value { return g.inputs }

// Outputs returns the outputs in order. The slice must not be changed.
func (g *Graph) Outputs() []*Value { return g.outputs }

// Consts returns the initializers, sparse ones included, in order. The slice
// must not be changed.
func (g *Graph) Consts() []*Value { return g.consts }

// Nodes returns the nodes in order. The slice must not be changed; clone it to
// edit the graph while ranging over it.
func (g *Graph) Nodes() []*Node { return g.nodes }

// Value returns the value of that name in g itself, nil if there is none.
func (g *Graph) Value(name string) *Value { return g.names[name] }

// Lookup returns the value that name means inside g: g's own, or that of the
// nearest graph around it.
func (g *Graph) Lookup(name string) *Value {
	for g != nil {
		if v := g.names[name]; v != nil {
			return v
		}
		if g.owner == nil {
			return nil
		}
		g = g.owner.graph
	}
	return nil
}

// UniqueName returns base, or base with a number appended, such that no graph
// around or inside g uses it.
func (g *Graph) UniqueName(base string) string {
	if base == "" {
		base = "v"
	}
	root := g
	for root.owner != nil && root.owner.graph != nil {
		root = root.owner.graph
	}
	nested := []*Graph{}
	root.walk(func(h *Graph) bool { nested = append(nested, h); return true })
	taken := func(name string) bool {
		return slices.ContainsFunc(nested, func(h *Graph) bool { return h.names[name] != nil })
	}
	name := base
	for i := 1; taken(name); i++ {
		name = fmt.Sprintf("%s_%d", base, i)
	}
	return name
}

// Rename gives v a new name, which must be free in g.
func (g *Graph) Rename(v *Value, name string) {
	delete(g.names, v.name)
	v.name = name
	g.names[name] = v
}

// AddInput appends an input. The name must be free; t may be nil.
func (g *Graph) AddInput(name string, t *Type) *Value {
	v := g.names[name]
	if v == nil {
		v = &Value{name: name, graph: g}
		g.names[name] = v
	}
	v.Type, v.input = t, true
	g.inputs = append(g.inputs, v)
	return v
}

// AddOutput appends v to the outputs.
func (g *Graph) AddOutput(v *Value) {
	v.addUse(Use{Graph: g, Index: len(g.outputs)})
	g.outputs = append(g.outputs, v)
}

// SetOutput makes v output i.
func (g *Graph) SetOutput(i int, v *Value) {
	u := Use{Graph: g, Index: i}
	g.outputs[i].dropUse(u)
	g.outputs[i] = v
	v.addUse(u)
	delete(g.repeats, i)
}

// Repeat makes a further declaration of v, for Infos or RepeatOutput: files may
// state a type in several places, and differently. It carries a type, a doc
// string and metadata, but is no value of g.
func (g *Graph) Repeat(v *Value) *Value {
	return &Value{graph: g, repeats: v, since: v.Type}
}

// RepeatOutput makes the declaration r (see Repeat) stand where output i is
// listed.
func (g *Graph) RepeatOutput(i int, r *Value) {
	if g.repeats == nil {
		g.repeats = map[int]*Value{}
	}
	g.repeats[i] = r
}

// OutputDecl returns what is to be written as the declaration of output i: the
// output itself, unless the file had a declaration of its own there that still
// holds.
func (g *Graph) OutputDecl(i int) *Value {
	if r := g.repeats[i]; r != nil && r.Current() {
		return r
	}
	return g.outputs[i]
}

// ClearOutputs drops all outputs, so that a clone can be given others.
func (g *Graph) ClearOutputs() {
	for i, v := range g.outputs {
		v.dropUse(Use{Graph: g, Index: i})
	}
	g.outputs, g.repeats = nil, nil
}

// RemoveInput drops v from the inputs: a default becomes a plain constant;
// without one the value must be unused.
func (g *Graph) RemoveInput(v *Value) error {
	if v.constant == nil && v.sparse == nil && len(v.uses) > 0 {
		return fmt.Errorf("cannot remove the input %q: it is used by %s", v.name, v.Users())
	}
	g.inputs = slices.DeleteFunc(g.inputs, func(w *Value) bool { return w == v })
	v.input = false
	if v.constant == nil && v.sparse == nil {
		delete(g.names, v.name)
		v.graph = nil
	}
	return nil
}

// AddConst adds an initializer under a name near to base.
func (g *Graph) AddConst(base string, t *Tensor) *Value {
	v := &Value{name: g.UniqueName(base), graph: g}
	g.names[v.name] = v
	return g.SetDefault(v, t)
}

// AddInitializer adds an initializer of exactly that name. An input of that
// name gets t as its default; any other value must not have it.
func (g *Graph) AddInitializer(name string, t *Tensor) *Value {
	v := g.names[name]
	if v == nil {
		v = &Value{name: name, graph: g}
		g.names[name] = v
	}
	return g.SetDefault(v, t)
}

// AddSparse adds a sparse initializer of exactly that name.
func (g *Graph) AddSparse(name string, s *SparseTensor) *Value {
	v := g.names[name]
	if v == nil {
		v = &Value{name: name, graph: g}
		g.names[name] = v
	}
	v.sparse = s
	g.consts = append(g.consts, v)
	return v
}

// SetDefault makes t the initializer of v, an input or a fresh value of g.
func (g *Graph) SetDefault(v *Value, t *Tensor) *Value {
	v.constant = t
	g.consts = append(g.consts, v)
	return v
}

// RemoveConst drops the initializer v. It is refused while v is used or is an
// input.
func (g *Graph) RemoveConst(v *Value) error {
	if len(v.uses) > 0 || v.input {
		return fmt.Errorf("cannot remove the initializer %q: it is still used", v.name)
	}
	g.consts = slices.DeleteFunc(g.consts, func(w *Value) bool { return w == v })
	delete(g.names, v.name)
	v.graph = nil
	return nil
}

// Add appends a node of ONNX's own domain with one result. Node and result are
// called name, or something near to it that is free; after the operator where
// name is empty.
func (g *Graph) Add(op, name string, inputs []*Value, attrs ...*Attr) *Node {
	if name == "" {
		name = op
	}
	name = g.UniqueName(name)
	for i := 1; slices.ContainsFunc(g.nodes, func(n *Node) bool { return n.Name == name }); i++ {
		name = g.UniqueName(fmt.Sprintf("%s_%d", name, i))
	}
	n := g.NewNode(op, name)
	n.SetInputs(inputs...)
	for _, a := range attrs {
		n.SetAttr(a)
	}
	n.AddOutput(name)
	return n
}

// NewNode appends a node without operands and results. Order does not matter
// to g: Sort puts producers before users.
func (g *Graph) NewNode(op, name string) *Node {
	n := &Node{Op: op, Name: name, graph: g}
	g.nodes = append(g.nodes, n)
	return n
}

// MoveBefore moves n to just before ref, keeping the order of all others.
func (g *Graph) MoveBefore(n, ref *Node) {
	i := slices.Index(g.nodes, n)
	g.nodes = slices.Delete(g.nodes, i, i+1)
	g.nodes = slices.Insert(g.nodes, slices.Index(g.nodes, ref), n)
}

// walk calls yield for g and every graph nested in it, outer before inner.
func (g *Graph) walk(yield func(*Graph) bool) bool {
	if g == nil {
		return true
	}
	if !yield(g) {
		return false
	}
	for _, n := range g.nodes {
		for _, h := range n.Subgraphs() {
			if !h.walk(yield) {
				return false
			}
		}
	}
	return true
}

// release drops every use that g's nodes and outputs make of values outside.
func (g *Graph) release() {
	for _, n := range g.nodes {
		for _, h := range n.Subgraphs() {
			h.release()
		}
		n.SetInputs()
	}
	g.ClearOutputs()
}

// AddInfo records that the file declares the type of the value called name. A
// name that nothing in g has is kept all the same.
func (g *Graph) AddInfo(name string, t *Type) *Value {
	v := g.names[name]
	if v == nil {
		v = &Value{name: name, graph: g}
	}
	if v.Type == nil {
		v.Type = t
	}
	g.Infos = append(g.Infos, v)
	return v
}
