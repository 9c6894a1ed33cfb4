package structure

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// A fan is everything that becomes of one value through plain operators. Its
// leaves are the values that something else reads: for a packed qkv linear,
// the operands of the two products.
type fan struct {
	root    *graph.Value
	axis    int // the root's axis that holds channels
	leaves  []*Leaf
	parents map[*graph.Value]*graph.Node
}

// Leaf is one value at the end of a fan: the same channels as the root's, all
// or some, rearranged, scaled and shifted.
type Leaf struct {
	Value  *graph.Value
	Reason string // why the way to it could not be understood; empty if it was

	elem         graph.DType // of Value
	rootElem     graph.DType // of the fan's root
	layout       *layout
	scale, shift []float64 // per channel of the root
}

// fan follows root, whose channels lie on the axis counted from the end. An
// operator that looks plain but turns out to treat elements of one channel
// differently, or to drop tokens, ends the fan before it, and so do two that take
// the same channels.
func (f *finder) fan(ctx context.Context, root *graph.Value, axisFromEnd int) (*fan, error) {
	if t, ok := f.fans[root]; ok {
		return t, nil
	}
	sizes, ok := f.shapes.Of(root)
	if !ok || len(sizes) < axisFromEnd {
		return nil, fmt.Errorf("the shape of %q is not known", root.Name())
	}
	for {
		t := f.spreadOut(root, len(sizes)-axisFromEnd)
		again, err := f.decodeFan(ctx, t, sizes)
		if err != nil {
			return nil, err
		}
		if again {
			continue
		}
		if v := t.twice(); v != nil && v != root { // as a whole, it can stay as it is
			f.whole[v] = true
			continue
		}
		f.fans[root] = t
		return t, nil
	}
}

// twice returns the value at which the ways to two leaves part that read a
// channel both; nil where no leaves do.
func (t *fan) twice() *graph.Value {
	readers := map[int]*Leaf{}
	for _, leaf := range t.leaves {
		if leaf.Reason != "" {
			continue
		}
		for _, c := range leaf.channels() {
			other := readers[c]
			if other == nil || other == leaf {
				readers[c] = leaf
				continue
			}
			a, b := t.way(leaf.Value), t.way(other.Value)
			i := 0
			for i+1 < min(len(a), len(b)) && a[i+1] == b[i+1] {
				i++
			}
			return a[i]
		}
	}
	return nil
}

// channels lists the channels of the root that leaf holds.
func (leaf *Leaf) channels() []int {
	heads, _ := leaf.layout.headFactors(-1)
	cols := []int{int(leaf.layout.offset)}
	for _, f := range heads {
		cols = spread(cols, leaf.layout.factors[f])
	}
	return cols
}

// spreadOut finds the leaves of root's fan.
func (f *finder) spreadOut(root *graph.Value, axis int) *fan {
	t := &fan{root: root, axis: axis, parents: map[*graph.Value]*graph.Node{}}
	reached := []*graph.Value{root}
	for i := 0; i < len(reached); i++ {
		v := reached[i]
		users := v.Users()
		if v.IsOutput() || f.whole[v] || slices.ContainsFunc(users, func(n *graph.Node) bool { return !f.plain(n, v) }) {
			t.leaves = append(t.leaves, &Leaf{Value: v, elem: f.shapes.Elem(v), rootElem: f.shapes.Elem(root)})
			continue // what comes behind v comes from v
		}
		for _, n := range users {
			for _, w := range n.Outputs() {
				if w != nil && len(w.Uses()) > 0 && t.parents[w] == nil {
					t.parents[w] = n
					reached = append(reached, w)
				}
			}
		}
	}
	return t
}

// plain is the function plain without the operators found out, and without
// those in nested graphs.
func (f *finder) plain(n *graph.Node, x *graph.Value) bool {
	return n.Graph() == f.g && f.notPlain[n] == "" && plain(n, x)
}

