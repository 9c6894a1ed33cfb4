package structure

import (
	"fmt"
	"slices"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/internal/linalg"
)

// Operand is the way from a linear map to one side of an attention product:
// queries, keys or values.
type Operand struct {
	Linear *Linear
	Leaf   *Leaf
	// Channels[h][j] is the output channel of Linear that feeds position j of
	// head h.
	Channels [][]int

	fan       *fan
	widthAxis int
	heads     []int // factors
	width     []int
}

// newOperand reads the leaf as heads × width, the width on the given axis of
// the target counted from the end, or tells why it cannot be read so.
func newOperand(l *Linear, t *fan, leaf *Leaf, fromEnd int) (o *Operand, reason string) {
	lay := leaf.layout
	axis := len(lay.dst) - fromEnd
	o = &Operand{Linear: l, Leaf: leaf, fan: t, widthAxis: axis}
	if axis < 0 {
		return nil, fmt.Sprintf("its product has rank %d", len(lay.dst))
	}
	for _, f := range lay.dst[axis] {
		if lay.factors[f].axis != lay.channel {
			return nil, "the attention is between channels, not between tokens"
		}
	}
	o.heads, o.width = lay.headFactors(axis)
	if len(o.width) == 0 {
		return nil, "the attention is between channels, not between tokens"
	}
	for _, f := range o.heads {
		if p := lay.dstPlace(f); p.axis >= len(lay.dst)-2 {
			return nil, "heads lie on an axis that the product works on"
		}
	}
	base := []int{int(lay.offset)}
	for _, f := range o.heads {
		base = spread(base, lay.factors[f])
	}
	for _, b := range base {
		cols := []int{b}
		for _, f := range o.width {
			cols = spread(cols, lay.factors[f])
		}
		o.Channels = append(o.Channels, cols)
	}
	return o, ""
}

func spread(base []int, f factor) []int {
	var out []int
	for _, b := range base {
		for i := range int(f.size) {
			out = append(out, b+i*int(f.stride))
		}
	}
	return out
}

// places tells where heads stand among the leading axes of the product, so
// that operands can be paired.
func (o *Operand) places() []place {
	var ps []place
	for _, f := range o.heads {
		ps = append(ps, o.Leaf.layout.dstPlace(f))
	}
	return ps
}

// Head returns the effective map of head h with what the way to the product
// multiplies and adds folded in: a width×(in+1) matrix whose last column is
// the bias.
func (o *Operand) Head(w *mat.Dense, b []float64, h int) *mat.Dense {
	_, in := w.Dims()
	m := mat.NewDense(len(o.Channels[h]), in+1, nil)
	for j, c := range o.Channels[h] {
		row := m.RawRowView(j)
		for i, x := range w.RawRowView(c) {
			row[i] = x * o.Leaf.scale[c]
		}
		row[in] = b[c]*o.Leaf.scale[c] + o.Leaf.shift[c]
	}
	return m
}

// Moment returns the second moment of head h at the product, given the moments
// of its Channels of what the linear map gives: what the way multiplies and adds
// is folded in.
func (o *Operand) Moment(m *linalg.Moments, h int) *mat.SymDense {
	mean, n := m.Mean(), float64(m.Rows)
	cs := o.Channels[h]
	out := mat.NewSymDense(len(cs), nil)
	for i, a := range cs {
		for j := i; j < len(cs); j++ {
			b := cs[j]
			sa, sb, ta, tb := o.Leaf.scale[a], o.Leaf.scale[b], o.Leaf.shift[a], o.Leaf.shift[b]
			out.SetSym(i, j, sa*sb*m.Gram.At(i, j)/n+sa*mean[i]*tb+ta*sb*mean[j]+ta*tb)
		}
	}
	return out
}

// Part is what one leaf of a linear map is rebuilt from: an affine map per
// head, width×(in+1) with the bias as last column, of fewer heads than there
// are where HeadsReason allows it. Heads nil keeps the leaf as it is.
type Part struct {
	Leaf  *Leaf
	Heads []*mat.Dense
	oper  *Operand
}

// Resize says that o's leaf shall be rebuilt from the given heads.
func (o *Operand) Resize(heads []*mat.Dense) Part { return Part{Leaf: o.Leaf, Heads: heads, oper: o} }

