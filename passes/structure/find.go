package structure

import (
	"context"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// ViT is what was found in a model.
type ViT struct {
	Blocks      []Block // in order of computation
	Attentions  []*Attention
	MLPs        []*MLP
	Classifiers []*Classifier
	Declined    []Declined
	Pooling     string // "class token", "mean", "max" or ""
	Dim         int    // the embedding width
	Shapes      *engine.Shapes
}

// Block pairs an attention with the hidden layer behind it; either may be nil.
type Block struct {
	Attention *Attention
	MLP       *MLP
}

// Declined is a place that looked like attention, a hidden layer or a
// classifier, and why it is left alone.
type Declined struct {
	Node   *graph.Node
	What   string
	Reason string
}

type finder struct {
	m        *graph.Model
	g        *graph.Graph
	eng      *engine.Engine
	shapes   *engine.Shapes
	order    map[*graph.Node]int
	byNode   map[*graph.Node]*Linear // MatMul, Gemm, Conv, and the bias's Add
	linearOf map[*graph.Value]*Linear
	fans     map[*graph.Value]*fan
	patches  map[*graph.Value]*Linear // convolutions as maps of patches
	whole    map[*graph.Value]bool    // values at which fans end, as they are read in several ways
	inside   map[*Linear]bool         // maps that belong to an attention: over its heads, or behind what its heads give
	notPlain map[*graph.Node]string   // operators found out while following channels, and why
	constant map[*graph.Value]bool    // what independent found
	declined []Declined

	tracer  engine.Engine            // of fans; those that are the same in several blocks run once
	numbers map[string]*graph.Tensor // by dimensions
	layouts map[arrival]func() (*layout, error)
}

// Find looks through the main graph of m, which is not changed but sorted. An
// empty ViT is no error.
func Find(ctx context.Context, eng *engine.Engine, m *graph.Model) (*ViT, error) {
	if err := m.Graph.Sort(); err != nil {
		return nil, err
	}
	shapes, err := eng.Shapes(ctx, m)
	if err != nil {
		return nil, err
	}
	f := &finder{m: m, g: m.Graph, eng: eng, shapes: shapes, order: map[*graph.Node]int{},
		byNode: map[*graph.Node]*Linear{}, fans: map[*graph.Value]*fan{}, notPlain: map[*graph.Node]string{},
		patches: map[*graph.Value]*Linear{}, inside: map[*Linear]bool{}, whole: map[*graph.Value]bool{},
		tracer: engine.Engine{Threads: 1, Memo: &engine.Memo{}}, numbers: map[string]*graph.Tensor{}, layouts: map[arrival]func() (*layout, error){}}
	for i, n := range f.g.Nodes() {
		f.order[n] = i
	}
	f.linearOf = f.linears()
	vit := &ViT{Shapes: shapes}
	for _, n := range f.g.Nodes() {
		if !n.Is("Softmax") {
			continue
		}
		a, err := f.attention(ctx, n)
		if err != nil {
			return nil, err
		}
		if a != nil {
			vit.Attentions = append(vit.Attentions, a)
		}
	}
	heads := map[*Linear]bool{}
	vit.Classifiers = f.classifiers()
	for _, c := range vit.Classifiers {
		for _, l := range c.Linears {
			heads[l] = true
		}
	}
	for _, n := range f.g.Nodes() {
		if l := f.byNode[n]; l != nil && l.Node == n && !heads[l] && !f.inside[l] && !f.isOutputProjection(vit, l) {
			if m := f.mlp(l); m != nil {
				vit.MLPs = append(vit.MLPs, m)
			}
		}
	}
	vit.settle()
	f.opaque()
	vit.Declined = f.declined
	vit.pair(f)
	vit.Pooling = f.pooling(vit)
	return vit, nil
}

// reads reports whether what n gives depends on v.
func (f *finder) reads(n *graph.Node, v *graph.Value) bool {
	seen := map[*graph.Node]bool{}
	var walk func(n *graph.Node) bool
	walk = func(n *graph.Node) bool {
		if n == nil || seen[n] || v.Producer() != nil && f.order[n] < f.order[v.Producer()] {
			return false
		}
		seen[n] = true
		for _, x := range n.Inputs() {
			if x != nil && (x == v || walk(x.Producer())) {
				return true
			}
		}
		return false
	}
	return walk(n)
}

// decline records a place that is left alone.
func (f *finder) decline(n *graph.Node, what, reason string) {
	f.declined = append(f.declined, Declined{Node: n, What: what, Reason: reason})
}

func (f *finder) isOutputProjection(vit *ViT, l *Linear) bool {
	for _, a := range vit.Attentions {
		if a.Out != nil && a.Out.Linear == l {
			return true
		}
	}
	return false
}

// pair puts attentions and hidden layers into blocks, in order of computation.
// A hidden layer that comes first belongs to the attention behind it where the
// two stand side by side, as neither reads the other.
func (v *ViT) pair(f *finder) {
	i, j := 0, 0
	for i < len(v.Attentions) || j < len(v.MLPs) {
		if i < len(v.Attentions) && (j == len(v.MLPs) || f.order[v.Attentions[i].PV] < f.order[v.MLPs[j].Second.Node]) {
			a := v.Attentions[i]
			if k := len(v.Blocks) - 1; k >= 0 && v.Blocks[k].Attention == nil && !f.reads(a.Softmax, v.Blocks[k].MLP.Second.Out) {
				v.Blocks[k].Attention = a
			} else {
				v.Blocks = append(v.Blocks, Block{Attention: a})
			}
			i++
			continue
		}
		if k := len(v.Blocks) - 1; k >= 0 && v.Blocks[k].MLP == nil {
			v.Blocks[k].MLP = v.MLPs[j]
		} else {
			v.Blocks = append(v.Blocks, Block{MLP: v.MLPs[j]})
		}
		j++
	}
	for _, b := range v.Blocks {
		switch {
		case b.MLP != nil:
			v.Dim = b.MLP.Second.OutDim
		case b.Attention.Out != nil:
			v.Dim = b.Attention.Out.Linear.OutDim
		}
		if v.Dim > 0 {
			break
		}
	}
}