// decodeFan sends the numbers of the root's elements through the fan's layout
// operators, in ONNX Runtime, and reads off where they arrive. It returns true
// when an operator was found out not to be plain, and the fan is to be drawn
// again without it.
func (f *finder) decodeFan(ctx context.Context, t *fan, sizes []engine.Size) (again bool, err error) {
	src := [2][]int64{} // at two batch sizes, to see what grows with the batch
	for b := range src {
		for _, s := range sizes {
			src[b] = append(src[b], s.At(f.shapes.Batch[1]+b))
		}
	}
	codes, err := f.trace(ctx, t, sizes, src)
	if err != nil {
		return false, err
	}
	channels := src[0][t.axis]
	layoutOf := func(v *graph.Value) (*layout, error) {
		key := arrival{codes[0][v], t.axis}
		found := f.layouts[key]
		if found == nil {
			found = sync.OnceValues(func() (*layout, error) {
				return decodeTwice([2]*graph.Tensor{codes[0][v], codes[1][v]}, src, t.axis)
			})
			f.layouts[key] = found
		}
		return found()
	}
	for _, leaf := range t.leaves {
		leaf.scale, leaf.shift = make([]float64, channels), make([]float64, channels)
		for i := range leaf.scale {
			leaf.scale[i] = 1
		}
		for i, v := range t.way(leaf.Value) {
			if i > 0 {
				if err := affine(leaf, t.parents[v], codes[0], src[0], t.axis); err != nil {
					f.notPlain[t.parents[v]] = fmt.Sprintf("%s: %v", t.parents[v], err)
					again = true
					break
				}
			}
			if leaf.layout, err = layoutOf(v); err != nil && i > 0 {
				f.notPlain[t.parents[v]] = fmt.Sprintf("%s: %v", t.parents[v], err)
				again = true
				break
			}
			if err != nil {
				leaf.Reason = err.Error()
			}
		}
	}
	return again, nil
}

// arrival is where the numbers of a fan's root arrive, and the root's axis of
// channels. Many values are one rearrangement, or on the way to several leaves, or
// in another block what they are in this one.
type arrival struct {
	codes *graph.Tensor // at the first batch size
	axis  int
}

// decodeTwice decodes the codes of one value at two batch sizes into one
// layout.
func decodeTwice(codes [2]*graph.Tensor, src [2][]int64, axis int) (*layout, error) {
	var ls [2]*layout
	for b, t := range codes {
		xs, err := t.Int64s()
		if err != nil {
			return nil, err
		}
		if ls[b], err = decode(xs, t.Dims, src[b], axis); err != nil {
			return nil, err
		}
	}
	return ls[0], ls[0].grows(ls[1])
}

// way lists the values from the root to v, both included.
func (t *fan) way(v *graph.Value) []*graph.Value {
	vs := []*graph.Value{v}
	for v != t.root {
		v = computed(t.parents[v])[0]
		vs = append(vs, v)
	}
	slices.Reverse(vs)
	return vs
}

// through lists the values that v comes from by operators of one computed
// operand, up to the fan's root.
func (t *fan) through(v *graph.Value) []*graph.Value {
	var vs []*graph.Value
	for v != t.root && v.Producer() != nil && len(computed(v.Producer())) == 1 {
		v = computed(v.Producer())[0]
		vs = append(vs, v)
	}
	return vs
}

// trace runs the layout operators of t on element numbers, at two batch sizes
// that make the root's dimensions src. It returns, for every value of the fan,
// which element of the root stands where.
func (f *finder) trace(ctx context.Context, t *fan, sizes []engine.Size, src [2][]int64) (codes [2]map[*graph.Value]*graph.Tensor, err error) {
	m := graph.NewModel(f.m.Opsets...)
	m.IRVersion = f.m.IRVersion
	g := m.Graph
	dims := make([]graph.Dim, len(sizes))
	for i, s := range sizes {
		if !s.Dynamic() {
			dims[i] = graph.Fixed(s.Fixed)
		}
	}
	names := 0
	name := func() string { names++; return fmt.Sprintf("v%d", names) } // the same in blocks that are
	in := g.AddInput("codes", graph.TensorType(graph.Int64, dims...))
	copies := map[*graph.Value]*graph.Value{t.root: in}
	done := map[*graph.Node]bool{}
	var copyOf func(v *graph.Value) *graph.Value
	copyOf = func(v *graph.Value) *graph.Value {
		if c := copies[v]; c != nil {
			return c
		}
		n := t.parents[v]
		x := copyOf(computed(n)[0])
		if !n.Is(layoutOps...) || n.Is("Identity") {
			copies[v] = x
			return x
		}
		if !done[n] {
			done[n] = true
			c := g.NewNode(n.Op, "")
			for _, a := range n.Attrs() {
				c.SetAttr(a)
			}
			for i, u := range n.Inputs() {
				switch {
				case i == 0:
					c.SetInput(0, x)
				case u != nil:
					c.SetInput(i, g.AddConst(name(), u.Const()))
				}
			}
			for _, o := range n.Outputs() {
				if o == nil {
					c.AddOutput("")
				} else {
					copies[o] = c.AddOutput(name())
				}
			}
		}
		return copies[v]
	}
	wanted := map[*graph.Value]*graph.Value{}
	for _, leaf := range t.leaves {
		for _, v := range t.way(leaf.Value) {
			wanted[v] = copyOf(v)
		}
	}
	asked := map[*graph.Value]bool{}
	for _, c := range wanted {
		if c != in {
			asked[c] = true
		}
	}
	for _, n := range g.Nodes() {
		for _, o := range n.Outputs() {
			if o != nil && asked[o] {
				g.AddOutput(o)
			}
		}
	}
	feeds := []map[string]*graph.Tensor{{in.Name(): f.numbered(src[0])}}
	if !slices.Equal(src[0], src[1]) { // the batch is open
		feeds = append(feeds, map[string]*graph.Tensor{in.Name(): f.numbered(src[1])})
	}
	outs := make([]map[string]*graph.Tensor, len(feeds))
	if f.tracer.Memo.Bytes() > tracedBytes { // of windows, mostly, which are many and large
		f.tracer.Memo = &engine.Memo{}
		clear(f.layouts)
	}
	if len(g.Outputs()) > 0 {
		if outs, err = f.tracer.Runs(ctx, m, feeds...); err != nil {
			return codes, fmt.Errorf("tracing the layout behind %q: %w", t.root.Name(), err)
		}
	}
	for b := range src {
		i := min(b, len(feeds)-1)
		codes[b] = map[*graph.Value]*graph.Tensor{t.root: feeds[i][in.Name()]}
		for v, c := range wanted {
			if codes[b][v] = feeds[i][in.Name()]; c != in {
				codes[b][v] = outs[i][c.Name()]
			}
		}
	}
	return codes, nil
}

