package structure

import (
	"slices"

	"nuwa/graph"
)

// Moved returns v, found in the graph from, as the same parts of to, which must
// be a clone of from that nothing was done to since. What v names but from has
// lost already is named as before. Declined places, which are only reported,
// stay those of from.
func (v *ViT) Moved(from, to *graph.Model) *ViT {
	m := mover{from: from.Graph, to: to.Graph, nodes: map[*graph.Node]*graph.Node{}, done: map[any]any{}}
	for i, n := range from.Graph.Nodes() {
		m.nodes[n] = to.Graph.Nodes()[i]
	}
	c := *v
	c.Attentions = each(v.Attentions, m.attention)
	c.MLPs = each(v.MLPs, m.mlp)
	c.Blocks = each(v.Blocks, func(b Block) Block { return Block{m.attention(b.Attention), m.mlp(b.MLP)} })
	c.Classifiers = each(v.Classifiers, m.classifier)
	c.Declined = slices.Clone(v.Declined)
	return &c
}

// mover finds in one graph what is known of its original. What is referred to
// twice is made once.
type mover struct {
	from, to *graph.Graph
	nodes    map[*graph.Node]*graph.Node
	done     map[any]any
}

func each[T any](xs []T, move func(T) T) []T {
	if xs == nil {
		return nil
	}
	ys := make([]T, len(xs))
	for i, x := range xs {
		ys[i] = move(x)
	}
	return ys
}

// once copies *x and has fill move what the copy refers to, unless x was moved
// before.
func once[T any](m mover, x *T, fill func(c *T)) *T {
	if x == nil {
		return nil
	}
	if c, ok := m.done[x]; ok {
		return c.(*T)
	}
	c := new(T)
	*c = *x
	m.done[x] = c
	fill(c)
	return c
}

func (m mover) node(n *graph.Node) *graph.Node {
	if c, ok := m.nodes[n]; ok {
		return c
	}
	return n
}

func (m mover) value(v *graph.Value) *graph.Value {
	if v == nil || m.from.Value(v.Name()) != v {
		return v
	}
	return m.to.Value(v.Name())
}

func (m mover) linear(l *Linear) *Linear {
	return once(m, l, func(c *Linear) {
		c.Node, c.Add = m.node(l.Node), m.node(l.Add)
		c.In, c.Out, c.W, c.B = m.value(l.In), m.value(l.Out), m.value(l.W), m.value(l.B)
	})
}

func (m mover) leaf(l *Leaf) *Leaf {
	return once(m, l, func(c *Leaf) { c.Value = m.value(l.Value) })
}

func (m mover) fan(t *fan) *fan {
	return once(m, t, func(c *fan) {
		c.root, c.leaves = m.value(t.root), each(t.leaves, m.leaf)
		c.parents = make(map[*graph.Value]*graph.Node, len(t.parents))
		for v, n := range t.parents {
			c.parents[m.value(v)] = m.node(n)
		}
	})
}

func (m mover) operand(o *Operand) *Operand {
	return once(m, o, func(c *Operand) { c.Linear, c.Leaf, c.fan = m.linear(o.Linear), m.leaf(o.Leaf), m.fan(o.fan) })
}

func (m mover) attention(a *Attention) *Attention {
	return once(m, a, func(c *Attention) {
		c.Softmax, c.QK, c.PV = m.node(a.Softmax), m.node(a.QK), m.node(a.PV)
		c.Q, c.K, c.V = m.operand(a.Q), m.operand(a.K), m.operand(a.V)
		c.Out = once(m, a.Out, func(c *Output) { c.Linear, c.leaf = m.linear(a.Out.Linear), m.leaf(a.Out.leaf) })
	})
}

func (m mover) mlp(p *MLP) *MLP {
	return once(m, p, func(c *MLP) {
		c.First, c.Second, c.region = each(p.First, m.linear), m.linear(p.Second), m.region(p.region)
	})
}

func (m mover) region(r *region) *region {
	return once(m, r, func(c *region) {
		c.nodes, c.first = each(r.nodes, m.node), each(r.first, m.linear)
		c.consts = each(r.consts, func(x laneConst) laneConst { x.node = m.node(x.node); return x })
		c.lanes = make(map[*graph.Value]lanes, len(r.lanes))
		for v, l := range r.lanes {
			c.lanes[m.value(v)] = l
		}
		c.slices = make(map[*graph.Node]*sliced, len(r.slices))
		for n, s := range r.slices {
			c.slices[m.node(n)] = once(m, s, func(c *sliced) { c.from = m.value(s.from) })
		}
	})
}

func (m mover) classifier(c *Classifier) *Classifier {
	return once(m, c, func(d *Classifier) {
		d.Output, d.Linears, d.nodes = m.value(c.Output), each(c.Linears, m.linear), each(c.nodes, m.node)
	})
}
