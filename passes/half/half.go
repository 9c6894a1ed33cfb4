// Package half computes a model in half precision.
//
//	islands, err := half.Convert(model, shapes, peak)
//
// Weights and most operators go to 16 bits; inputs and outputs stay as they
// are, behind casts, until Ports takes these away. Where half precision would
// overflow or lose what counts, single precision stays: in norms, softmaxes and
// other reductions, and around values that were seen to become large.
//
// The package may import graph, internal/engine and internal/fault.
package half

import (
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
)

// Largest is the largest finite number of half precision; values that come
// within a factor of headroom of it stay in single precision.
const (
	Largest  = 65504
	headroom = 8
)

// sensitive are operators that stay in single precision: they sum over many
// elements, divide by small ones, or grow fast.
var sensitive = []string{
	"Softmax", "LogSoftmax", "LayerNormalization", "SimplifiedLayerNormalization", "SkipLayerNormalization", "RMSNormalization",
	"InstanceNormalization", "GroupNormalization", "BatchNormalization", "LpNormalization",
	"ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd",
	"Pow", "Sqrt", "Reciprocal", "Exp", "Log", "CumSum",
}

// untouched are operands that are in single precision in any case.
var untouched = map[string][]int{"Resize": {1, 2}, "Upsample": {1}, "QuantizeLinear": {1}, "DequantizeLinear": {1}, "Dropout": {1}}

// Convert takes the main graph of m to half precision. peak gives the largest
// magnitude that a value was seen to take. It returns how many nodes compute in
// half and in single precision.
func Convert(m *graph.Model, s *engine.Shapes, peak func(*graph.Value) float64) (halves, islands int, err error) {
	c := &converter{m: m, shapes: s, single: map[*graph.Node]bool{}, casts: map[*graph.Value]*graph.Value{}}
	for _, n := range m.Graph.Nodes() {
		if len(n.Subgraphs()) > 0 {
			return 0, 0, &fault.Error{Kind: fault.Unsupported, Where: n.String(), Got: "a nested graph", Want: "none in half precision", Remedy: "fold it away with --fold, if its condition is constant"}
		}
		if n.Is("QuantizeLinear", "DequantizeLinear") {
			return 0, 0, &fault.Error{Kind: fault.Unsupported, Where: n.String(), Got: "a quantized model", Want: "one in single precision"}
		}
		c.single[n] = slices.Contains(sensitive, n.Op) || c.large(n, peak)
	}
	c.grow()
	nodes := slices.Clone(m.Graph.Nodes())
	native := map[*graph.Value]bool{} // single precision as computed
	for _, v := range m.Graph.Inputs() {
		native[v] = true
	}
	for _, n := range nodes {
		for _, v := range n.Outputs() {
			if v != nil {
				native[v] = c.single[n]
			}
		}
	}
	floats := map[*graph.Value]bool{}
	note := func(v *graph.Value) {
		if v != nil && s.Elem(v) == graph.Float32 {
			floats[v] = true
		}
	}
	for _, n := range nodes {
		for _, v := range n.Inputs() {
			note(v)
		}
		for _, v := range n.Outputs() {
			note(v)
		}
	}
	for _, n := range nodes {
		any := false
		for i, v := range n.Inputs() {
			if v == nil || !floats[v] || slices.Contains(untouched[n.Op], i) {
				continue
			}
			any = true
			switch {
			case v.Default() != nil:
				if !c.single[n] {
					w, err := c.constant(v)
					if err != nil {
						return 0, 0, err
					}
					n.SetInput(i, w)
				}
			case native[v] != c.single[n] && !n.Is("Cast", "Shape", "Size"):
				n.SetInput(i, c.cast(v, c.single[n]))
			}
		}
		for _, v := range n.Outputs() {
			any = any || floats[v]
		}
		if !c.single[n] {
			c.retype(n)
		}
		if any && c.single[n] {
			islands++
		} else if any {
			halves++
		}
	}
	for i, v := range slices.Clone(m.Graph.Outputs()) {
		if floats[v] && v.Producer() != nil && !native[v] {
			outputAs(m, i, v, graph.Float32, "_half")
		}
	}
	m.Graph.Infos = nil
	engine.Trim(m.Graph)
	return halves, islands, nil
}

type converter struct {
	m      *graph.Model
	shapes *engine.Shapes
	single map[*graph.Node]bool
	casts  map[*graph.Value]*graph.Value
}