// tracedBytes is how much memory traces may take that others may be like.
const tracedBytes = 256 << 20

// numbered returns a tensor whose elements are their own numbers.
func (f *finder) numbered(dims []int64) *graph.Tensor {
	key := fmt.Sprint(dims)
	if f.numbers[key] == nil {
		numbers := make([]int64, graph.Elements(dims))
		for i := range numbers {
			numbers[i] = int64(i)
		}
		f.numbers[key] = graph.NewTensor(dims, numbers)
	}
	return f.numbers[key]
}

// affine adds to leaf's scale and shift what n, on the way to it, does to the
// channels. A constant that differs along anything but channels is an error.
func affine(leaf *Leaf, n *graph.Node, codes map[*graph.Value]*graph.Tensor, src []int64, axis int) error {
	if !n.Is("Mul", "Div", "Add", "Sub") {
		return nil
	}
	x, c := computed(n)[0], n.Input(0)
	if c == x {
		c = n.Input(1)
	}
	k, err := perChannel(c.Const(), codes[x], src, axis)
	if err != nil {
		return err
	}
	for j := range leaf.scale {
		switch n.Op {
		case "Mul":
			leaf.scale[j], leaf.shift[j] = leaf.scale[j]*k[j], leaf.shift[j]*k[j]
		case "Div":
			leaf.scale[j], leaf.shift[j] = leaf.scale[j]/k[j], leaf.shift[j]/k[j]
		case "Add":
			leaf.shift[j] += k[j]
		case "Sub":
			leaf.shift[j] -= k[j]
		}
	}
	return nil
}

// perChannel reads the constant c, broadcast over a tensor of codes, as one
// number per channel of the root.
func perChannel(c, codes *graph.Tensor, src []int64, axis int) ([]float64, error) {
	xs, err := c.Floats()
	if err != nil {
		return nil, err
	}
	out := make([]float64, src[axis])
	if len(xs) == 1 && len(c.Dims) <= len(codes.Dims) {
		for i := range out {
			out[i] = xs[0]
		}
		return out, nil
	}
	off := len(codes.Dims) - len(c.Dims)
	if off < 0 {
		return nil, fmt.Errorf("a constant of shape %v widens %v", c.Dims, codes.Dims)
	}
	for i, d := range c.Dims {
		if d != 1 && d != codes.Dims[off+i] {
			return nil, fmt.Errorf("a constant of shape %v widens %v", c.Dims, codes.Dims)
		}
	}
	all, err := codes.Int64s()
	if err != nil {
		return nil, err
	}
	place, step, cplace := strides(src), strides(codes.Dims), strides(c.Dims)
	known := make([]bool, len(out))
	for i, code := range all {
		at := int64(0)
		for a, d := range c.Dims {
			if d != 1 {
				at += int64(i) / step[off+a] % d * cplace[a]
			}
		}
		ch := code / place[axis] % src[axis]
		if known[ch] && out[ch] != xs[at] {
			return nil, fmt.Errorf("a constant of shape %v differs within one channel", c.Dims)
		}
		known[ch], out[ch] = true, xs[at]
	}
	return out, nil
}
