package structure

import (
	"context"
	"fmt"
	"slices"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/internal/linalg"
)

// Attention is one multi-head attention: the softmax, the two products around
// it, and the linear maps that feed and drain them.
type Attention struct {
	Softmax *graph.Node
	QK, PV  *graph.Node // the products Q·Kᵀ and P·V
	Q, K, V *Operand    // nil where not understood
	Out     *Output     // nil where not understood

	Heads  int // as far as the shapes tell
	QKDim  int // width of queries and keys per head
	VODim  int // width of values and outputs per head
	Tokens int // queries per head

	QKReason string // why q/k cannot be reduced; empty when it can
	VOReason string // why v/o cannot be reduced; empty when it can
}

// Output is the way from the product P·V to the output projection.
type Output struct {
	Linear *Linear
	leaf   *Leaf
	heads  []int // factors of the projection's input axis
	width  []int
	axis   int // the projection's input axis in the target
	Scale  float64
}

// attention follows one Softmax outward. It returns nil where the softmax does
// not stand between two products, so that it is no attention.
func (f *finder) attention(ctx context.Context, softmax *graph.Node) (*Attention, error) {
	if f.independent(softmax.Output(0)) { // a constant, such as a position's share
		return nil, nil
	}
	pv, side, after := f.productAfter(softmax)
	qk, reason := f.productBefore(softmax)
	switch {
	case pv == nil && qk == nil && f.weighsSum(softmax):
		f.decline(softmax, "attention", "its probabilities weigh a sum over tokens, not a product of matrices (as in linear attention)")
		return nil, nil
	case pv == nil && (qk == nil || after == ""):
		return nil, nil
	case pv == nil:
		f.decline(softmax, "attention", after)
		return nil, nil
	case qk == nil || qk.Is("Einsum"):
		f.decline(softmax, "attention", reason)
		return nil, nil
	}
	a := &Attention{Softmax: softmax, QK: qk, PV: pv}
	a.measure(f, side)
	var err error
	var q, k, v sideOf
	if q, err = f.side(ctx, qk, 0, 1); err != nil {
		return nil, err
	}
	if k, err = f.side(ctx, qk, 1, 2); err != nil {
		return nil, err
	}
	if v, err = f.side(ctx, pv, 1-side, side+1); err != nil {
		return nil, err
	}
	a.Q, a.K, a.V = q.operand, k.operand, v.operand
	out, outReason, err := f.output(ctx, pv, side)
	if err != nil {
		return nil, err
	}
	a.Out = out
	a.QKReason = firstReason("queries", q.reason, "keys", k.reason)
	if a.QKReason == "" {
		a.QKReason = pairing(f, a.Q, a.K, "queries", "keys")
	}
	a.VOReason = firstReason("values", v.reason, "output", outReason)
	if a.VOReason == "" {
		a.VOReason = a.pairOutput(f)
	}
	if a.Q != nil {
		a.Heads = len(a.Q.Channels)
	} else if a.V != nil {
		a.Heads = len(a.V.Channels)
	}
	return a, nil
}

func firstReason(pairs ...string) string {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			return pairs[i] + ": " + pairs[i+1]
		}
	}
	return ""
}

// measure reads heads, widths and tokens off the products' shapes.
func (a *Attention) measure(f *finder, side int) {
	b := f.shapes.Batch[0]
	if d, ok := f.shapes.At(a.QK.Input(0), b); ok && len(d) >= 2 {
		a.QKDim, a.Tokens = int(d[len(d)-1]), int(d[len(d)-2])
		a.Heads = int(graph.Elements(d[:len(d)-2])) / max(1, b)
	}
	if d, ok := f.shapes.At(a.PV.Input(1-side), b); ok && len(d) >= 2 {
		a.VODim = int(d[len(d)-1])
		if side == 1 {
			a.VODim = int(d[len(d)-2])
		}
	}
}

