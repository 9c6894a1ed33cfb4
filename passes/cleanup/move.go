package cleanup

import (
	"slices"

	"nuwa/graph"
)

// mover takes nodes out of one graph and puts their like into another: a
// function's body into its caller, a branch into the graph around it, constant
// nodes into a graph of their own.
type mover struct {
	to     *graph.Graph
	before *graph.Node                   // new nodes are placed before it; nil for the end
	from   *graph.Graph                  // the graph whose constants come along; nil for those of any graph
	attr   func(*graph.Attr) *graph.Attr // what becomes of an attribute; nil drops it
	of     map[*graph.Value]*graph.Value // what stands for a value in to; nil for an omitted operand
	moved  []*graph.Value                // the keys of of, in order
}

func (mv *mover) set(old, new *graph.Value) {
	if mv.of == nil {
		mv.of = map[*graph.Value]*graph.Value{}
	}
	mv.of[old] = new
	mv.moved = append(mv.moved, old)
}

// value returns what stands for v in the new graph.
func (mv *mover) value(v *graph.Value) *graph.Value {
	if v == nil {
		return nil
	}
	if w, ok := mv.of[v]; ok {
		return w
	}
	if mv.from != nil && v.Graph() != mv.from {
		return v
	}
	switch {
	case v.Default() != nil:
		mv.set(v, mv.to.AddConst(v.Name(), v.Default()))
	case v.Sparse() != nil:
		mv.set(v, mv.to.AddSparse(mv.to.UniqueName(v.Name()), v.Sparse()))
	default:
		return v
	}
	return mv.of[v]
}

// node moves n. It leaves behind a node without operands and attributes.
func (mv *mover) node(n *graph.Node) *graph.Node {
	c := mv.to.NewNode(n.Op, n.Name)
	c.Domain, c.Overload, c.Doc, c.Metadata = n.Domain, n.Overload, n.Doc, n.Metadata
	for i, v := range n.Inputs() {
		c.SetInput(i, mv.value(v))
	}
	for _, v := range captures(n) {
		mv.value(v)
	}
	for _, a := range slices.Clone(n.Attrs()) {
		for _, h := range a.Graphs {
			if !inside(h, outermost(mv.to)) {
				mv.rename(h)
			}
			mv.rewrite(h)
		}
		n.RemoveAttr(a.Name)
		if mv.attr != nil {
			a = mv.attr(a)
		}
		if a != nil {
			c.AddAttr(a)
		}
	}
	for _, v := range n.Outputs() {
		if v == nil {
			c.AddOutput("")
			continue
		}
		w := c.AddOutput(mv.to.UniqueName(v.Name()))
		w.Type, w.Doc, w.Metadata = v.Type.Clone(), v.Doc, v.Metadata
		mv.set(v, w)
	}
	n.SetInputs()
	if mv.before != nil {
		mv.to.MoveBefore(c, mv.before)
	}
	return c
}

// rename gives the values of a nested graph names that are free where it goes.
func (mv *mover) rename(h *graph.Graph) {
	for _, g := range graphs(h) {
		var own []*graph.Value
		own = append(own, g.Inputs()...)
		own = append(own, g.Consts()...)
		for _, n := range g.Nodes() {
			own = append(own, n.Outputs()...)
		}
		for _, v := range own {
			if v == nil {
				continue
			}
			name := mv.to.UniqueName(v.Name())
			for name != v.Name() && g.Value(name) != nil {
				name = mv.to.UniqueName(name + "_")
			}
			if name != v.Name() {
				g.Rename(v, name)
			}
		}
	}
}

// rewrite applies attr to the attributes inside a nested graph.
func (mv *mover) rewrite(h *graph.Graph) {
	if mv.attr == nil {
		return
	}
	for _, g := range graphs(h) {
		for _, n := range g.Nodes() {
			for _, a := range slices.Clone(n.Attrs()) {
				if b := mv.attr(a); b == nil {
					n.RemoveAttr(a.Name)
				} else if b != a {
					n.SetAttr(b)
				}
			}
		}
	}
}

// finish makes the nested graphs that came along read the new values.
func (mv *mover) finish() {
	for _, old := range mv.moved {
		w := mv.of[old]
		for _, u := range slices.Clone(old.Uses()) {
			switch {
			case u.Node != nil && inside(u.Node.Graph(), mv.to):
				u.Node.SetInput(u.Index, w)
			case u.Node == nil && u.Graph != mv.to && inside(u.Graph, mv.to) && w != nil:
				u.Graph.SetOutput(u.Index, u.Graph.Add("Identity", "", []*graph.Value{w}).Output(0))
			}
		}
	}
}
