package merge

import (
	"strings"

	"nuwa/graph"
)

// oldest is the first operator set that has what merging takes.
const oldest = 11

// spell writes operators as the model's operator set has them.
type spell struct {
	g     *graph.Graph
	opset int64
}

func (s spell) node(op string, in []*graph.Value, attrs ...*graph.Attr) *graph.Node {
	return s.g.Add(op, "merge_"+strings.ToLower(op), in, attrs...)
}

// op appends an operator without attributes.
func (s spell) op(op string, in ...*graph.Value) *graph.Value { return s.node(op, in).Output(0) }

func (s spell) ints(xs ...int64) *graph.Value {
	return s.g.AddConst("merge.ints", graph.NewTensor([]int64{int64(len(xs))}, xs))
}

// number returns x as a constant scalar.
func (s spell) number(elem graph.DType, x float64) *graph.Value {
	t, _ := graph.FromFloats(elem, nil, []float64{x}) // one element of no dimensions always fits
	return s.g.AddConst("merge.number", t)
}

func (s spell) cast(v *graph.Value, elem graph.DType) *graph.Value {
	return s.node("Cast", []*graph.Value{v}, graph.Int("to", int64(elem))).Output(0)
}

func (s spell) reshape(v *graph.Value, dims ...int64) *graph.Value {
	return s.op("Reshape", v, s.ints(dims...))
}

// part takes some elements of an axis, from one on up to another.
func (s spell) part(v *graph.Value, axis, from, to int64) *graph.Value {
	return s.op("Slice", v, s.ints(from), s.ints(to), s.ints(axis))
}

// take takes the elements of an axis at constant places.
func (s spell) take(v *graph.Value, axis int64, at []int64) *graph.Value {
	return s.node("Gather", []*graph.Value{v, s.ints(at...)}, graph.Int("axis", axis)).Output(0)
}

// reduce appends a reduction along one axis, whose place stays with keep 1.
func (s spell) reduce(op string, v *graph.Value, axis, keep int64) *graph.Value {
	if s.opset >= 18 {
		return s.node(op, []*graph.Value{v, s.ints(axis)}, graph.Int("keepdims", keep)).Output(0)
	}
	return s.node(op, []*graph.Value{v}, graph.Ints("axes", axis), graph.Int("keepdims", keep)).Output(0)
}

// rows takes, for every sample, rows of v, [batch, rows, width], by their
// numbers at, [batch, taken].
func (s spell) rows(v, at *graph.Value, width int64) *graph.Value {
	at = s.reshape(at, 0, -1, 1)
	if s.opset >= 12 {
		return s.node("GatherND", []*graph.Value{v, at}, graph.Int("batch_dims", 1)).Output(0)
	}
	return s.node("GatherElements", []*graph.Value{v, s.op("Expand", at, s.ints(1, 1, width))}, graph.Int("axis", 1)).Output(0)
}

// ones returns a one for every token of v, [batch, tokens, channels], as
// [batch, tokens, 1].
func (s spell) ones(v *graph.Value, elem graph.DType) *graph.Value {
	dims := s.node("Concat", []*graph.Value{s.part(s.op("Shape", v), 0, 0, 2), s.ints(1)}, graph.Int("axis", 0)).Output(0)
	one, _ := graph.FromFloats(elem, []int64{1}, []float64{1})
	return s.node("ConstantOfShape", []*graph.Value{dims}, graph.TensorAttr("value", one)).Output(0)
}

// after leaves out the sizes, [batch, tokens, 1], of the first tokens.
func (s spell) after(size *graph.Value, skip int) *graph.Value {
	if skip == 0 {
		return size
	}
	return s.part(size, 1, int64(skip), 1<<31-1)
}

// along spells a number for each of so many tokens, [batch, tokens, 1], for a
// value of the given rank that holds them along axis, and for every sample so
// many rows along its first.
func (s spell) along(v *graph.Value, rank, axis int, rows, tokens int64) *graph.Value {
	dims := make([]int64, rank)
	for i := range dims {
		dims[i] = 1
	}
	dims[0], dims[axis] = -1, tokens
	if rows > 1 {
		v = s.op("Expand", s.reshape(v, 0, 1, -1), s.ints(1, rows, 1))
	}
	return s.reshape(v, dims...)
}
