package onnxgo

import (
	"nuwa/graph"

	"github.com/owulveryck/onnx-go"
	gonum "gonum.org/v1/gonum/graph"
	"gonum.org/v1/gonum/graph/iterator"
	"gorgonia.org/tensor"
)

// Backend records what onnx-go tells of one model. It is made by New, given to
// onnx.NewModel, and asked for the graph by Model.
type Backend struct {
	opsets []graph.Opset
	ir     int64
	ops    []string // the operators that the checked model applies, in order

	nodes   []*value
	named   map[string]*value // the first node of each name; onnx-go may make several
	edges   map[string][]edge // by the name of the result
	applied []application
}

// onnx-go's view of what a backend must be.
var (
	_ onnx.Backend     = (*Backend)(nil)
	_ onnx.Namer       = (*value)(nil)
	_ onnx.DataCarrier = (*value)(nil)
)

// value is a node of onnx-go's graph: a tensor that flows through the model.
// Nodes of the same name are the same value.
type value struct {
	id      int64
	name    string
	backend *Backend
	tensors []tensor.Tensor // what was set, of all nodes of this name: a declared type, then maybe a constant
}

// edge leads from a result to an operand; its weight is the operand's place.
type edge struct {
	from, to *value
	weight   float64
}

// application is one operation with its results.
type application struct {
	op      onnx.Operation
	results []*value
}

// ID implements gonum's graph.Node.
func (v *value) ID() int64 { return v.id }

// SetName implements onnx.Namer.
func (v *value) SetName(name string) {
	v.name = name
	if v.backend.named[name] == nil {
		v.backend.named[name] = v
	}
}

// GetName implements onnx.Namer.
func (v *value) GetName() string { return v.name }

// SetTensor implements onnx.DataCarrier.
func (v *value) SetTensor(t tensor.Tensor) error {
	w := v.backend.named[v.name]
	w.tensors = append(w.tensors, t)
	return nil
}

// GetTensor implements onnx.DataCarrier.
func (v *value) GetTensor() tensor.Tensor {
	if w := v.backend.named[v.name]; len(w.tensors) > 0 {
		return w.tensors[len(w.tensors)-1]
	}
	return nil
}

// ApplyOperation implements onnx.OperationCarrier.
func (b *Backend) ApplyOperation(op onnx.Operation, results ...gonum.Node) error {
	a := application{op: op}
	for _, r := range results {
		a.results = append(a.results, r.(*value))
	}
	b.applied = append(b.applied, a)
	return nil
}

// NewNode implements gonum's graph.NodeAdder.
func (b *Backend) NewNode() gonum.Node {
	v := &value{id: int64(len(b.nodes)), backend: b}
	b.nodes = append(b.nodes, v)
	return v
}

// AddNode implements gonum's graph.NodeAdder. NewNode has added v already.
func (b *Backend) AddNode(gonum.Node) {}

// NewWeightedEdge implements gonum's graph.WeightedEdgeAdder.
func (b *Backend) NewWeightedEdge(from, to gonum.Node, weight float64) gonum.WeightedEdge {
	return edge{from.(*value), to.(*value), weight}
}

// SetWeightedEdge implements gonum's graph.WeightedEdgeAdder. Edges between the
// same nodes are all kept: an operand may appear twice.
func (b *Backend) SetWeightedEdge(e gonum.WeightedEdge) {
	x := e.(edge)
	b.edges[x.from.name] = append(b.edges[x.from.name], x)
}

// From implements gonum's graph.Edge.
func (e edge) From() gonum.Node { return e.from }

// To implements gonum's graph.Edge.
func (e edge) To() gonum.Node { return e.to }

// ReversedEdge implements gonum's graph.Edge; the edges here have no reversal.
func (e edge) ReversedEdge() gonum.Edge { return e }

// Weight implements gonum's graph.WeightedEdge.
func (e edge) Weight() float64 { return e.weight }

// Node implements gonum's graph.Graph.
func (b *Backend) Node(id int64) gonum.Node {
	if id < 0 || id >= int64(len(b.nodes)) {
		return nil
	}
	return b.nodes[id]
}

// Nodes implements gonum's graph.Graph.
func (b *Backend) Nodes() gonum.Nodes {
	return b.where(func(*value) bool { return true })
}

// From implements gonum's graph.Graph.
func (b *Backend) From(id int64) gonum.Nodes {
	return b.where(func(v *value) bool { return b.HasEdgeFromTo(id, v.id) })
}

// To implements gonum's graph.Directed.
func (b *Backend) To(id int64) gonum.Nodes {
	return b.where(func(v *value) bool { return b.HasEdgeFromTo(v.id, id) })
}

func (b *Backend) where(keep func(*value) bool) gonum.Nodes {
	var ns []gonum.Node
	for _, v := range b.nodes {
		if keep(v) {
			ns = append(ns, v)
		}
	}
	return iterator.NewOrderedNodes(ns)
}

// HasEdgeBetween implements gonum's graph.Graph.
func (b *Backend) HasEdgeBetween(x, y int64) bool {
	return b.HasEdgeFromTo(x, y) || b.HasEdgeFromTo(y, x)
}

// HasEdgeFromTo implements gonum's graph.Directed.
func (b *Backend) HasEdgeFromTo(u, v int64) bool { return b.WeightedEdge(u, v) != nil }

// Edge implements gonum's graph.Graph.
func (b *Backend) Edge(u, v int64) gonum.Edge {
	if e := b.WeightedEdge(u, v); e != nil {
		return e
	}
	return nil
}

// WeightedEdge implements gonum's graph.Weighted. Of several edges it returns
// the first.
func (b *Backend) WeightedEdge(u, v int64) gonum.WeightedEdge {
	from, ok := b.Node(u).(*value)
	if !ok {
		return nil
	}
	for _, e := range b.edges[from.name] {
		if e.from.id == u && e.to.id == v {
			return e
		}
	}
	return nil
}

// Weight implements gonum's graph.Weighted.
func (b *Backend) Weight(x, y int64) (w float64, ok bool) {
	if e := b.WeightedEdge(x, y); e != nil {
		return e.Weight(), true
	}
	return 0, false
}
