// Package tokens computes the end of a model only for the tokens that its
// output reads. A classifier on the class token reads one token of the last
// block; everything behind the keys and values of that block is then needed
// for this token alone, and nothing changes when the rest is not computed.
//
//	n, err := tokens.Crop(model, shapes)
//
// The selection of the tokens is moved from where the exporter put it towards
// the input, through every operator that treats tokens one by one, and stops
// at the values that keys and values still need in full.
//
// Rules, by which it goes, serve whoever else changes how many tokens there are.
//
// It may import graph and internal/engine.
package tokens

import (
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// Crop moves selections of tokens in the main graph of m towards its input,
// where that takes them past an attention. It returns the number of operators
// that work on fewer tokens now. The graph must be sorted.
func Crop(m *graph.Model, shapes *engine.Shapes) int {
	n := 0
	tried := map[*graph.Value]bool{}
	for _, node := range slices.Clone(m.Graph.Nodes()) {
		v := node.Input(0)
		if v == nil || tried[v] || v.Graph() != m.Graph || v.Producer() == nil {
			continue
		}
		tried[v] = true
		if c := newCrop(m, shapes, v); c != nil && c.passesAttention() {
			c.apply()
			n += len(c.narrow)
		}
	}
	return n
}

// use is one operand of a node.
type use struct {
	node  *graph.Node
	index int
}

// crop is one selection on its way to the input.
type crop struct {
	Rules
	g *graph.Graph

	selectors []*graph.Node        // what reads single tokens of the first value
	kept      []int64              // the tokens that stay, ascending
	narrow    []*graph.Node        // the nodes that work on kept tokens only, last first
	axis      map[*graph.Value]int // the token axis, counted from the front, of the values of narrow nodes
	wants     map[use]int          // the token axis of an operand that shall be narrow
	cuts      map[*graph.Value]*graph.Value
}

// newCrop follows the selection of some tokens of v backward; nil where v is
// read otherwise.
func newCrop(m *graph.Model, shapes *engine.Shapes, v *graph.Value) *crop {
	c := &crop{Rules: Rules{Model: m, Shapes: shapes}, g: m.Graph, axis: map[*graph.Value]int{}, wants: map[use]int{}, cuts: map[*graph.Value]*graph.Value{}}
	axis := -1
	for _, u := range v.Uses() {
		if u.Node == nil || u.Index != 0 {
			return nil
		}
		a, at := c.Selects(u.Node)
		if at == nil || axis >= 0 && a != axis {
			return nil
		}
		axis = a
		c.selectors, c.kept = append(c.selectors, u.Node), append(c.kept, at...)
		c.wants[use{u.Node, 0}] = a
	}
	slices.Sort(c.kept)
	c.kept = slices.Compact(c.kept)
	d, ok := shapes.Of(v)
	if !ok || axis < 1 || len(d) < 3 || d[axis].Dynamic() || d[axis].Fixed <= int64(len(c.kept)) {
		return nil
	}
	c.Size = d[axis]
	nodes := c.g.Nodes()
	for i := len(nodes) - 1; i >= 0; i-- {
		c.visit(nodes[i])
	}
	return c
}

// visit narrows n where all that reads it is narrow.
func (c *crop) visit(n *graph.Node) {
	if n.Domain != "" && n.Domain != "ai.onnx" || len(n.Subgraphs()) > 0 {
		return
	}
	axis := -1
	for _, o := range n.Outputs() {
		if o == nil || !o.IsOutput() && len(o.Uses()) == 0 {
			continue
		}
		for _, u := range o.Uses() {
			a, ok := c.wants[use{u.Node, u.Index}]
			if u.Node == nil || !ok || axis >= 0 && a != axis {
				return
			}
			axis = a
		}
		if o.IsOutput() {
			return
		}
	}
	if axis < 0 {
		return
	}
	operands, ok := c.Operands(n, axis)
	if !ok {
		return
	}
	for i, a := range operands {
		c.wants[use{n, i}] = a
	}
	for _, o := range n.Outputs() {
		if o != nil {
			c.axis[o] = axis
		}
	}
	c.narrow = append(c.narrow, n)
}

// passesAttention reports whether a product of two computed matrices is among
// what would be narrow.
func (c *crop) passesAttention() bool {
	return slices.ContainsFunc(c.narrow, func(n *graph.Node) bool {
		return n.Is("MatMul") && n.Input(0).Const() == nil && n.Input(1).Const() == nil
	})
}

// apply edits the graph.
func (c *crop) apply() {
	for _, n := range c.narrow {
		c.Resize(n, c.axis[firstOutput(n)], int64(len(c.kept)))
		for i, v := range n.Inputs() {
			if a, ok := c.wants[use{n, i}]; ok {
				n.SetInput(i, c.operand(v, a))
			}
		}
		for _, o := range n.Outputs() {
			if o != nil {
				o.Type = nil
			}
		}
	}
	for _, n := range c.selectors {
		c.Reselect(n, c.kept)
	}
}

func firstOutput(n *graph.Node) *graph.Value {
	for _, o := range n.Outputs() {
		if o != nil {
			return o
		}
	}
	return nil
}

// operand returns v with the kept tokens only.
func (c *crop) operand(v *graph.Value, axis int) *graph.Value {
	if _, ok := c.axis[v]; ok {
		return v
	}
	if w := c.cuts[v]; w != nil {
		return w
	}
	var w *graph.Value
	if t := v.Const(); t != nil {
		w = c.g.AddConst(v.Name(), Take(t, axis, c.kept))
	} else if w = c.copied(v, axis); w == nil {
		w = c.gather(v, axis)
	}
	c.cuts[v] = w
	return w
}

// Take returns the elements of t at the given places of one axis.
func Take(t *graph.Tensor, axis int, at []int64) *graph.Tensor {
	inner := graph.Elements(t.Dims[axis+1:]) * int64(t.Type.Bits()/8)
	row := t.Dims[axis] * inner
	out := t.Clone()
	out.Storage, out.External, out.Data = graph.StoreRaw, nil, nil
	out.Dims[axis] = int64(len(at))
	for o := int64(0); o < int64(len(t.Data)); o += row {
		for _, j := range at {
			out.Data = append(out.Data, t.Data[o+j*inner:o+(j+1)*inner]...)
		}
	}
	return out
}

func (c *crop) gather(v *graph.Value, axis int) *graph.Value {
	idx := c.g.AddConst("tokens", graph.NewTensor([]int64{int64(len(c.kept))}, slices.Clone(c.kept)))
	return c.g.Add("Gather", "tokens", []*graph.Value{v, idx}, graph.Int("axis", int64(axis))).Output(0)
}

// copied computes v a second time, for the kept tokens, from the input of the
// linear map whose channels it holds: queries that leave a map together with
// keys and values. It returns nil where v is no such thing.
func (c *crop) copied(v *graph.Value, axis int) *graph.Value {
	type link struct {
		node *graph.Node
		from int // the operand that is computed
		axis int // of the result
		out  int
	}
	var way []link
	for {
		n := v.Producer()
		if n == nil || len(way) > 12 || len(n.Subgraphs()) > 0 || n.Domain != "" && n.Domain != "ai.onnx" {
			return nil
		}
		linear := n.Is("MatMul") && n.Input(1).Const() != nil
		if !linear && !n.Is("Reshape", "Transpose", "Split", "Slice", "Gather", "Squeeze", "Unsqueeze", "Add", "Mul", "Div") {
			return nil
		}
		from := -1
		for i, x := range n.Inputs() {
			if x != nil && x.Const() == nil {
				if from >= 0 {
					return nil
				}
				from = i
			}
		}
		operands, ok := c.Operands(n, axis)
		if _, moved := operands[from]; from < 0 || !ok || !moved || len(operands) != 1 {
			return nil
		}
		way = append(way, link{n, from, axis, v.Index()})
		v, axis = n.Input(from), operands[from]
		if linear {
			break
		}
	}
	x := c.operand(v, axis)
	for i := len(way) - 1; i >= 0; i-- {
		l := way[i]
		n := c.g.NewNode(l.node.Op, l.node.Name+"_tokens")
		for _, a := range l.node.Attrs() {
			n.SetAttr(a)
		}
		for j, w := range l.node.Inputs() {
			switch {
			case j == l.from:
				n.SetInput(j, x)
			case w != nil:
				n.SetInput(j, c.g.AddConst(w.Name(), w.Const().Clone()))
			}
		}
		for _, o := range l.node.Outputs() {
			n.AddOutput(c.g.UniqueName(o.Name()))
		}
		c.Resize(n, l.axis, int64(len(c.kept)))
		x = n.Output(l.out)
	}
	return x
}
