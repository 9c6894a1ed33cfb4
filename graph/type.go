package graph

import (
	"slices"
	"strconv"
	"strings"
)

// TypeKind tells tensors from the rarer types of ONNX.
type TypeKind uint8

// The kinds of types.
const (
	TensorKind TypeKind = iota
	SparseTensorKind
	SequenceKind
	MapKind
	OptionalKind
	OtherKind // kept in wire format only
)

// Type is the declared type of a value.
type Type struct {
	Kind       TypeKind
	Elem       DType // of a (sparse) tensor; the key type of a map
	Shape      *Shape
	Inner      *Type // of a sequence, map or optional
	Denotation string
	Wire       Wire // of the outer message
	InnerWire  Wire // of the message of the chosen kind
}

// Shape is a known rank. A nil *Shape means that even the rank is unknown.
type Shape struct {
	Dims []Dim
	Wire Wire
}

// Dim is one dimension: a number, a symbol, or nothing known.
type Dim struct {
	Kind       DimKind
	Value      int64
	Param      string
	Denotation string
	Wire       Wire
}

// DimKind says what is known of a dimension.
type DimKind uint8

// The kinds of dimensions.
const (
	Unknown DimKind = iota
	FixedDim
	SymbolDim
)

// Fixed is a dimension of a known size.
func Fixed(n int64) Dim { return Dim{Kind: FixedDim, Value: n} }

// Sym is a dimension known by name only.
func Sym(name string) Dim { return Dim{Kind: SymbolDim, Param: name} }

// TensorType is the type of a tensor with the given dimensions.
func TensorType(elem DType, dims ...Dim) *Type {
	return &Type{Elem: elem, Shape: &Shape{Dims: dims}}
}

// Clone returns a deep copy; nil stays nil.
func (t *Type) Clone() *Type {
	if t == nil {
		return nil
	}
	c := *t
	if t.Shape != nil {
		c.Shape = &Shape{Dims: slices.Clone(t.Shape.Dims), Wire: t.Shape.Wire}
	}
	c.Inner = t.Inner.Clone()
	return &c
}

// Dims returns the sizes of a tensor type with -1 where a dimension is not
// fixed; ok is false when the rank is unknown or t is no tensor.
func (t *Type) Dims() (dims []int64, ok bool) {
	if t == nil || t.Kind != TensorKind || t.Shape == nil {
		return nil, false
	}
	dims = make([]int64, len(t.Shape.Dims))
	for i, d := range t.Shape.Dims {
		dims[i] = -1
		if d.Kind == FixedDim {
			dims[i] = d.Value
		}
	}
	return dims, true
}

// String renders types as "f32[batch,197,384]", "seq(f32[?])" and so on.
func (t *Type) String() string {
	if t == nil {
		return "?"
	}
	switch t.Kind {
	case SequenceKind:
		return "seq(" + t.Inner.String() + ")"
	case OptionalKind:
		return "opt(" + t.Inner.String() + ")"
	case MapKind:
		return "map(" + t.Elem.String() + "," + t.Inner.String() + ")"
	case OtherKind:
		return "other"
	}
	s := t.Elem.String()
	if t.Kind == SparseTensorKind {
		s = "sparse_" + s
	}
	if t.Shape == nil {
		return s + "[...]"
	}
	dims := make([]string, len(t.Shape.Dims))
	for i, d := range t.Shape.Dims {
		switch d.Kind {
		case FixedDim:
			dims[i] = strconv.FormatInt(d.Value, 10)
		case SymbolDim:
			dims[i] = d.Param
		default:
			dims[i] = "?"
		}
	}
	return s + "[" + strings.Join(dims, ",") + "]"
}
