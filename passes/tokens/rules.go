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

// Rules say which operators keep tokens apart, and change what such operators
// state about how many tokens there are.
type Rules struct {
	Model  *graph.Model
	Shapes *engine.Shapes
	Size   engine.Size // how many tokens there are, times the batch where they share an axis
}

// Selects returns the token axis and the tokens that n takes out of its
// operand by constant numbers; nil where it does anything else.
func (c Rules) Selects(n *graph.Node) (axis int, at []int64) {
	d, ok := c.Shapes.Of(n.Input(0))
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

func (c Rules) slice(n *graph.Node, d []engine.Size) (s span, ok bool) {
	get := func(i int, attr string) []int64 {
		if c.Model.Opset("") < 10 {
			xs, _ := n.IntsAttr(attr)
			return xs
		}
		return constInts(n.Input(i))
	}
	start, end, axes := get(1, "starts"), get(2, "ends"), get(3, "axes")
	steps := []int64{1}
	if c.Model.Opset("") >= 10 && n.Input(4) != nil {
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

// Reselect makes the selector n read a value that holds, in this order, the
// tokens kept, among which are all that n takes.
func (c Rules) Reselect(n *graph.Node, kept []int64) {
	place := func(x int64) int64 { return int64(slices.Index(kept, x)) }
	one := func(x int64) *graph.Value {
		return c.Model.Graph.AddConst("token", graph.NewTensor([]int64{1}, []int64{x}))
	}
	switch {
	case n.Is("Gather"):
		old := n.Input(1).Const()
		xs, _ := old.Ints()
		for i, x := range xs {
			if x < 0 {
				x += c.Size.Fixed
			}
			xs[i] = place(x)
		}
		n.SetInput(1, c.Model.Graph.AddConst(n.Input(1).Name(), graph.NewTensor(slices.Clone(old.Dims), xs)))
	case n.Is("Slice"):
		d, _ := c.Shapes.Of(n.Input(0))
		s, _ := c.slice(n, d)
		start, end := place(s.start), place(s.end-1)+1
		if c.Model.Opset("") < 10 {
			n.SetAttr(graph.Ints("starts", start))
			n.SetAttr(graph.Ints("ends", end))
			n.SetAttr(graph.Ints("axes", int64(s.axis)))
			return
		}
		n.SetInputs(n.Input(0), one(start), one(end), one(int64(s.axis)))
	}
}

// Operands returns which operands of n hold the tokens, and along which axis,
// that its result holds along axis; ok is false where n mixes tokens.
func (c Rules) Operands(n *graph.Node, axis int) (operands map[int]int, ok bool) {
	out, known := c.Shapes.Of(firstOutput(n))
	if !known || axis >= len(out) {
		return nil, false
	}
	dims := make([][]engine.Size, len(n.Inputs()))
	for i, v := range n.Inputs() {
		if v != nil {
			if dims[i], known = c.Shapes.Of(v); !known {
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
	case n.Is("LayerNormalization", "RMSNormalization"):
		operands[0] = axis
		return operands, axis < wrap(n.IntAttr("axis", -1), len(in)) && onlyFirst(n)
	case n.Is("Softmax", "LogSoftmax"):
		operands[0] = axis
		over := SoftmaxAxis(n, c.Model.Opset(""), len(in))
		return operands, axis < over || axis != over && c.Model.Opset("") >= 13
	case n.Is("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare"):
		axes := Axes(n, len(in))
		operands[0] = axis
		if slices.Contains(axes, axis) {
			return nil, false
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
	case n.Is("Gemm"):
		if axis > 0 || n.IntAttr("transA", 0) != 0 {
			return nil, false
		}
		operands[0] = 0
		if n.Input(2) != nil {
			broadcast(2)
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
		if dims[i] == nil || a < 0 || a >= len(dims[i]) || dims[i][a] != c.Size {
			return nil, false
		}
		if t := n.Input(i).Const(); t != nil && t.Type.Bits() < 8 {
			return nil, false
		}
	}
	return operands, len(operands) > 0
}

// Axes returns the axes of an operand of the given rank that n reduces, none
// where they are not known.
func Axes(n *graph.Node, rank int) []int {
	xs, given := n.IntsAttr("axes")
	if !given {
		xs = constInts(n.Input(1))
	}
	var axes []int
	for _, x := range xs {
		axes = append(axes, wrap(x, rank))
	}
	return axes
}

// SoftmaxAxis returns the axis that the softmax n is over, and before operator
// set 13 all behind it as well.
func SoftmaxAxis(n *graph.Node, opset int64, rank int) int {
	if opset < 13 {
		return wrap(n.IntAttr("axis", 1), rank)
	}
	return wrap(n.IntAttr("axis", -1), rank)
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
func (c Rules) carried(in, out []engine.Size, axis int) (int, bool) {
	count := func(d []engine.Size, batch int) (n int64) {
		n = 1
		for _, s := range d {
			n *= s.At(batch)
		}
		return n
	}
	for a := range in {
		same := in[a] == out[axis]
		for _, b := range c.Shapes.Batch {
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
func (c Rules) resizable(n *graph.Node, from, axis int) bool {
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
	return target[axis] > 0 && target[axis] == c.Size.Fixed || target[axis] == -1 || target[axis] == 0 && from == axis
}

// Resize makes the sizes that n states itself say that its result holds so many
// tokens along axis.
func (c Rules) Resize(n *graph.Node, axis int, tokens int64) {
	if !n.Is("Reshape") {
		return
	}
	target := constInts(n.Input(1))
	if target[axis] > 0 && target[axis] == c.Size.Fixed {
		target[axis] = tokens
		n.SetInput(1, c.Model.Graph.AddConst(n.Input(1).Name(), graph.NewTensor([]int64{int64(len(target))}, target)))
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
