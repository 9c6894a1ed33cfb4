package cleanup

import (
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// Identities bypasses operators that give back what they read, and returns how
// many operands that changed: Identity, Dropout in inference, casts to the
// type that is there, sums and concatenations of one thing, layout operators
// that change nothing, x+0 and x·1, selections that always select the same, and
// guards against NaN where there is none. Which layout operators change nothing
// is judged by shapes; without them (nil) only those that do so by their
// attributes alone are bypassed.
//
// Reshape, Flatten, Squeeze and Unsqueeze keep the order of elements, so a
// chain of them that ends in a shape which it had before is cut short there.
func Identities(m *graph.Model, shapes *engine.Shapes) int {
	count := 0
	for _, g := range graphs(m.Graph) {
		f := idler{opset: m.Opset("")}
		if g == m.Graph {
			f.shapes = shapes // names of nested graphs are not known to shapes
		}
		for _, n := range slices.Clone(g.Nodes()) {
			if n.Graph() == nil || n.Output(0) == nil || len(n.Output(0).Uses()) == 0 {
				continue
			}
			if w := f.same(n); w != nil && bypass(n.Output(0), w) {
				count++
			}
		}
	}
	return count
}

type idler struct {
	opset  int64
	shapes *engine.Shapes
}

// same returns a value that the result of n always equals, nil if there is none.
func (f *idler) same(n *graph.Node) *graph.Value {
	x, y := n.Input(0), n.Output(0)
	if x == nil {
		return nil
	}
	idle := false
	switch {
	case n.Is("Identity"):
		idle = true
	case n.Is("Dropout"):
		mask := n.Output(1)
		idle = inference(n, f.opset) && (mask == nil || len(mask.Uses()) == 0)
	case n.Is("Concat", "Sum", "Mean", "Max", "Min"):
		idle = len(n.Inputs()) == 1
	case n.Is("Cast"):
		t := f.elem(x)
		idle = t != graph.Undefined && int64(t) == n.IntAttr("to", 0)
	case n.Is("Transpose"):
		return f.transpose(n)
	case n.Is("Reshape", "Flatten", "Squeeze", "Unsqueeze"):
		for src := x; src != nil; src = src.Producer().Input(0) {
			if f.equal(src, y) {
				return src
			}
			if !src.Producer().Is("Reshape", "Flatten", "Squeeze", "Unsqueeze") {
				return nil
			}
		}
		return nil
	case n.Is("Expand", "Tile"):
		idle = f.equal(x, y)
	case n.Is("Slice"):
		idle = forward(n, f.opset) && f.equal(x, y)
	case n.Is("Pad"):
		idle = f.opset >= 11 && allAre(n.Input(1), 0) && f.equal(x, y)
	case n.Is("Add"):
		if allAre(x, 0) && f.equal(n.Input(1), y) {
			return n.Input(1)
		}
		idle = allAre(n.Input(1), 0) && f.equal(x, y)
	case n.Is("Mul"):
		if allAre(x, 1) && f.equal(n.Input(1), y) {
			return n.Input(1)
		}
		idle = allAre(n.Input(1), 1) && f.equal(x, y)
	case n.Is("Sub"):
		idle = allAre(n.Input(1), 0) && f.equal(x, y)
	case n.Is("Div"):
		idle = allAre(n.Input(1), 1) && f.equal(x, y)
	case n.Is("Where"):
		if c, ok := uniform(x, uniformDepth); ok {
			if w := n.Input(2 - int(c)); f.equal(w, y) {
				return w
			}
			return nil
		}
		if p := guarded(n); p != nil && f.elem(p) != graph.Float16 && f.equal(p, y) {
			return p
		}
	}
	if idle {
		return x
	}
	return nil
}

// inference reports whether a Dropout gives back its input.
func inference(n *graph.Node, opset int64) bool {
	switch {
	case opset < 7:
		return n.IntAttr("is_test", 0) == 1
	case opset < 12:
		return true
	}
	return n.Input(2) == nil || allAre(n.Input(2), 0)
}

// transpose finds what a Transpose equals: its input, if only dimensions of
// size one change places, or what an earlier Transpose read that it undoes.
func (f *idler) transpose(n *graph.Node) *graph.Value {
	x := n.Input(0)
	perm, ok := n.IntsAttr("perm")
	if !ok {
		return nil
	}
	if !slices.ContainsFunc(perm, func(p int64) bool { return p < 0 || p >= int64(len(perm)) }) {
		if keepsOrder(perm) {
			return x
		}
		if sizes, ok := f.of(x); ok && len(sizes) == len(perm) && f.equal(x, n.Output(0)) {
			long := slices.DeleteFunc(slices.Clone(perm), func(p int64) bool { return sizes[p] == engine.Size{Fixed: 1} })
			if slices.IsSorted(long) {
				return x
			}
		}
	}
	first := x.Producer()
	before, ok := []int64(nil), false
	if first.Is("Transpose") {
		before, ok = first.IntsAttr("perm")
	}
	if !ok || len(before) != len(perm) {
		return nil
	}
	both := make([]int64, len(perm))
	for i, p := range perm {
		if p < 0 || p >= int64(len(before)) {
			return nil
		}
		both[i] = before[p]
	}
	if keepsOrder(both) {
		return first.Input(0)
	}
	return nil
}

func keepsOrder(perm []int64) bool {
	for i, p := range perm {
		if p != int64(i) {
			return false
		}
	}
	return true
}

// forward reports whether a Slice has no steps but positive ones.
func forward(n *graph.Node, opset int64) bool {
	if opset < 10 || n.Input(4) == nil {
		return true
	}
	t := n.Input(4).Const()
	if t == nil {
		return false
	}
	steps, err := t.Ints()
	return err == nil && !slices.ContainsFunc(steps, func(s int64) bool { return s <= 0 })
}

func (f *idler) of(v *graph.Value) ([]engine.Size, bool) {
	if f.shapes == nil {
		return nil, false
	}
	return f.shapes.Of(v)
}

func (f *idler) elem(v *graph.Value) graph.DType {
	if t := v.Default(); t != nil {
		return t.Type
	}
	if f.shapes == nil {
		return graph.Undefined
	}
	return f.shapes.Elem(v)
}

// equal reports whether v and w have the same dimensions at every batch size.
func (f *idler) equal(v, w *graph.Value) bool {
	a, ok1 := f.of(v)
	b, ok2 := f.of(w)
	return ok1 && ok2 && slices.Equal(a, b)
}
