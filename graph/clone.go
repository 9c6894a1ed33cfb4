package graph

import "slices"

// Clone returns a deep copy of m. Only the element bytes of tensors are
// shared. Values and nodes of the copy stand at the same places and have the
// same names.
func (m *Model) Clone() *Model {
	c := *m
	c.Opsets = slices.Clone(m.Opsets)
	c.Metadata = slices.Clone(m.Metadata)
	c.Graph = m.Graph.clone(map[*Value]*Value{})
	c.Functions = make([]*Function, len(m.Functions))
	for i, f := range m.Functions {
		d := *f
		d.AttrNames = slices.Clone(f.AttrNames)
		d.Opsets = slices.Clone(f.Opsets)
		d.Metadata = slices.Clone(f.Metadata)
		d.Body = f.Body.clone(map[*Value]*Value{})
		d.AttrDefaults = make([]*Attr, len(f.AttrDefaults))
		for j, a := range f.AttrDefaults {
			d.AttrDefaults[j] = a.clone(map[*Value]*Value{})
		}
		c.Functions[i] = &d
	}
	return &c
}

// Clone returns a deep copy of a graph that is not nested in another.
func (g *Graph) Clone() *Graph { return g.clone(map[*Value]*Value{}) }

func (g *Graph) clone(of map[*Value]*Value) *Graph {
	c := &Graph{
		Name: g.Name, Doc: g.Doc, Metadata: slices.Clone(g.Metadata),
		Quantization: slices.Clone(g.Quantization), Wire: g.Wire,
		names: make(map[string]*Value, len(g.names)),
	}
	copyOf := func(v *Value) *Value {
		if v == nil {
			return nil
		}
		if w := of[v]; w != nil {
			return w
		}
		w := &Value{
			Type: v.Type.Clone(), Doc: v.Doc, Metadata: slices.Clone(v.Metadata), Wire: v.Wire,
			name: v.name, graph: c, index: v.index, input: v.input,
			constant: v.constant.Clone(), sparse: v.sparse.Clone(),
		}
		of[v] = w
		if v.repeats != nil {
			w.repeats = of[v.repeats]
			w.since = w.repeats.Type
			return w
		}
		if g.names[v.name] == v {
			c.names[v.name] = w
		}
		return w
	}
	for _, v := range g.inputs {
		c.inputs = append(c.inputs, copyOf(v))
	}
	for _, v := range g.consts {
		c.consts = append(c.consts, copyOf(v))
	}
	for _, n := range g.nodes {
		m := &Node{
			Name: n.Name, Op: n.Op, Domain: n.Domain, Overload: n.Overload, Doc: n.Doc,
			Metadata: slices.Clone(n.Metadata), Wire: n.Wire, graph: c,
		}
		for _, v := range n.outputs {
			w := copyOf(v)
			if w != nil {
				w.producer = m
			}
			m.outputs = append(m.outputs, w)
		}
		c.nodes = append(c.nodes, m)
	}
	for i, n := range g.nodes {
		m := c.nodes[i]
		for j, v := range n.inputs {
			m.inputs = append(m.inputs, nil)
			if v != nil {
				m.SetInput(j, of[v])
			}
		}
		for _, a := range n.attrs {
			m.AddAttr(a.clone(of))
		}
	}
	for _, v := range g.outputs {
		c.AddOutput(of[v])
	}
	for _, v := range g.Infos {
		if v.graph == g && v.Current() {
			c.Infos = append(c.Infos, copyOf(v))
		}
	}
	for i, v := range g.repeats {
		if v.Current() {
			c.RepeatOutput(i, copyOf(v))
		}
	}
	return c
}

func (a *Attr) clone(of map[*Value]*Value) *Attr {
	c := *a
	c.Floats, c.Ints, c.Strings = slices.Clone(a.Floats), slices.Clone(a.Ints), slices.Clone(a.Strings)
	c.Tensors = cloneAll(a.Tensors, (*Tensor).Clone)
	c.Sparses = cloneAll(a.Sparses, (*SparseTensor).Clone)
	c.Types = cloneAll(a.Types, (*Type).Clone)
	c.Graphs = cloneAll(a.Graphs, func(g *Graph) *Graph { return g.clone(of) })
	return &c
}

func cloneAll[T any](xs []T, clone func(T) T) []T {
	if xs == nil {
		return nil
	}
	ys := make([]T, len(xs))
	for i, x := range xs {
		ys[i] = clone(x)
	}
	return ys
}