// productAfter finds the product that first takes up what softmax gives, and
// which of its operands that is. Maps over heads (talking heads) and what
// combines several probabilities of the same shape (gates) are passed only when
// there is no other way, sums with other computed values (residuals) never. There
// is neither product nor reason where softmax serves no attention.
func (f *finder) productAfter(softmax *graph.Node) (pv *graph.Node, side int, reason string) {
	var other *graph.Node
	for _, throughHeads := range []bool{false, true} {
		seen := map[*graph.Value]bool{}
		next := []*graph.Value{softmax.Output(0)}
		for len(next) > 0 {
			v := next[0]
			next = next[1:]
			if v == nil || seen[v] {
				continue
			}
			seen[v] = true
			for _, u := range v.Uses() {
				switch n := u.Node; {
				case n == nil || n.Graph() != f.g:
				case isProduct(n):
					return n, u.Index, ""
				case (n.Is(unaryOps...) || n.Is(naryOps...) || n.Is(layoutOps...)) && len(computed(n)) == 1, throughHeads && (f.mixesHeads(n, softmax) || f.combines(n, softmax)):
					next = append(next, n.Outputs()...)
				case f.byNode[n] == nil && other == nil:
					other = n
				}
			}
		}
	}
	if other != nil {
		reason = fmt.Sprintf("its probabilities go to %s, not to a product with values", other)
	}
	return nil, 0, reason
}

// combines reports whether n works elementwise on several computed values and
// gives something of the shape of softmax's probabilities: a product behind it
// takes that as it takes probabilities.
func (f *finder) combines(n, softmax *graph.Node) bool {
	p, ok1 := f.shapes.Of(softmax.Output(0))
	d, ok2 := f.shapes.Of(n.Output(0))
	return ok1 && ok2 && n.Is("Add", "Sub", "Mul", "Div") && len(d) >= 4 && slices.Equal(p, d)
}

// productBefore finds the product whose result reaches softmax through
// elementwise operators and rearrangements; maps over heads (talking heads)
// are passed only when there is no other way. An Einsum is found as well, with
// the reason that it is not understood.
func (f *finder) productBefore(softmax *graph.Node) (qk *graph.Node, reason string) {
	for _, throughHeads := range []bool{false, true} {
		var found []*graph.Node
		seen := map[*graph.Node]bool{}
		var walk func(v *graph.Value)
		walk = func(v *graph.Value) {
			if v == nil || v.Producer() == nil || seen[v.Producer()] {
				return
			}
			n := v.Producer()
			seen[n] = true
			switch {
			case isProduct(n), n.Is("Einsum"), f.asksConstants(n):
				found = append(found, n)
			case n.Is(unaryOps...) || n.Is(naryOps...) || n.Is(layoutOps...) || throughHeads && f.mixesHeads(n, softmax):
				for _, x := range n.Inputs() {
					walk(x)
				}
			}
		}
		walk(softmax.Input(0))
		switch {
		case len(found) == 1 && found[0].Is("Einsum"):
			return found[0], fmt.Sprintf("the logits come from %s, not from a product of queries and keys", found[0])
		case len(found) == 1:
			return found[0], ""
		case len(found) > 1 && len(products(found)) == 1:
			return products(found)[0], ""
		case len(found) > 1:
			return nil, fmt.Sprintf("the logits combine %d products (%s, %s)", len(found), found[0], found[1])
		}
	}
	return nil, "no product of two computed tensors leads to the softmax"
}

// products returns those of nodes that multiply two computed matrices.
func products(nodes []*graph.Node) []*graph.Node {
	var ps []*graph.Node
	for _, n := range nodes {
		if isProduct(n) {
			ps = append(ps, n)
		}
	}
	return ps
}

// asksConstants reports whether n multiplies constant matrices, one per head,
// with computed ones: queries that are the same for every image.
func (f *finder) asksConstants(n *graph.Node) bool {
	if !n.Is("MatMul") || f.byNode[n] != nil || len(computed(n)) != 1 {
		return false
	}
	d, ok := f.shapes.Of(n.Output(0))
	return ok && len(d) >= 3
}

// weighsSum reports whether what softmax gives multiplies a computed tensor,
// and the result is summed.
func (f *finder) weighsSum(softmax *graph.Node) bool {
	for _, mul := range softmax.Output(0).Users() {
		if !mul.Is("Mul") || len(computed(mul)) < 2 {
			continue
		}
		for _, n := range mul.Output(0).Users() {
			if n.Is("ReduceSum", "ReduceMean") {
				return true
			}
		}
	}
	return false
}

