package cleanup

import (
	"fmt"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// elementwise are the operators between the two maps of a hidden layer.
var elementwise = []string{"Add", "Cast", "Clip", "Div", "Dropout", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "Identity", "Max", "Min", "Mish", "Mul", "Neg",
	"Pow", "Relu", "Sigmoid", "Softplus", "Sub", "Swish", "Tanh"}

// Unpack gives hidden layers a linear map of their own where one map gives
// them and, behind a Split, something else as well: queries, keys and values in
// blocks whose attention and hidden layer stand side by side. It returns how many
// maps it took apart. Maps whose parts are all of one kind stay.
func Unpack(m *graph.Model, shapes *engine.Shapes) (int, error) {
	count := 0
	for _, n := range slices.Clone(m.Graph.Nodes()) {
		p := packedBehind(m, shapes, n)
		if p == nil {
			continue
		}
		hidden := make([]bool, len(p.sizes))
		some, all := false, true
		for i, v := range n.Outputs() {
			hidden[i] = endsInMap(v)
			some, all = some || hidden[i], all && hidden[i]
		}
		if !some || all {
			continue
		}
		if err := p.takeApart(m, hidden); err != nil {
			return count, err
		}
		count++
	}
	return count, nil
}

// packed is a linear map, y = x·W + b, that only a Split reads.
type packed struct {
	product, split *graph.Node
	w, b           *graph.Tensor // W is [in, out], or [out, in] if turned
	turned         bool
	sizes          []int64
}

// packedBehind returns the map that n splits along its last axis, nil where n
// is no such Split.
func packedBehind(m *graph.Model, shapes *engine.Shapes, n *graph.Node) *packed {
	if !n.Is("Split") || n.Graph() != m.Graph || slices.ContainsFunc(n.Outputs(), func(v *graph.Value) bool { return v == nil || v.IsOutput() }) {
		return nil
	}
	p := &packed{split: n}
	alone := func(v *graph.Value) *graph.Node {
		if v.IsOutput() || len(v.Uses()) != 1 {
			return nil
		}
		return v.Producer()
	}
	from := alone(n.Input(0))
	if from != nil && from.Is("Add") {
		x, b := from.Input(0), from.Input(1)
		if b.Const() == nil {
			x, b = b, x
		}
		if b.Const() == nil || len(b.Const().Dims) != 1 {
			return nil
		}
		p.b, from = b.Const(), alone(x)
	}
	switch {
	case from == nil || !isWeightOf(from, 2):
		return nil
	case from.Is("Gemm") && p.b == nil && from.IntAttr("transA", 0) == 0 && from.FloatAttr("alpha", 1) == 1 && from.FloatAttr("beta", 1) == 1:
		p.turned = from.IntAttr("transB", 0) != 0
		if c := from.Input(2); c != nil {
			if c.Const() == nil || len(c.Const().Dims) != 1 {
				return nil
			}
			p.b = c.Const()
		}
	case !from.Is("MatMul"):
		return nil
	}
	p.product, p.w = from, from.Input(1).Const()
	sizes, ok := n.IntsAttr("split")
	if v := n.Input(1); v != nil && v.Const() != nil {
		xs, err := v.Const().Ints()
		sizes, ok = xs, err == nil
	}
	total := int64(0)
	for _, s := range sizes {
		total += s
	}
	d, known := shapes.Of(n.Input(0))
	last := n.IntAttr("axis", 0) == -1 || known && n.IntAttr("axis", 0) == int64(len(d)-1)
	if p.sizes = sizes; !ok || !last || total != p.w.Dims[p.outAxis()] || p.b != nil && p.b.Len() != total {
		return nil
	}
	return p
}

func (p *packed) outAxis() int {
	if p.turned {
		return 0
	}
	return 1
}

// endsInMap reports whether v goes through elementwise operators, and nothing
// else, into linear maps.
func endsInMap(v *graph.Value) bool {
	found := false
	seen := map[*graph.Value]bool{}
	for next := []*graph.Value{v}; len(next) > 0; next = next[1:] {
		if seen[next[0]] {
			continue
		}
		seen[next[0]] = true
		if next[0].IsOutput() {
			return false
		}
		for _, n := range next[0].Users() {
			switch {
			case n.Is(elementwise...):
				next = append(next, n.Outputs()...)
			case n.Is("MatMul", "Gemm") && isWeightOf(n, 2) && n.Input(0) == next[0]:
				found = true
			default:
				return false
			}
		}
	}
	return found
}

// takeApart gives every hidden part a map of its own, and all others one
// together.
func (p *packed) takeApart(m *graph.Model, hidden []bool) error {
	starts := make([]int64, len(p.sizes))
	for i := 1; i < len(starts); i++ {
		starts[i] = starts[i-1] + p.sizes[i-1]
	}
	var rest []int
	for i, v := range p.split.Outputs() {
		if !hidden[i] {
			rest = append(rest, i)
			continue
		}
		y, err := p.part(m, starts, i)
		if err != nil {
			return err
		}
		v.ReplaceUses(y)
	}
	y, err := p.part(m, starts, rest...)
	if err != nil {
		return err
	}
	if len(rest) == 1 {
		p.split.Output(rest[0]).ReplaceUses(y)
		return nil
	}
	n := m.Graph.NewNode("Split", p.split.Name)
	n.SetInput(0, y)
	n.SetAttr(graph.Int("axis", -1))
	var sizes []int64
	for _, i := range rest {
		sizes = append(sizes, p.sizes[i])
	}
	if m.Opset("") < 13 {
		n.SetAttr(graph.Ints("split", sizes...))
	} else {
		n.SetInput(1, m.Graph.AddConst(p.split.Name+"_sizes", graph.NewTensor([]int64{int64(len(sizes))}, sizes)))
	}
	for _, i := range rest {
		old := p.split.Output(i)
		old.ReplaceUses(n.AddOutput(m.Graph.UniqueName(old.Name())))
	}
	return nil
}

// part appends the map that gives the named parts of the channels.
func (p *packed) part(m *graph.Model, starts []int64, parts ...int) (*graph.Value, error) {
	var at []int64
	for _, i := range parts {
		for c := range p.sizes[i] {
			at = append(at, starts[i]+c)
		}
	}
	w, err := channelsOf(p.w, p.outAxis(), at)
	if err != nil {
		return nil, fmt.Errorf("weight of %s: %w", p.product, err)
	}
	g, name := m.Graph, p.product.Name
	n := g.Add(p.product.Op, name, []*graph.Value{p.product.Input(0), g.AddConst(p.product.Input(1).Name(), w)})
	for _, a := range p.product.Attrs() {
		n.SetAttr(a)
	}
	if p.b == nil {
		return n.Output(0), nil
	}
	b, err := channelsOf(p.b, 0, at)
	if err != nil {
		return nil, fmt.Errorf("bias of %s: %w", p.product, err)
	}
	bias := g.AddConst(name+"_bias", b)
	if p.product.Is("Gemm") {
		n.SetInput(2, bias)
		return n.Output(0), nil
	}
	return g.Add("Add", name+"_shifted", []*graph.Value{n.Output(0), bias}).Output(0), nil
}

// channelsOf takes channels of an axis of a vector or matrix.
func channelsOf(t *graph.Tensor, axis int, at []int64) (*graph.Tensor, error) {
	xs, err := t.Floats()
	if err != nil {
		return nil, err
	}
	dims := slices.Clone(t.Dims)
	inner := graph.Elements(dims[axis+1:])
	outer := graph.Elements(dims[:axis])
	var ys []float64
	for o := range outer {
		for _, c := range at {
			from := (o*dims[axis] + c) * inner
			ys = append(ys, xs[from:from+inner]...)
		}
	}
	dims[axis] = int64(len(at))
	return t.With(dims, ys)
}
