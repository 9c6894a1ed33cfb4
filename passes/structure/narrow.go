package structure

import (
	"fmt"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
)

// Rebuild keeps the hidden channels in keep, which must ascend, and puts w2
// (out×len(keep)) and b2 (nil for none) in the place of the second map. The
// operators between stay as they are, with their per-channel constants, sizes
// and shapes narrowed.
func (m *MLP) Rebuild(model *graph.Model, keep []int, w2 *mat.Dense, b2 []float64) error {
	g := model.Graph
	kept := make([]bool, m.Hidden)
	for _, j := range keep {
		kept[j] = true
	}
	for _, l := range m.First {
		w, b, err := l.Weight()
		if err != nil {
			return err
		}
		rows := pick(m.region.lanes[l.Out].of, kept)
		w, b = takeRows(w, rows), take(b, rows)
		if l.B == nil {
			b = nil
		}
		y, err := l.Rebuild(g, l.Input(), l.Name(), w, b)
		if err != nil {
			return err
		}
		l.Out.ReplaceUses(y)
	}
	for _, c := range m.region.consts {
		old := c.node.Input(c.input)
		t, err := takeAxis(old.Const(), c.axis, pick(m.region.lanes[c.node.Output(0)].of, kept))
		if err != nil {
			return fmt.Errorf("%s: %w", c.node, err)
		}
		c.node.SetInput(c.input, g.AddConst(old.Name(), t))
	}
	for _, n := range m.region.nodes {
		if err := m.narrow(model, n, kept); err != nil {
			return err
		}
	}
	name := m.Second.Name()
	y, err := m.Second.Rebuild(g, m.Second.Input(), name, w2, b2)
	if err != nil {
		return err
	}
	m.Second.Out.ReplaceUses(y)
	return nil
}

// narrow changes the sizes that n states itself.
func (m *MLP) narrow(model *graph.Model, n *graph.Node, kept []bool) error {
	g := model.Graph
	l := m.region.lanes[n.Output(0)]
	switch {
	case n.Is("Reshape"):
		target := n.Input(1)
		dims, err := target.Const().Ints()
		if err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
		if at := len(dims) - l.axis; dims[at] > 0 {
			dims[at] = int64(len(pick(l.of, kept)))
			n.SetInput(1, g.AddConst(target.Name(), graph.NewTensor([]int64{int64(len(dims))}, dims)))
		}
	case n.Is("Split"):
		if _, ok := n.IntsAttr("split"); !ok && n.Input(1) == nil {
			return nil // equal pieces stay equal
		}
		sizes := make([]int64, len(n.Outputs()))
		for i, o := range n.Outputs() {
			sizes[i] = int64(len(pick(m.region.lanes[o].of, kept)))
		}
		if n.Input(1) != nil {
			n.SetInput(1, g.AddConst(n.Input(1).Name(), graph.NewTensor([]int64{int64(len(sizes))}, sizes)))
		} else {
			n.SetAttr(graph.Ints("split", sizes...))
		}
	case n.Is("Slice"):
		return m.narrowSlice(model, n, kept)
	case n.Is("Conv"):
		return m.narrowConv(g, n, kept)
	}
	return nil
}

// narrowSlice moves the ends of a Slice along the channel axis.
func (m *MLP) narrowSlice(model *graph.Model, n *graph.Node, kept []bool) error {
	g := model.Graph
	p := m.region.slices[n]
	start := len(pick(p.lanes.of[:p.start], kept))
	end := start + len(pick(m.region.lanes[n.Output(0)].of, kept))
	one := func(x int) *graph.Tensor { return graph.NewTensor([]int64{1}, []int64{int64(x)}) }
	if model.Opset("") < 10 {
		n.SetAttr(graph.Ints("starts", int64(start)))
		n.SetAttr(graph.Ints("ends", int64(end)))
		n.SetAttr(graph.Ints("axes", int64(p.axis)))
		return nil
	}
	n.SetInputs(n.Input(0), g.AddConst(n.Name+".start", one(start)), g.AddConst(n.Name+".end", one(end)), g.AddConst(n.Name+".axis", one(p.axis)))
	return nil
}

// pick returns the positions whose lane is kept.
func pick(of []int, kept []bool) []int {
	var at []int
	for i, lane := range of {
		if lane != noLane && kept[lane] {
			at = append(at, i)
		}
	}
	return at
}

func take(xs []float64, at []int) []float64 {
	ys := make([]float64, len(at))
	for i, j := range at {
		ys[i] = xs[j]
	}
	return ys
}

func takeRows(w *mat.Dense, rows []int) *mat.Dense {
	_, c := w.Dims()
	out := mat.NewDense(len(rows), c, nil)
	for i, r := range rows {
		out.SetRow(i, w.RawRowView(r))
	}
	return out
}

// takeAxis keeps the given positions of one axis of t.
func takeAxis(t *graph.Tensor, axis int, at []int) (*graph.Tensor, error) {
	size := int64(t.Type.Bits() / 8)
	if size == 0 {
		return nil, fmt.Errorf("cannot take channels of a constant of type %s", t.Type)
	}
	inner := graph.Elements(t.Dims[axis+1:]) * size
	row := t.Dims[axis] * inner
	out := t.Clone()
	out.Storage, out.External = graph.StoreRaw, nil
	out.Dims[axis] = int64(len(at))
	out.Data = make([]byte, 0, int64(len(at))*inner*graph.Elements(t.Dims[:axis]))
	for o := int64(0); o < int64(len(t.Data)); o += row {
		for _, j := range at {
			out.Data = append(out.Data, t.Data[o+int64(j)*inner:o+int64(j+1)*inner]...)
		}
	}
	return out, nil
}
