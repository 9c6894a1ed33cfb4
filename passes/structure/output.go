package structure

import (
	"context"
	"fmt"
	"slices"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/internal/linalg"
)

// Output is the way from the product P·V to the output projection.
type Output struct {
	Linear *Linear
	leaf   *Leaf
	heads  []int // factors of the projection's input axis
	width  []int
	axis   int // the projection's input axis in the target
	Scale  float64
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
func (o *Output) Rows(width int) [][]int { return o.rows(o.layout(o.Count(), width)) }

// layout returns the way to the projection for so many heads of a width.
func (o *Output) layout(heads, width int) *layout {
	return o.leaf.layout.resized(nil, o.width, int64(width)).counting(o.heads, heads)
}

// Count returns how many heads the projection takes now.
func (o *Output) Count() int {
	n := int64(1)
	for _, f := range o.heads {
		n *= o.leaf.layout.factors[f].size
	}
	return int(n)
}

func (o *Output) rows(lay *layout) [][]int {
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
// width×out matrices, one per head, with shift added to its bias unless that is
// nil. The product P·V must give so many heads of that width by then.
func (o *Output) Rebuild(m *graph.Model, product *graph.Node, heads []*mat.Dense, shift []float64) error {
	width, out := heads[0].Dims()
	_, b, err := o.Linear.Weight()
	if err != nil {
		return err
	}
	lay := o.layout(len(heads), width)
	rows := o.rows(lay)
	w := mat.NewDense(out, width*len(heads), nil)
	for h, hm := range heads {
		for j, r := range rows[h] {
			for i := range out {
				w.Set(i, r, hm.At(j, i))
			}
		}
	}
	if o.Linear.B == nil && shift == nil {
		b = nil
	}
	for i, x := range shift {
		b[i] += x
	}
	name := o.Linear.Name()
	v, err := lay.emit(m.Graph, product.Output(0), name+"_heads")
	if err != nil {
		return fmt.Errorf("%s: %w", o.Linear.Node, err)
	}
	v = castLike(m.Graph, v, o.leaf.rootElem, o.leaf.elem)
	return o.Linear.Replace(m.Graph, v, w, b)
}
