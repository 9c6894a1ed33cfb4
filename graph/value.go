package graph

import "slices"

// Value is one tensor that flows through a graph: an input, a constant, or an
// output of a node.
type Value struct {
	Type     *Type // the declared or inferred type; nil when unknown
	Doc      string
	Metadata []Entry
	Wire     Wire

	name     string
	graph    *Graph // nil once removed
	producer *Node
	index    int
	constant *Tensor
	sparse   *SparseTensor
	input    bool
	uses     []Use
	repeats  *Value // for a repeated declaration: the value that it is about
	since    *Type  // the type which that value had then
}

// Use is one place where a value is read: an operand of a node, or, when Node
// is nil, an output of a graph.
type Use struct {
	Node  *Node
	Graph *Graph // set for graph outputs only
	Index int
}

// Name returns the value's name, unique within its graph.
func (v *Value) Name() string {
	if v.repeats != nil {
		return v.repeats.name
	}
	return v.name
}

// Current reports whether v is still to be written: not once it was removed,
// and a repeated declaration (see Graph.Repeat) not once the value that it is
// about was removed or given another type.
func (v *Value) Current() bool {
	if v.repeats != nil {
		return v.repeats.graph != nil && v.repeats.Type == v.since
	}
	return v.graph != nil
}

// Graph returns the graph that v belongs to; nil once v was removed.
func (v *Value) Graph() *Graph { return v.graph }

// Producer returns the node that computes v; nil for inputs and constants.
func (v *Value) Producer() *Node { return v.producer }

// Index returns which output of its producer v is.
func (v *Value) Index() int { return v.index }

// Const returns the constant that v holds, nil if v is computed. An
// initializer that is also a graph input is a default that callers may
// override, not a constant: see Default.
func (v *Value) Const() *Tensor {
	if v.input {
		return nil
	}
	return v.constant
}

// Default returns v's initializer even where v is also a graph input.
func (v *Value) Default() *Tensor { return v.constant }

// Sparse returns v's sparse initializer, nil if it has none.
func (v *Value) Sparse() *SparseTensor { return v.sparse }

// IsInput reports whether v is an input of its graph.
func (v *Value) IsInput() bool { return v.input }

// IsOutput reports whether some graph returns v.
func (v *Value) IsOutput() bool {
	return slices.ContainsFunc(v.uses, func(u Use) bool { return u.Node == nil })
}

// Uses returns every place that reads v, those in nested graphs included. The
// slice must not be changed and is valid until the next edit.
func (v *Value) Uses() []Use { return v.uses }

// Users returns the distinct nodes that read v.
func (v *Value) Users() []*Node {
	var ns []*Node
	for _, u := range v.uses {
		if u.Node != nil && !slices.Contains(ns, u.Node) {
			ns = append(ns, u.Node)
		}
	}
	return ns
}

// OnlyUser returns the single node operand that reads v, or nil when v is read
// more than once or by a graph output.
func (v *Value) OnlyUser() *Node {
	if len(v.uses) != 1 {
		return nil
	}
	return v.uses[0].Node
}

// SetConst replaces the tensor of an initializer.
func (v *Value) SetConst(t *Tensor) { v.constant = t }

func (v *Value) addUse(u Use) { v.uses = append(v.uses, u) }

func (v *Value) dropUse(u Use) {
	if i := slices.Index(v.uses, u); i >= 0 {
		v.uses = slices.Delete(v.uses, i, i+1)
	}
}

// ReplaceUses makes everything that reads v read w instead. Where v is an
// output of a graph, w takes over v's name and declared type, so that the
// model's signature stays: if w's own name is part of a signature, an Identity
// node is put between.
func (v *Value) ReplaceUses(w *Value) {
	if v == w {
		return
	}
	for _, u := range slices.Clone(v.uses) {
		if u.Node != nil {
			u.Node.SetInput(u.Index, w)
			continue
		}
		out := w
		if w.graph != u.Graph || w.input || w.constant != nil || w.sparse != nil || w.IsOutput() {
			out = u.Graph.Add("Identity", "", []*Value{w}).Output(0)
		}
		name := v.name
		if v.graph == u.Graph && !v.input {
			v.graph.Rename(v, v.graph.UniqueName(name+"_replaced"))
			u.Graph.Rename(out, name)
		}
		out.Type, out.Doc, out.Metadata = v.Type.Clone(), v.Doc, v.Metadata
		u.Graph.SetOutput(u.Index, out)
	}
}
