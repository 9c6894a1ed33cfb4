package structure

import (
	"context"
	"fmt"
	"slices"

	"nuwa/graph"
)

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
