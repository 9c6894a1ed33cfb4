package structure

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"nuwa/graph"
)

// MLP is a hidden layer: one linear map, or two where it is gated, then
// operators that keep hidden channels apart, then a second linear map.
type MLP struct {
	First  []*Linear // one, or gate and value of a gated MLP
	Second *Linear
	Hidden int // the number of hidden channels, Second's input width
	Gated  bool
	Tokens int

	Reason string // why it cannot be pruned; empty when it can

	region *region
}

// A region is what lies between First and Second. Lane j is hidden channel j,
// as Second numbers them; every value of the region says which lane each of
// its channels belongs to.
type region struct {
	nodes  []*graph.Node // in reverse order of computation
	lanes  map[*graph.Value]lanes
	consts []laneConst
	slices map[*graph.Node]*sliced
	first  []*Linear
	convs  []*graph.Node // depthwise convolutions
	acts   int           // how many operators are activations
	powers int           // how many are powers or roots, of which norms are made as well
	gates  int           // how many multiply two computed values
}

type lanes struct {
	axis int   // counted from the end
	of   []int // lane per channel, -1 where nothing reads it
}

// sliced is what a Slice took, and of which channels.
type sliced struct {
	axis, start int
	from        *graph.Value
	lanes       lanes // of from, once the whole region is known
}

// laneConst is a constant with one number per channel of an operand.
type laneConst struct {
	node  *graph.Node
	input int
	axis  int // of the constant, from its start
}

const noLane = -1

// mlp follows the input of second backward. It returns nil where there is no
// activation on the way, so that it is no hidden layer.
func (f *finder) mlp(second *Linear) *MLP {
	m := &MLP{Second: second, Hidden: second.InDim}
	r := &region{lanes: map[*graph.Value]lanes{}, slices: map[*graph.Node]*sliced{}}
	all := make([]int, second.InDim)
	for i := range all {
		all[i] = i
	}
	r.lanes[second.In] = lanes{axis: second.Axis, of: all}
	pending := map[*graph.Value]bool{second.In: true}
	order, passed := f.order, false
	for len(pending) > 0 {
		v := latest(pending, order)
		delete(pending, v)
		l := f.linearOf[v]
		if l == nil {
			l = f.patchMap(v)
		}
		if l != nil && l.Axis == r.lanes[v].axis {
			r.first = append(r.first, l)
			continue
		}
		n := v.Producer()
		if n == nil {
			return nil
		}
		if contains(r.nodes, n) {
			continue // the other piece of a Split
		}
		if passed && r.acts == 0 && n.Is("Add", "Sum") && len(computed(n)) > 1 {
			return nil // the norm is in front of the layer, and this is the residual sum before it
		}
		if reason := r.through(f, n, pending); reason != "" {
			if m.Reason == "" {
				m.Reason = reason
			}
			if r.acts > 0 {
				break
			}
			if passed = r.past(f, n, pending); !passed {
				return nil
			}
		}
		r.nodes = append(r.nodes, n)
	}
	if r.acts+r.powers+r.gates == 0 {
		return nil
	}
	for _, s := range r.slices {
		s.lanes = r.lanes[s.from]
	}
	m.region, m.First = r, r.first
	if d, ok := f.shapes.At(second.In, f.shapes.Batch[0]); ok {
		m.Tokens = int(graph.Elements(d)) / max(1, second.InDim*f.shapes.Batch[0])
	}
	if m.Reason == "" {
		m.Reason = r.closed(f, second)
	}
	total := 0
	for _, l := range r.first {
		total += taken(r.lanes[l.Out].of)
	}
	m.Gated = total > second.InDim
	return m
}

