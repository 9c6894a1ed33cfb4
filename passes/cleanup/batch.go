package cleanup

import (
	"fmt"
	"slices"
	"strings"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// batch computes integers from the batch size: the dimension of a graph input
// that leaves it open.
type batch struct {
	g     *graph.Graph
	root  *graph.Value            // the input; nil when every batch is fixed
	first [2]*graph.Value         // that dimension, as a scalar and as a vector
	terms map[string]*graph.Value // what was built, by what it is
	made  int                     // nodes added
}

func newBatch(m *graph.Model) *batch {
	return &batch{g: m.Graph, root: engine.OpenBatch(m), terms: map[string]*graph.Value{}}
}

// rebuild makes a scalar or vector of the type and rank of like whose elements
// are sizes. made is false when v is already built like that. The result is
// nil without an open batch.
func (b *batch) rebuild(v *graph.Value, like *graph.Tensor, sizes []engine.Size) (w *graph.Value, made bool) {
	if b.root == nil || len(sizes) == 0 {
		return nil, false
	}
	before := b.made
	if len(like.Dims) == 0 {
		w = b.term(sizes[0], true)
	} else {
		w = b.vector(sizes)
	}
	if like.Type != graph.Int64 {
		w = b.add("Cast", []*graph.Value{w}, graph.Int("to", int64(like.Type)))
	}
	if spell(v) != spell(w) {
		return w, true
	}
	if b.made > before {
		b.terms = map[string]*graph.Value{} // nothing may use what is dropped
		b.first = [2]*graph.Value{}
	}
	return v, false
}

// vector concatenates constants and terms.
func (b *batch) vector(sizes []engine.Size) *graph.Value {
	var parts []*graph.Value
	for i := 0; i < len(sizes); {
		if sizes[i].Dynamic() {
			parts = append(parts, b.term(sizes[i], false))
			i++
			continue
		}
		var run []int64
		for ; i < len(sizes) && !sizes[i].Dynamic(); i++ {
			run = append(run, sizes[i].Fixed)
		}
		parts = append(parts, b.constant(run, false))
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return b.add("Concat", parts, graph.Int("axis", 0))
}

// term is Fixed + PerBatch·B, as a scalar or a vector of one.
func (b *batch) term(s engine.Size, scalar bool) *graph.Value {
	v := b.size(scalar)
	if s.PerBatch != 1 {
		v = b.add("Mul", []*graph.Value{v, b.constant([]int64{s.PerBatch}, scalar)})
	}
	if s.Fixed != 0 {
		v = b.add("Add", []*graph.Value{v, b.constant([]int64{s.Fixed}, scalar)})
	}
	return v
}

// size is the batch size itself.
func (b *batch) size(scalar bool) *graph.Value {
	k := 1
	if scalar {
		k = 0
	}
	if b.first[k] == nil {
		shape := b.add("Shape", []*graph.Value{b.root})
		b.first[k] = b.add("Gather", []*graph.Value{shape, b.constant([]int64{int64(engine.BatchAxis(b.root))}, scalar)}, graph.Int("axis", 0))
	}
	return b.first[k]
}

func (b *batch) constant(xs []int64, scalar bool) *graph.Value {
	t := graph.NewTensor([]int64{int64(len(xs))}, xs)
	if scalar {
		t.Dims = nil
	}
	key := fmt.Sprint("const ", t.Dims, xs)
	if v := b.terms[key]; v != nil {
		return v
	}
	b.terms[key] = b.g.AddConst("batch_const", t)
	return b.terms[key]
}

func (b *batch) add(op string, inputs []*graph.Value, attrs ...*graph.Attr) *graph.Value {
	key := op
	for _, v := range inputs {
		key += " " + v.Name()
	}
	for _, a := range attrs {
		key += fmt.Sprint(" ", a.Name, a.I)
	}
	if v := b.terms[key]; v != nil {
		return v
	}
	name := map[string]string{"Shape": "batch_shape", "Gather": "batch_size", "Concat": "batch_dims"}[op]
	if name == "" {
		name = "batch_" + strings.ToLower(op)
	}
	b.made++
	b.terms[key] = b.g.Add(op, b.g.UniqueName(name), inputs, attrs...).Output(0)
	return b.terms[key]
}

// spell writes out how v is computed, from constants, inputs, and values whose
// shape is asked for.
func spell(v *graph.Value) string {
	switch {
	case v == nil:
		return "_"
	case v.Const() != nil:
		return fmt.Sprintf("%s%x", v.Const().Shape(), v.Const().Data)
	case v.Producer() == nil:
		return v.Name()
	}
	n := v.Producer()
	var attrs, inputs []string
	for _, a := range n.Attrs() {
		attrs = append(attrs, fmt.Sprint(a.Name, "=", a.Kind, a.I, a.F, a.Ints, string(a.S)))
	}
	slices.Sort(attrs)
	for _, w := range n.Inputs() {
		if n.Is("Shape", "Size") {
			inputs = append(inputs, w.Name())
		} else {
			inputs = append(inputs, spell(w))
		}
	}
	return fmt.Sprintf("%s%d%v(%s)", n.Op, v.Index(), attrs, strings.Join(inputs, ","))
}
