package graph

import "slices"

// AttrKind is the type of an attribute; the numbers are those of ONNX
// (AttributeProto.AttributeType).
type AttrKind int32

// The kinds of attributes.
const (
	AttrUndefined AttrKind = 0
	AttrFloat     AttrKind = 1
	AttrInt       AttrKind = 2
	AttrString    AttrKind = 3
	AttrTensor    AttrKind = 4
	AttrGraph     AttrKind = 5
	AttrFloats    AttrKind = 6
	AttrInts      AttrKind = 7
	AttrStrings   AttrKind = 8
	AttrTensors   AttrKind = 9
	AttrGraphs    AttrKind = 10
	AttrSparse    AttrKind = 11
	AttrSparses   AttrKind = 12
	AttrType      AttrKind = 13
	AttrTypes     AttrKind = 14
)

// Attr is a named constant of a node. The field that Kind names holds the
// value; graphs in Graphs also serve a single graph, tensors in Tensors a
// single tensor, and so on for sparse tensors and types.
type Attr struct {
	Name    string
	Kind    AttrKind
	F       float32
	I       int64
	S       []byte
	Floats  []float32
	Ints    []int64
	Strings [][]byte
	Tensors []*Tensor
	Graphs  []*Graph
	Sparses []*SparseTensor
	Types   []*Type
	Ref     string // in a function body: the function's attribute that gives the value
	Doc     string
	Wire    Wire
}

// SparseTensor is a constant given by its nonzero elements.
type SparseTensor struct {
	Values  *Tensor
	Indices *Tensor
	Dims    []int64
	Wire    Wire
}

// Clone returns a copy that shares the element bytes.
func (s *SparseTensor) Clone() *SparseTensor {
	if s == nil {
		return nil
	}
	return &SparseTensor{Values: s.Values.Clone(), Indices: s.Indices.Clone(), Dims: slices.Clone(s.Dims), Wire: s.Wire}
}

// Float makes a float attribute.
func Float(name string, x float32) *Attr { return &Attr{Name: name, Kind: AttrFloat, F: x} }

// Int makes an integer attribute.
func Int(name string, x int64) *Attr { return &Attr{Name: name, Kind: AttrInt, I: x} }

// Str makes a string attribute.
func Str(name, s string) *Attr { return &Attr{Name: name, Kind: AttrString, S: []byte(s)} }

// Ints makes a list attribute of integers.
func Ints(name string, xs ...int64) *Attr { return &Attr{Name: name, Kind: AttrInts, Ints: xs} }

// TensorAttr makes a tensor attribute.
func TensorAttr(name string, t *Tensor) *Attr {
	return &Attr{Name: name, Kind: AttrTensor, Tensors: []*Tensor{t}}
}

// Attr returns the attribute of that name, nil if the node has none.
func (n *Node) Attr(name string) *Attr {
	for _, a := range n.attrs {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// Attrs returns the attributes in order. The slice must not be changed.
func (n *Node) Attrs() []*Attr { return n.attrs }

// SetAttr adds a, replacing the attribute of the same name. Its graphs, if
// any, become subgraphs of n.
func (n *Node) SetAttr(a *Attr) {
	for _, g := range a.Graphs {
		g.owner = n
	}
	for i, b := range n.attrs {
		if b.Name == a.Name {
			n.attrs[i] = a
			return
		}
	}
	n.attrs = append(n.attrs, a)
}

// AddAttr appends a even where the name is taken, as damaged files may have it.
func (n *Node) AddAttr(a *Attr) {
	for _, g := range a.Graphs {
		g.owner = n
	}
	n.attrs = append(n.attrs, a)
}

// RemoveAttr drops the attribute of that name, if there is one.
func (n *Node) RemoveAttr(name string) {
	n.attrs = slices.DeleteFunc(n.attrs, func(a *Attr) bool { return a.Name == name })
}

// IntAttr returns an integer attribute, or def if the node has none.
func (n *Node) IntAttr(name string, def int64) int64 {
	if a := n.Attr(name); a != nil && a.Kind == AttrInt {
		return a.I
	}
	return def
}

// FloatAttr returns a float attribute, or def if the node has none.
func (n *Node) FloatAttr(name string, def float32) float32 {
	if a := n.Attr(name); a != nil && a.Kind == AttrFloat {
		return a.F
	}
	return def
}

// StringAttr returns a string attribute, or def if the node has none.
func (n *Node) StringAttr(name, def string) string {
	if a := n.Attr(name); a != nil && a.Kind == AttrString {
		return string(a.S)
	}
	return def
}

// IntsAttr returns a list attribute; ok is false if the node has none.
func (n *Node) IntsAttr(name string) (xs []int64, ok bool) {
	if a := n.Attr(name); a != nil && a.Kind == AttrInts {
		return a.Ints, true
	}
	return nil, false
}

// Subgraphs returns the graphs among n's attributes, in order.
func (n *Node) Subgraphs() []*Graph {
	var gs []*Graph
	for _, a := range n.attrs {
		gs = append(gs, a.Graphs...)
	}
	return gs
}