// Neurons returns, for every hidden channel, the numbers that make it out of
// what the layer reads: its rows of the first maps with their biases, and what
// it is filtered, scaled and shifted by on the way to the second.
func (m *MLP) Neurons() ([][]float64, error) {
	out := make([][]float64, m.Hidden)
	for _, l := range m.First {
		w, b, err := l.Weight()
		if err != nil {
			return nil, err
		}
		for i, lane := range m.region.lanes[l.Out].of {
			if lane != noLane {
				out[lane] = append(append(out[lane], w.RawRowView(i)...), b[i])
			}
		}
	}
	add := func(t *graph.Tensor, axis int, of []int) error {
		xs, err := t.Floats()
		inner := graph.Elements(t.Dims[axis+1:])
		for i, x := range xs {
			if lane := of[int64(i)/inner%t.Dims[axis]]; lane != noLane {
				out[lane] = append(out[lane], x)
			}
		}
		return err
	}
	for _, c := range m.region.consts {
		if err := add(c.node.Input(c.input).Const(), c.axis, m.region.lanes[c.node.Output(0)].of); err != nil {
			return nil, err
		}
	}
	for _, c := range m.region.convs {
		for _, v := range c.Inputs()[1:] {
			if v == nil {
				continue
			}
			if err := add(v.Const(), 0, m.region.lanes[c.Output(0)].of); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// latest returns the pending value whose producer comes last, so that every
// user of a value is seen before its producer is.
func latest(pending map[*graph.Value]bool, order map[*graph.Node]int) *graph.Value {
	var best *graph.Value
	for v := range pending {
		if best == nil || rank(v, order) > rank(best, order) || rank(v, order) == rank(best, order) && v.Name() < best.Name() {
			best = v
		}
	}
	return best
}

func rank(v *graph.Value, order map[*graph.Node]int) int {
	if v.Producer() == nil {
		return -1
	}
	return order[v.Producer()]
}

// through carries the lanes of n's results to its operands. It returns why
// that cannot be done, or nothing.
func (r *region) through(f *finder, n *graph.Node, pending map[*graph.Value]bool) string {
	if n.Domain != "" && n.Domain != "ai.onnx" || len(n.Subgraphs()) > 0 {
		return n.String() + " is not known to keep hidden channels apart"
	}
	give := func(x *graph.Value, l lanes) string {
		old, ok := r.lanes[x]
		if !ok {
			r.lanes[x] = l
			pending[x] = true
			return ""
		}
		merged := make([]int, len(l.of))
		for i := range merged {
			switch {
			case old.axis != l.axis || len(old.of) != len(l.of):
				return fmt.Sprintf("the channels of %q lie on different axes for different readers", x.Name())
			case old.of[i] == noLane:
				merged[i] = l.of[i]
			case l.of[i] == noLane || l.of[i] == old.of[i]:
				merged[i] = old.of[i]
			default:
				return fmt.Sprintf("channel %d of %q feeds several hidden channels", i, x.Name())
			}
		}
		r.lanes[x] = lanes{axis: l.axis, of: merged}
		return ""
	}
	var out *graph.Value
	for _, o := range n.Outputs() {
		if o != nil && len(r.lanes[o].of) > 0 {
			out = o
			break
		}
	}
	l := r.lanes[out]
	switch {
	case n.Is(unaryOps...) && n.Input(0) != nil && len(computed(n)) == 1 && computed(n)[0] == n.Input(0):
		if n.Is("Dropout") && n.Output(1) != nil && len(n.Output(1).Uses()) > 0 {
			return n.String() + " also gives its mask"
		}
		r.note(n)
		return give(n.Input(0), l)
	case n.Is(naryOps...):
		r.note(n)
		return r.throughNary(f, n, l, give)
	case n.Is("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"):
		if len(computed(n)) != 1 {
			return why(n)
		}
		axis, ok := f.carryAxis(n, l.axis)
		if !ok {
			return n.String() + " does not keep the hidden channels on one axis"
		}
		return give(n.Input(0), lanes{axis: axis, of: l.of})
	case n.Is("Split", "Slice"):
		return r.throughPieces(f, n, give)
	case n.Is("Conv"):
		return r.throughConv(f, n, l, give)
	case n.Is(normOps...), n.Is("Softmax", "LogSoftmax"):
		return n.String() + " mixes hidden channels"
	}
	return n.String() + " is not known to keep hidden channels apart"
}

// past goes on behind an operator that mixes hidden channels, as a norm in
// front of the second map does, to see whether a hidden layer is there at all.
// It reports false where n is no such operator.
func (r *region) past(f *finder, n *graph.Node, pending map[*graph.Value]bool) bool {
	if !n.Is(normOps...) && !n.Is("Softmax", "LogSoftmax", "Div", "Mul", "Sub") {
		return false
	}
	if n.Is("Softmax", "LogSoftmax") {
		r.acts++
	}
	out, _ := f.shapes.Of(n.Output(0))
	found := false
	for _, x := range computed(n) {
		if d, ok := f.shapes.Of(x); ok && slices.Equal(d, out) {
			found = true
			if _, seen := r.lanes[x]; !seen {
				r.lanes[x] = r.lanes[n.Output(0)]
				pending[x] = true
			}
		}
	}
	return found
}

// note counts n if it makes the region more than an affine map.
func (r *region) note(n *graph.Node) {
	switch {
	case n.Is("Pow", "Sqrt", "Reciprocal"):
		r.powers++
	case !n.Is(affineOps...):
		r.acts++
	case n.Is("Mul") && len(computed(n)) > 1:
		r.gates++
	}
}

// throughNary handles elementwise operators of several operands.
func (r *region) throughNary(f *finder, n *graph.Node, l lanes, give func(*graph.Value, lanes) string) string {
	for i, x := range n.Inputs() {
		if x == nil {
			continue
		}
		d, ok := f.shapes.Of(x)
		if !ok {
			return fmt.Sprintf("the shape of %q is not known", x.Name())
		}
		wide := len(d) >= l.axis && d[len(d)-l.axis] == fixed(len(l.of))
		if x.Const() != nil {
			switch {
			case wide && len(l.of) > 1:
				r.consts = append(r.consts, laneConst{node: n, input: i, axis: len(d) - l.axis})
			case len(d) >= l.axis && d[len(d)-l.axis] != fixed(1):
				return fmt.Sprintf("a constant of %s does not fit its channels", n)
			}
			continue
		}
		if !wide && normalizes(n) {
			return n.String() + " normalizes over the hidden channels"
		}
		if !wide {
			return fmt.Sprintf("%s mixes hidden channels with %q, which has no channel of its own for each", n, x.Name())
		}
		if reason := give(x, l); reason != "" {
			return reason
		}
	}
	return ""
}

// throughPieces handles Split and Slice: the pieces of a gated MLP.
func (r *region) throughPieces(f *finder, n *graph.Node, give func(*graph.Value, lanes) string) string {
	x := n.Input(0)
	d, ok := f.shapes.At(x, f.shapes.Batch[0])
	if !ok || len(computed(n)) != 1 {
		return why(n)
	}
	p, ok := f.pieces(n)
	if !ok {
		return n.String() + " takes pieces that are not understood"
	}
	var got lanes
	for i, o := range n.Outputs() {
		if o == nil || len(r.lanes[o].of) == 0 {
			continue
		}
		l := r.lanes[o]
		if len(d)-p.axis != l.axis {
			return n.String() + " takes only some of the tokens"
		}
		if got.of == nil {
			got = lanes{axis: l.axis, of: make([]int, d[p.axis])}
			for j := range got.of {
				got.of[j] = noLane
			}
		}
		for j, lane := range l.of {
			got.of[p.start[i]+j] = lane
		}
	}
	if n.Is("Slice") {
		r.slices[n] = &sliced{axis: p.axis, start: p.start[0], from: x}
	}
	return give(x, got)
}

// taken counts the channels that belong to a lane.
func taken(of []int) int {
	n := 0
	for _, lane := range of {
		if lane != noLane {
			n++
		}
	}
	return n
}

// values lists the values of the region in order of computation.
func (r *region) values(f *finder) []*graph.Value {
	return slices.SortedFunc(maps.Keys(r.lanes), func(a, b *graph.Value) int {
		return cmp.Or(rank(a, f.order)-rank(b, f.order), strings.Compare(a.Name(), b.Name()))
	})
}

// closed tells which value of the region something outside reads, or nothing.
func (r *region) closed(f *finder, second *Linear) string {
	for _, v := range r.values(f) {
		l := r.lanes[v]
		if v.IsOutput() {
			return fmt.Sprintf("%q is an output of the graph", v.Name())
		}
		for _, n := range v.Users() {
			if !contains(r.nodes, n) && n != second.Node {
				return fmt.Sprintf("%q is also read by %s", v.Name(), n)
			}
		}
		if len(l.of) == 0 {
			return fmt.Sprintf("the channels of %q are not understood", v.Name())
		}
	}
	for _, lin := range append(r.first, second) {
		if len(lin.W.Uses()) > 1 {
			return fmt.Sprintf("the weight of %s is shared with %s", lin.Node, otherUser(lin.W, lin.Node))
		}
	}
	seen := make([]int, second.InDim)
	for _, lin := range r.first {
		for i, lane := range r.lanes[lin.Out].of {
			if lane == noLane {
				return fmt.Sprintf("channel %d of %s is none of the hidden layer, which has %d of its %d", i, lin.Node, taken(r.lanes[lin.Out].of), lin.OutDim)
			}
			seen[lane]++
		}
	}
	for j, n := range seen {
		if n == 0 {
			return fmt.Sprintf("hidden channel %d does not come from a linear map", j)
		}
	}
	return ""
}
