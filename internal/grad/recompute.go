package grad

import (
	"nuwa/graph"
	"nuwa/internal/engine"
)

// replay hands out values of the forward pass to the rules. Those of the last
// segment are there still. For an earlier segment it appends the nodes that
// compute them once more, from the values that came into the segment.
//
// Those values pass through a barrier first: a zero is added that is computed
// from the gradient that has arrived. So the second computation cannot begin
// before its results are needed, and ONNX Runtime cannot take it for the first
// one.
type replay struct {
	*emitter
	nodes   []*graph.Node // of the forward pass, in order
	segment map[*graph.Node]int
	last    int

	now    int                           // the segment that the gradient is in
	dy     *graph.Value                  // the gradient that came last
	ended  []*graph.Value                // gradients that are complete, to be waited for by the next barrier
	zero   *graph.Value                  // an integer that is always 0, computed from those; nil until needed
	guards map[*graph.Value]*graph.Value // values behind the barrier of the current segment
	copies map[*graph.Node]*graph.Node
}

// cutter puts the nodes that a loss is computed by, given in order, into
// segments, and returns the number of each one's: 0, then ascending.
type cutter func(e *emitter, nodes []*graph.Node, loss *graph.Value) []int

// newReplay cuts nodes into segments; with a nil cut there is one.
func newReplay(e *emitter, nodes []*graph.Node, loss *graph.Value, cut cutter) *replay {
	r := &replay{emitter: e, nodes: nodes, segment: map[*graph.Node]int{}, copies: map[*graph.Node]*graph.Node{}}
	if cut != nil && len(nodes) > 0 {
		for i, s := range cut(e, nodes, loss) {
			r.segment[nodes[i]], r.last = s, s
		}
	}
	r.now = r.last
	return r
}

// enter says that the gradient dy of a result of n has been computed.
func (r *replay) enter(n *graph.Node, dy *graph.Value) {
	if s := r.segment[n]; s != r.now {
		r.now, r.zero, r.guards = s, nil, map[*graph.Value]*graph.Value{}
	}
	r.dy = dy
}

// after says that the gradient v is one of those asked for: the next segment
// waits for it, so that what it is computed from is not held any longer.
func (r *replay) after(v *graph.Value) {
	if v != nil {
		r.ended = append(r.ended, v)
	}
}

// value returns v of the forward pass, computed again where need be.
func (r *replay) value(v *graph.Value) *graph.Value {
	if v == nil || r.err != nil || r.now == r.last || constantOf(v) != nil {
		return v
	}
	n := v.Producer()
	if n == nil || r.segment[n] != r.now || !repeatable(n) {
		return r.guard(v)
	}
	return r.copy(n).Output(v.Index())
}

// copy computes n again.
func (r *replay) copy(n *graph.Node) *graph.Node {
	if m := r.copies[n]; m != nil {
		return m
	}
	inputs := make([]*graph.Value, len(n.Inputs()))
	for i, v := range n.Inputs() {
		inputs[i] = r.value(v)
	}
	m := r.g.NewNode(n.Op, "")
	m.Domain, m.Overload = n.Domain, n.Overload
	m.SetInputs(inputs...)
	for _, a := range n.Attrs() {
		b := *a
		m.SetAttr(&b)
	}
	for _, v := range n.Outputs() {
		if v == nil {
			m.AddOutput("")
			continue
		}
		w := m.AddOutput(r.g.UniqueName("again/" + v.Name()))
		if m.Name == "" { // names of nodes are unique as those of values are
			m.Name = w.Name()
		}
		if dims, ok := r.shapes.Of(v); ok {
			r.know(w, info{dims, r.shapes.Elem(v)})
		}
	}
	r.copies[n] = m
	return m
}

// repeatable reports whether computing n twice gives the same results twice.
func repeatable(n *graph.Node) bool {
	return len(n.Subgraphs()) == 0 && !n.Is("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout")
}

// guard returns v behind the barrier. Scalars, integers and conditions pass
// freely: they are small.
func (r *replay) guard(v *graph.Value) *graph.Value {
	if w := r.guards[v]; w != nil {
		return w
	}
	dims, ok := r.shapes.Of(v)
	if !ok || len(dims) == 0 || !r.elem(v).IsFloat() {
		return v
	}
	if r.zero == nil {
		r.zero = r.zeroFrom(r.dy)
		for _, x := range r.ended {
			r.zero = r.add(r.zero, r.zeroFrom(x))
		}
		r.ended = nil
	}
	w := r.add(v, r.cast(r.zero, r.elem(v)))
	r.guards[v] = w
	return w
}

// zeroFrom computes a list of one zero from v: the place of the largest among
// one of its elements.
func (r *replay) zeroFrom(v *graph.Value) *graph.Value {
	for axis := range r.dims(v) {
		v = r.slice(v, axis, 0, 1)
	}
	v = r.reshape(v, []engine.Size{one})
	return r.op("ArgMax", info{[]engine.Size{one}, graph.Int64}, []*graph.Value{v}, graph.Int("axis", 0))
}