// large reports whether n reads or gives a value that half precision cannot
// hold with room to spare.
func (c *converter) large(n *graph.Node, peak func(*graph.Value) float64) bool {
	for _, v := range append(slices.Clone(n.Inputs()), n.Outputs()...) {
		if v != nil && c.shapes.Elem(v) == graph.Float32 && !(peak(v)*headroom < Largest) {
			return true
		}
	}
	return false
}

// grow takes into the islands what stands between two nodes of one, such as the
// square in front of a mean, or the sum with ε behind it.
func (c *converter) grow() {
	for _, n := range c.m.Graph.Nodes() {
		if c.single[n] || !n.Is("Mul", "Add", "Div", "Sub", "Cast") {
			continue
		}
		before, after := false, true
		for _, v := range n.Inputs() {
			before = before || v != nil && c.single[v.Producer()]
		}
		users := n.Output(0).Users()
		for _, u := range users {
			after = after && c.single[u]
		}
		square := n.Is("Mul") && n.Input(0) == n.Input(1)
		c.single[n] = after && len(users) > 0 && (before || square)
	}
}

// constant returns a half-precision copy of an initializer.
func (c *converter) constant(v *graph.Value) (*graph.Value, error) {
	if w := c.casts[v]; w != nil {
		return w, nil
	}
	xs, err := v.Default().Floats()
	if err != nil {
		return nil, err
	}
	for i, x := range xs {
		xs[i] = min(max(x, -Largest), Largest) // a mask of −∞ is meant to be very low, and stays so
	}
	t, err := graph.FromFloats(graph.Float16, v.Default().Dims, xs)
	if err != nil {
		return nil, err
	}
	c.casts[v] = c.m.Graph.AddConst(v.Name()+"_half", t)
	return c.casts[v], nil
}

// cast returns v in the other precision.
func (c *converter) cast(v *graph.Value, single bool) *graph.Value {
	if w := c.casts[v]; w != nil {
		return w
	}
	to, name := graph.Float16, "_half"
	if single {
		to, name = graph.Float32, "_single"
	}
	c.casts[v] = c.m.Graph.Add("Cast", v.Name()+name, []*graph.Value{v}, graph.Int("to", int64(to))).Output(0)
	return c.casts[v]
}

// retype makes a node that states single precision state half.
func (c *converter) retype(n *graph.Node) {
	switch {
	case n.Is("Cast") && n.IntAttr("to", 0) == int64(graph.Float32):
		n.SetAttr(graph.Int("to", int64(graph.Float16)))
	case n.Is("Constant", "ConstantOfShape"):
		a := n.Attr("value")
		if a == nil || len(a.Tensors) != 1 || a.Tensors[0].Type != graph.Float32 {
			return
		}
		if xs, err := a.Tensors[0].Floats(); err == nil {
			if t, err := graph.FromFloats(graph.Float16, a.Tensors[0].Dims, xs); err == nil {
				n.SetAttr(graph.TensorAttr("value", t))
			}
		}
	}
}

// Ports makes inputs and outputs half-precision ones where all that is done with
// them is a cast. It returns how many.
func Ports(m *graph.Model) int {
	n := 0
	for _, v := range m.Graph.Inputs() {
		if v.Type == nil || v.Type.Elem != graph.Float32 || v.Default() != nil || len(v.Uses()) == 0 {
			continue
		}
		if slices.ContainsFunc(v.Uses(), func(u graph.Use) bool {
			return u.Node == nil || !u.Node.Is("Shape") && !(u.Node.Is("Cast") && u.Node.IntAttr("to", 0) == int64(graph.Float16))
		}) {
			continue
		}
		for _, u := range v.Users() {
			if u.Is("Cast") {
				u.Output(0).ReplaceUses(v)
			}
		}
		v.Type.Elem = graph.Float16
		n++
	}
	for i, v := range slices.Clone(m.Graph.Outputs()) {
		cast := v.Producer()
		if cast == nil || !cast.Is("Cast") || v.Type == nil || v.Type.Elem != graph.Float32 || len(v.Uses()) != 1 || cast.Input(0).IsInput() {
			continue
		}
		name, typ, x := v.Name(), v.Type, cast.Input(0)
		m.Graph.Rename(v, m.Graph.UniqueName(name+"_single"))
		m.Graph.Rename(x, name)
		typ.Elem = graph.Float16
		x.Type = typ
		m.Graph.SetOutput(i, x)
		n++
	}
	engine.Trim(m.Graph)
	return n
}