// mixesHeads reports whether n is a linear map over the heads of softmax's
// logits: what it reads and gives has the logits' axes, in any order.
func (f *finder) mixesHeads(n, softmax *graph.Node) bool {
	l := f.byNode[n]
	if l == nil {
		return false
	}
	sizes := func(v *graph.Value) []int64 {
		d, _ := f.shapes.At(v, f.shapes.Batch[1])
		return slices.Sorted(slices.Values(d))
	}
	logits := sizes(softmax.Output(0))
	if len(logits) == 0 || !slices.Equal(sizes(l.In), logits) || !slices.Equal(sizes(l.Out), logits) {
		return false
	}
	f.inside[l] = true
	return true
}

type sideOf struct {
	operand *Operand
	reason  string
}

// side follows operand i of a product back to its linear map. The width of its
// heads lies on the axis counted from the end.
func (f *finder) side(ctx context.Context, product *graph.Node, i, widthAxis int) (sideOf, error) {
	target := product.Input(i)
	v, reason := f.linearBehind(target)
	if reason != "" && f.independent(target) {
		reason = "they are the same for every image, as those of a learned probe are"
	}
	if reason != "" {
		return sideOf{reason: reason}, nil
	}
	l := f.linearOf[v]
	t, err := f.fan(ctx, v, l.Axis)
	if err != nil {
		return sideOf{}, err
	}
	if _, reason = f.linearBehind(target); reason != "" { // now that the way is known better
		return sideOf{reason: reason}, nil
	}
	leaf := t.leafOf(target)
	if leaf == nil {
		for _, v := range t.through(target) {
			if f.whole[v] {
				return sideOf{reason: fmt.Sprintf("%q is read in several ways: by %v", v.Name(), v.Users())}, nil
			}
		}
	}
	if leaf == nil || leaf.Reason != "" {
		return sideOf{reason: "its layout is not understood: " + leaf.reason()}, nil
	}
	for _, other := range t.leaves {
		if other.Reason != "" {
			return sideOf{reason: fmt.Sprintf("%s also feeds %q: %s", l.Node, other.Value.Name(), other.Reason)}, nil
		}
	}
	if t.overlap() {
		return sideOf{reason: fmt.Sprintf("channels of %s are used more than once", l.Node)}, nil
	}
	if len(target.Uses()) != 1 {
		return sideOf{reason: fmt.Sprintf("%q is also read by %s", target.Name(), otherReader(target, product))}, nil
	}
	if len(l.W.Uses()) > 1 {
		return sideOf{reason: fmt.Sprintf("the weight of %s is shared with %s", l.Node, otherUser(l.W, l.Node))}, nil
	}
	o, reason := newOperand(l, t, leaf, widthAxis)
	return sideOf{operand: o, reason: reason}, nil
}

// independent reports whether v depends on constants and shapes only.
func (f *finder) independent(v *graph.Value) bool {
	if f.constant == nil {
		f.constant = map[*graph.Value]bool{}
	}
	same, ok := f.constant[v]
	if !ok {
		same = v == nil || v.Const() != nil
		if n := v.Producer(); n != nil {
			same = len(n.Subgraphs()) == 0
			for _, x := range n.Inputs() {
				same = same && (n.Is("Shape", "Size") || f.independent(x))
			}
		}
		f.constant[v] = same
	}
	return same
}

// linearBehind walks from v back through plain operators to what a linear map
// gives, or tells why there is none.
func (f *finder) linearBehind(v *graph.Value) (*graph.Value, string) {
	for f.linearOf[v] == nil {
		n := v.Producer()
		if n == nil {
			return nil, why(nil)
		}
		if reason := f.notPlain[n]; reason != "" {
			return nil, reason
		}
		cs := computed(n)
		if len(cs) != 1 || !plain(n, cs[0]) {
			return nil, why(n)
		}
		v = cs[0]
	}
	return v, ""
}

func (leaf *Leaf) reason() string {
	if leaf == nil {
		return "it is read by something else on the way"
	}
	return leaf.Reason
}

func (t *fan) leafOf(v *graph.Value) *Leaf {
	for _, l := range t.leaves {
		if l.Value == v {
			return l
		}
	}
	return nil
}

