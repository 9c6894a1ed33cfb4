package tokens

import (
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// Operators whose result at a place depends on their operands at that place
// only, after broadcasting.
var elementwise = []string{
	"Abs", "Add", "And", "Cast", "Ceil", "Celu", "Clip", "Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual",
	"HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mul", "Neg", "Not", "Or", "Pow",
	"Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tanh", "ThresholdedRelu", "Where", "Xor",
}

// selects returns the token axis and the tokens that n takes out of its
// operand by constant numbers; nil where it does anything else.
func (c *crop) selects(n *graph.Node) (axis int, at []int64) {
	d, ok := c.shapes.Of(n.Input(0))
	if !ok {
		return 0, nil
	}
	switch {
	case n.Is("Gather"):
		axis = wrap(n.IntAttr("axis", 0), len(d))
		at = constInts(n.Input(1))
	case n.Is("Slice"):
		s, ok := c.slice(n, d)
		if !ok {
			return 0, nil
		}
		axis = s.axis
		for i := s.start; i < s.end; i++ {
			at = append(at, i)
		}
	default:
		return 0, nil
	}
	if axis < 0 || axis >= len(d) || d[axis].Dynamic() {
		return 0, nil
	}
	for i := range at {
		if at[i] < 0 {
			at[i] += d[axis].Fixed
		}
		if at[i] < 0 || at[i] >= d[axis].Fixed {
			return 0, nil
		}
	}
	return axis, at
}

// span is what a Slice along one axis with step 1 takes.
type span struct {
	axis       int
	start, end int64
}

func (c *crop) slice(n *graph.Node, d []engine.Size) (s span, ok bool) {
	get := func(i int, attr string) []int64 {
		if c.m.Opset("") < 10 {
			xs, _ := n.IntsAttr(attr)
			return xs
		}
		return constInts(n.Input(i))
	}
	start, end, axes := get(1, "starts"), get(2, "ends"), get(3, "axes")
	steps := []int64{1}
	if c.m.Opset("") >= 10 && n.Input(4) != nil {
		steps = constInts(n.Input(4))
	}
	if len(start) != 1 || len(end) != 1 || len(axes) != 1 || len(steps) != 1 || steps[0] != 1 {
		return s, false
	}
	s.axis = wrap(axes[0], len(d))
	if s.axis < 0 || s.axis >= len(d) || d[s.axis].Dynamic() {
		return s, false
	}
	size := d[s.axis].Fixed
	at := func(x int64) int64 {
		if x < 0 {
			x += size
		}
		return min(max(x, 0), size)
	}
	s.start, s.end = at(start[0]), at(end[0])
	return s, s.start < s.end
}

// reselect makes a selector read the value that holds kept tokens only.
func (c *crop) reselect(n *graph.Node) {
	place := func(x int64) int64 { return int64(slices.Index(c.kept, x)) }
	one := func(x int64) *graph.Value { return c.g.AddConst("token", graph.NewTensor([]int64{1}, []int64{x})) }
	switch {
	case n.Is("Gather"):
		old := n.Input(1).Const()
		xs, _ := old.Ints()
		for i, x := range xs {
			if x < 0 {
				x += c.size
			}
			xs[i] = place(x)
		}
		n.SetInput(1, c.g.AddConst(n.Input(1).Name(), graph.NewTensor(slices.Clone(old.Dims), xs)))
	case n.Is("Slice"):
		d, _ := c.shapes.Of(n.Input(0))
		s, _ := c.slice(n, d)
		start, end := place(s.start), place(s.end-1)+1
		if c.m.Opset("") < 10 {
			n.SetAttr(graph.Ints("starts", start))
			n.SetAttr(graph.Ints("ends", end))
			n.SetAttr(graph.Ints("axes", int64(s.axis)))
			return
		}
		n.SetInputs(n.Input(0), one(start), one(end), one(int64(s.axis)))
	}
}

// operands returns which operands of n must be narrow, and along which axis,
// for its result to be narrow along axis; ok is false where tokens are mixed.
func (c *crop) operands(n *graph.Node, axis int) (operands map[int]int, ok bool) {
	out, known := c.shapes.Of(firstOutput(n))
	if !known || axis >= len(out) {
		return nil, false
	}
	dims := make([][]engine.Size, len(n.Inputs()))
	for i, v := range n.Inputs() {
		if v != nil {
			if dims[i], known = c.shapes.Of(v); !known {
				return nil, false
			}
		}
	}
	operands = map[int]int{}
	fromEnd := len(out) - axis
	broadcast := func(i int) {
		if a := len(dims[i]) - fromEnd; a >= 0 && dims[i][a] != (engine.Size{Fixed: 1}) {
			operands[i] = a
		}
	}
	in := dims[0]
	switch {
	case n.Is(elementwise...):
		for i, v := range n.Inputs() {
			if v != nil {
				broadcast(i)
			}
		}
	case n.Is("LayerNormalization"):
		operands[0] = axis
		return operands, axis < wrap(n.IntAttr("axis", -1), len(in)) && onlyFirst(n)
	case n.Is("Softmax", "LogSoftmax"):
		operands[0] = axis
		if c.m.Opset("") < 13 {
			return operands, axis < wrap(n.IntAttr("axis", 1), len(in))
		}
		return operands, axis != wrap(n.IntAttr("axis", -1), len(in))
	case n.Is("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare"):
		axes, given := n.IntsAttr("axes")
		if !given {
			axes = constInts(n.Input(1))
		}
		operands[0] = axis
		for _, a := range axes {
			if wrap(a, len(in)) == axis {
				return nil, false
			}
		}
		return operands, len(axes) > 0 && n.IntAttr("keepdims", 1) == 1
	case n.Is("MatMul"):
		for i := range 2 {
			if len(dims[i]) < 2 {
				return nil, false
			}
		}
		switch {
		case fromEnd <= 2:
			operands[2-fromEnd] = len(dims[2-fromEnd]) - fromEnd
		default:
			broadcast(0)
			broadcast(1)
		}
	case n.Is("Transpose"):
		perm, given := n.IntsAttr("perm")
		if !given {
			operands[0] = len(in) - 1 - axis
			break
		}
		operands[0] = int(perm[axis])
	case n.Is("Reshape", "Squeeze", "Unsqueeze"):
		a, found := c.carried(in, out, axis)
		if !found || n.Is("Reshape") && !c.resizable(n, a, axis) || n.Is("Squeeze") && n.Input(1) == nil && n.Attr("axes") == nil {
			return nil, false
		}
		operands[0] = a
	case n.Is("Concat", "Split"):
		if wrap(n.IntAttr("axis", 0), len(out)) == axis {
			return nil, false
		}
		for i := range n.Inputs() {
			if n.Is("Concat") || i == 0 {
				operands[i] = axis
			}
		}
	case n.Is("Gather"):
		g := wrap(n.IntAttr("axis", 0), len(in))
		switch rank := len(dims[1]); {
		case n.Input(1).Const() == nil:
			return nil, false
		case axis < g:
			operands[0] = axis
		case axis >= g+rank:
			operands[0] = axis - rank + 1
		default:
			return nil, false
		}
	case n.Is("Slice"):
		s, plain := c.slice(n, in)
		if !plain || s.axis == axis {
			return nil, false
		}
		operands[0] = axis
	default:
		return nil, false
	}
	for i, a := range operands {
		if dims[i] == nil || a < 0 || a >= len(dims[i]) || dims[i][a] != (engine.Size{Fixed: c.size}) {
			return nil, false
		}
		if t := n.Input(i).Const(); t != nil && t.Type.Bits() < 8 {
			return nil, false
		}
	}
	return operands, len(operands) > 0
}

// onlyFirst reports whether nothing reads a second output of n.
func onlyFirst(n *graph.Node) bool {
	for i, o := range n.Outputs() {
		if i > 0 && o != nil && (len(o.Uses()) > 0 || o.IsOutput()) {
			return false
		}
	}
	return true
}

// carried returns the axis of in that a reshape to out leaves as axis: as many
// elements stand before it, and as many behind.
func (c *crop) carried(in, out []engine.Size, axis int) (int, bool) {
	count := func(d []engine.Size, batch int) (n int64) {
		n = 1
		for _, s := range d {
			n *= s.At(batch)
		}
		return n
	}
	for a := range in {
		same := in[a] == out[axis]
		for _, b := range c.shapes.Batch {
			same = same && count(in[:a], b) == count(out[:axis], b)
		}
		if same {
			return a, true
		}
	}
	return 0, false
}

// resizable reports whether the target of the Reshape n can say that axis,
// which was from in its operand, holds fewer tokens.
func (c *crop) resizable(n *graph.Node, from, axis int) bool {
	if n.Input(1) == nil {
		return false
	}
	target := constInts(n.Input(1))
	if axis >= len(target) || n.IntAttr("allowzero", 0) != 0 {
		return false
	}
	for i, t := range target {
		if t == 0 && i == from && i != axis {
			return false // it copies the size of what is narrow for another axis
		}
	}
	return target[axis] == c.size || target[axis] == -1 || target[axis] == 0 && from == axis
}

// resize makes the sizes that n states itself fit; like has the shapes known.
func (c *crop) resize(n, like *graph.Node, axis int) {
	if !n.Is("Reshape") {
		return
	}
	target := constInts(n.Input(1))
	if target[axis] == c.size {
		target[axis] = int64(len(c.kept))
		n.SetInput(1, c.g.AddConst(like.Input(1).Name(), graph.NewTensor([]int64{int64(len(target))}, target)))
	}
}

// constInts returns the elements of a constant of whole numbers, nil for
// anything else.
func constInts(v *graph.Value) []int64 {
	if v == nil || v.Const() == nil {
		return nil
	}
	xs, err := v.Const().Ints()
	if err != nil {
		return nil
	}
	return slices.Clone(xs)
}

func wrap(axis int64, rank int) int {
	if axis < 0 {
		axis += int64(rank)
	}
	return int(axis)
}
