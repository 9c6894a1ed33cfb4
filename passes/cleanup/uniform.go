package cleanup

import (
	"bytes"
	"math"

	"nuwa/graph"
)

// uniformDepth limits how far back the operators are followed that make a value
// of one number.
const uniformDepth = 12

// uniform returns the number that all elements of v are, whatever its shape is:
// that of a constant, or of one that was expanded to a batch, negated or selected.
// Masks that leave nothing out are such values.
func uniform(v *graph.Value, depth int) (float64, bool) {
	if v == nil || depth == 0 {
		return 0, false
	}
	if t := v.Const(); t != nil {
		return sole(t)
	}
	n := v.Producer()
	of := func(i int) (float64, bool) { return uniform(n.Input(i), depth-1) }
	switch {
	case n.Is("Identity", "Expand", "Tile", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Gather"):
		return of(0)
	case n.Is("Cast", "CastLike"):
		x, ok := of(0)
		return x, ok && (x == 0 || x == 1) // the same in every type
	case n.Is("Not"):
		x, ok := of(0)
		return 1 - x, ok
	case n.Is("ConstantOfShape"):
		if a := n.Attr("value"); a != nil && len(a.Tensors) == 1 {
			return sole(a.Tensors[0])
		}
		return 0, true
	case n.Is("Where"):
		if c, ok := of(0); ok {
			return of(2 - int(c))
		}
	}
	return 0, false
}

// sole returns the number that all elements of t are.
func sole(t *graph.Tensor) (float64, bool) {
	size := t.Type.Bits() / 8
	if t.Len() == 0 || size == 0 || len(t.Data) < size || !bytes.Equal(t.Data[size:], t.Data[:len(t.Data)-size]) {
		return 0, false
	}
	one := &graph.Tensor{Type: t.Type, Data: t.Data[:size], Dims: []int64{1}}
	xs, err := one.Floats()
	if err != nil {
		return 0, false
	}
	return xs[0], true
}

// allAre reports whether all elements of v are x.
func allAre(v *graph.Value, x float64) bool {
	y, ok := uniform(v, uniformDepth)
	return ok && x == y
}

// guarded returns the probabilities p that n, Where(IsNaN(p), c, p), gives back
// because none of them can be NaN, nil if some may. PyTorch puts this after every
// softmax of attention that may be masked, with zero for c: the softmax of a row
// whose logits are all −∞ is not defined. Without a mask it always is, unless the
// logits overflow, as those in half precision may.
func guarded(n *graph.Node) *graph.Value {
	p := n.Input(2)
	if test := n.Input(0).Producer(); !n.Is("Where") || !test.Is("IsNaN") || test.Input(0) != p || !p.Producer().Is("Softmax") {
		return nil
	}
	if !unmasked(p.Producer().Input(0), uniformDepth) {
		return nil
	}
	return p
}

// room is how large the constants may be that are added to logits, or scale them,
// such that sums with them are far from overflow in single precision.
const room = 1e9

// unmasked reports whether v is made of products by scaling and adding moderate
// constants, so that no element is −∞.
func unmasked(v *graph.Value, depth int) bool {
	if v == nil || depth == 0 {
		return false
	}
	if t := v.Const(); t != nil {
		xs, err := t.Floats()
		for _, x := range xs {
			if !(math.Abs(x) <= room) {
				return false
			}
		}
		return err == nil
	}
	n := v.Producer()
	switch {
	case n.Is("MatMul", "Einsum"):
		return true
	case n.Is("Gemm", "Conv"):
		return n.Input(2) == nil || unmasked(n.Input(2), depth-1)
	case n.Is("Add", "Sub", "Mul"):
		return unmasked(n.Input(0), depth-1) && unmasked(n.Input(1), depth-1)
	case n.Is("Div"):
		x, ok := uniform(n.Input(1), depth)
		return ok && math.Abs(x) >= 1/room && unmasked(n.Input(0), depth-1)
	case n.Is("Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Expand"):
		return unmasked(n.Input(0), depth-1)
	}
	return false
}