// overlap reports whether two leaves read the same channel.
func (t *fan) overlap() bool { return t.twice() != nil }

func otherReader(v *graph.Value, not *graph.Node) string {
	if v.IsOutput() {
		return "the caller, as an output"
	}
	return otherUser(v, not)
}

func otherUser(v *graph.Value, not *graph.Node) string {
	for _, n := range v.Users() {
		if n != not {
			return n.String()
		}
	}
	return "an output"
}

// pairing tells why the heads of two operands of one product do not go
// together, or nothing.
func pairing(f *finder, a, b *Operand, an, bn string) string {
	x, _ := f.shapes.At(a.Leaf.Value, f.shapes.Batch[1])
	y, _ := f.shapes.At(b.Leaf.Value, f.shapes.Batch[1])
	if len(x) != len(y) || !slices.Equal(x[:len(x)-2], y[:len(y)-2]) {
		return fmt.Sprintf("%s and %s differ in their leading axes: %v and %v", an, bn, x, y)
	}
	if !slices.Equal(a.places(), b.places()) {
		return fmt.Sprintf("the heads of %s and %s are not arranged alike", an, bn)
	}
	return ""
}

// output follows the product P·V, whose operand side is P, forward to the
// linear map that mixes the heads.
func (f *finder) output(ctx context.Context, pv *graph.Node, side int) (*Output, string, error) {
	o := pv.Output(0)
	t, err := f.fan(ctx, o, side+1)
	if err != nil {
		return nil, "", err
	}
	if len(t.leaves) != 1 {
		return nil, fmt.Sprintf("it is read in %d different ways", len(t.leaves)), nil
	}
	leaf := t.leaves[0]
	l := f.byNode[leaf.Value.OnlyUser()]
	switch {
	case l == nil || l.In != leaf.Value:
		f.claimBehind(leaf.Value)
		if u := leaf.Value.OnlyUser(); u != nil {
			return nil, fmt.Sprintf("%s stands between the heads and the output projection", u), nil
		}
		return nil, fmt.Sprintf("%q goes to %v, not to one linear map alone", leaf.Value.Name(), leaf.Value.Users()), nil
	case leaf.Reason != "":
		return nil, "its layout is not understood: " + leaf.Reason, nil
	case len(l.W.Uses()) > 1:
		return nil, fmt.Sprintf("the weight of %s is shared with %s", l.Node, otherUser(l.W, l.Node)), nil
	}
	out := &Output{Linear: l, leaf: leaf, axis: len(leaf.layout.dst) - l.Axis, Scale: leaf.scale[0]}
	for i := range leaf.scale {
		if leaf.scale[i] != out.Scale || leaf.shift[i] != 0 {
			return nil, "channels are scaled or shifted differently before the output projection", nil
		}
	}
	lay := leaf.layout
	out.width = lay.src[lay.channel]
	for _, fc := range lay.dst[out.axis] {
		if !contains(out.width, fc) {
			out.heads = append(out.heads, fc)
		}
	}
	if len(out.width) != 1 || !contains(lay.dst[out.axis], out.width[0]) || lay.offset != 0 {
		return nil, "the channels of a head are not on the projection's input axis", nil
	}
	if d, ok := f.shapes.Of(o); !ok || int64(out.Width()) != d[lay.channel].Fixed {
		return nil, "only a part of each head goes to the output projection", nil
	}
	slices.SortFunc(out.heads, func(x, y int) int {
		a, b := lay.factors[x], lay.factors[y]
		if a.axis != b.axis {
			return a.axis - b.axis
		}
		return int(b.stride - a.stride)
	})
	return out, "", nil
}

// claimBehind marks the linear maps that read what heads give through
// operators that only look at it: they end an attention, not a hidden layer.
func (f *finder) claimBehind(v *graph.Value) {
	reached := map[*graph.Value]bool{v: true}
	for next := []*graph.Value{v}; len(next) > 0; next = next[1:] {
		for _, n := range next[0].Users() {
			if l := f.byNode[n]; l != nil && l.In == next[0] {
				f.inside[l] = true
				continue
			}
			if !n.Is(unaryOps...) && !n.Is(naryOps...) && !n.Is(layoutOps...) || slices.ContainsFunc(computed(n), func(x *graph.Value) bool { return !reached[x] }) {
				continue
			}
			for _, o := range n.Outputs() {
				if o != nil && !reached[o] {
					reached[o] = true
					next = append(next, o)
				}
			}
		}
	}
}