// Rebuild puts a new linear map in the place of o's: the leaves named by parts
// are rebuilt, all others of the same map keep their channels. The nodes in
// between are replaced by at most a Split and, per leaf, one Reshape,
// Transpose and Reshape, and a Transpose of the last two axes. What is left unused stays in the graph.
func (o *Operand) Rebuild(m *graph.Model, parts []Part) error {
	g := m.Graph
	w, b, err := o.Linear.Weight()
	if err != nil {
		return err
	}
	_, in := w.Dims()
	leaves := slices.Clone(o.fan.leaves)
	slices.SortStableFunc(leaves, func(x, y *Leaf) int { return int(x.layout.offset - y.layout.offset) })
	var rows []*mat.Dense
	var sizes []int64
	var layouts []*layout
	flip := make([]bool, len(leaves))
	for n, leaf := range leaves {
		i := slices.IndexFunc(parts, func(p Part) bool { return p.Leaf == leaf })
		if i < 0 {
			kept, lay := leaf.keep(w, b)
			rows, layouts, sizes = append(rows, kept), append(layouts, lay), append(sizes, int64(kept.RawMatrix().Rows))
			continue
		}
		p := parts[i]
		width, _ := p.Heads[0].Dims()
		rows = append(rows, p.Heads...)
		lay := leaf.layout.resized(p.oper.heads, p.oper.width, int64(width)).counting(p.oper.heads, len(p.Heads))
		if r := len(lay.dst); p.oper.widthAxis == r-2 {
			lay.dst[r-2], lay.dst[r-1], flip[n] = lay.dst[r-1], lay.dst[r-2], true
		}
		layouts = append(layouts, lay)
		sizes = append(sizes, int64(width*len(p.Heads)))
	}
	weight, bias := stack(rows, in)
	name := o.Linear.Name()
	y, err := o.Linear.Rebuild(g, o.Linear.Input(), name, weight, bias)
	if err != nil {
		return err
	}
	pieces := []*graph.Value{y}
	if len(leaves) > 1 {
		pieces = splitValue(m, y, name+"_split", o.fan.axis, sizes)
	}
	for i, leaf := range leaves {
		at := fmt.Sprintf("%s_%d", name, i)
		v, err := layouts[i].emit(g, pieces[i], at)
		if err != nil {
			return fmt.Errorf("%s: %w", o.Linear.Node, err)
		}
		if flip[i] {
			v = flipped(g, v, len(layouts[i].dst), at)
		}
		leaf.Value.ReplaceUses(castLike(g, v, leaf.rootElem, leaf.elem))
	}
	return nil
}

// Unread returns how many channels of o's linear map nothing reads. Rebuild
// without parts drops them.
func (o *Operand) Unread() int {
	read := 0
	for _, leaf := range o.fan.leaves {
		if leaf.Reason != "" {
			return 0
		}
		heads, _ := leaf.layout.headFactors(-1)
		cols := []int{0}
		for _, f := range heads {
			cols = spread(cols, leaf.layout.factors[f])
		}
		read += len(cols)
	}
	return o.Linear.OutDim - read
}

// flipped appends a Transpose of the last two axes. Runtimes take it into the
// product behind it, which a longer Transpose keeps them from.
func flipped(g *graph.Graph, v *graph.Value, rank int, name string) *graph.Value {
	perm := make([]int64, rank)
	for i := range perm {
		perm[i] = int64(i)
	}
	perm[rank-2], perm[rank-1] = perm[rank-1], perm[rank-2]
	return g.Add("Transpose", name+"_flip", []*graph.Value{v}, graph.Ints("perm", perm...)).Output(0)
}

// keep returns leaf's own channels as rows of an affine map, in the order in
// which its layout, also returned, wants them.
func (leaf *Leaf) keep(w *mat.Dense, b []float64) (*mat.Dense, *layout) {
	lay := *leaf.layout
	lay.src = slices.Clone(lay.src)
	heads, _ := lay.headFactors(-1)
	lay.src[lay.channel] = heads
	cols := []int{int(lay.offset)}
	for _, f := range heads {
		cols = spread(cols, lay.factors[f])
	}
	_, in := w.Dims()
	m := mat.NewDense(len(cols), in+1, nil)
	for j, c := range cols {
		row := m.RawRowView(j)
		for i, x := range w.RawRowView(c) {
			row[i] = x * leaf.scale[c]
		}
		row[in] = b[c]*leaf.scale[c] + leaf.shift[c]
	}
	return m, &lay
}

// stack puts affine maps below each other and splits off the bias, nil when it
// is zero throughout.
func stack(parts []*mat.Dense, in int) (*mat.Dense, []float64) {
	rows := 0
	for _, p := range parts {
		rows += p.RawMatrix().Rows
	}
	w, b := mat.NewDense(rows, in, nil), make([]float64, rows)
	r, zero := 0, true
	for _, p := range parts {
		for i := range p.RawMatrix().Rows {
			row := p.RawRowView(i)
			w.SetRow(r, row[:in])
			b[r] = row[in]
			zero = zero && b[r] == 0
			r++
		}
	}
	if zero {
		return w, nil
	}
	return w, b
}