// pairOutput tells why the heads of the values and of the output projection do
// not go together, or nothing.
func (a *Attention) pairOutput(f *finder) string {
	x, _ := f.shapes.At(a.V.Leaf.Value, f.shapes.Batch[1])
	y, _ := f.shapes.At(a.PV.Output(0), f.shapes.Batch[1])
	if len(x) != len(y) || !slices.Equal(x[:len(x)-2], y[:len(y)-2]) {
		return fmt.Sprintf("values are shared between heads: %v for products of %v", x, y)
	}
	var ps []place
	lay := a.Out.leaf.layout
	for _, f := range a.Out.heads {
		fc := lay.factors[f]
		ps = append(ps, place{fc.axis, fc.stride, fc.size})
	}
	if !slices.Equal(ps, a.V.places()) {
		return "the heads of values and output projection are not arranged alike"
	}
	return ""
}

// Rows returns, for heads of the given width, the input channel of the output
// projection that position j of head h feeds.
func (o *Output) Rows(width int) [][]int {
	lay := o.leaf.layout.resized(nil, o.width, int64(width))
	id := lay.src[lay.channel][0]
	rows := []int{0}
	for _, f := range o.heads {
		fc := lay.factors[f]
		fc.stride = lay.dstPlace(f).stride
		rows = spread(rows, fc)
	}
	out := make([][]int, len(rows))
	fc := lay.factors[id]
	fc.stride = lay.dstPlace(id).stride
	for h, r := range rows {
		out[h] = spread([]int{r}, fc)
	}
	return out
}

// Head returns what head h adds to the projection's output: a width×out
// matrix, any scale on the way folded in. w is the projection's weight.
func (o *Output) Head(w *mat.Dense, h int) *mat.Dense {
	rows := o.Rows(o.Width())[h]
	out, _ := w.Dims()
	m := mat.NewDense(len(rows), out, nil)
	for i := range out {
		from := w.RawRowView(i)
		for j, r := range rows {
			m.Set(j, i, o.Scale*from[r])
		}
	}
	return m
}

// Moment returns the second moment of head h of the product P·V, given the
// moments of the projection's input.
func (o *Output) Moment(m *linalg.Moments, h int) *mat.SymDense {
	rows := o.Rows(o.Width())[h]
	out := mat.NewSymDense(len(rows), nil)
	for i, a := range rows {
		for j := i; j < len(rows); j++ {
			out.SetSym(i, j, m.Gram.At(a, rows[j])/float64(m.Rows)/(o.Scale*o.Scale))
		}
	}
	return out
}

// Width returns the head width that the projection takes now.
func (o *Output) Width() int { return int(o.leaf.layout.factors[o.width[0]].size) }

// Rebuild puts a new output projection in the place of o's, made of the given
// width×out matrices, one per head. The product P·V must give heads of that
// width by then.
func (o *Output) Rebuild(m *graph.Model, product *graph.Node, heads []*mat.Dense) error {
	width, out := heads[0].Dims()
	_, b, err := o.Linear.Weight()
	if err != nil {
		return err
	}
	rows := o.Rows(width)
	w := mat.NewDense(out, width*len(heads), nil)
	for h, hm := range heads {
		for j, r := range rows[h] {
			for i := range out {
				w.Set(i, r, hm.At(j, i))
			}
		}
	}
	if o.Linear.B == nil {
		b = nil
	}
	name := o.Linear.Name()
	v, err := o.leaf.layout.resized(nil, o.width, int64(width)).emit(m.Graph, product.Output(0), name+"_heads")
	if err != nil {
		return fmt.Errorf("%s: %w", o.Linear.Node, err)
	}
	v = castLike(m.Graph, v, o.leaf.rootElem, o.leaf.elem)
	y, err := o.Linear.Rebuild(m.Graph, v, name, w, b)
	if err != nil {
		return err
	}
	o.Linear.Out.ReplaceUses(y)
	return nil
}
