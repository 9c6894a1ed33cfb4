package merge

import (
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/passes/tokens"
)

// selects takes n for one that takes tokens by their numbers, which must not be
// merged then, or all but some first ones.
func (w *walk) selects(n *graph.Node, carrying map[int][]track) bool {
	ts := carrying[0]
	if len(ts) != 1 || len(carrying) != 1 || ts[0].share != alone || !n.Is("Gather", "Slice") {
		return false
	}
	t := ts[0]
	axis, at := w.rules(t).Selects(n)
	size := w.size - int64(t.skip)
	switch {
	case at == nil || axis != t.axis || t.skip > 0:
		return false
	case n.Is("Slice") && at[0] <= size/2 && at[len(at)-1] == size-1:
		for i := range at[0] {
			w.single = append(w.single, i)
		}
		t.skip = int(at[0])
		w.tracks[n.Output(0)] = []track{t}
	case int64(len(at)) > size/2:
		return false
	default:
		w.single = append(w.single, at...)
	}
	w.selectors = append(w.selectors, seen{n, ts[0]})
	return true
}

// reduces takes n for a sum, a mean or a maximum over tokens.
func (w *walk) reduces(n *graph.Node, carrying map[int][]track) bool {
	ts := carrying[0]
	if len(ts) != 1 || ts[0].share != alone || ts[0].parts || !n.Is("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin") {
		return false
	}
	in, _ := w.shapes.Of(n.Input(0))
	axes := tokens.Axes(n, len(in))
	if !slices.Contains(axes, ts[0].axis) || slices.Contains(axes, 0) || in[0] != w.batch() {
		return false
	}
	if n.Is("ReduceMean", "ReduceSum") {
		w.sums = append(w.sums, seen{n, ts[0]})
	}
	return true
}

// folds takes n for a Reshape that puts batch and tokens onto one axis, or takes
// them apart again.
func (w *walk) folds(n *graph.Node, carrying map[int][]track) bool {
	ts := carrying[0]
	if !n.Is("Reshape") || len(ts) != 1 || n.Input(1) == nil || n.Input(1).Const() == nil {
		return false
	}
	t := ts[0]
	in, _ := w.shapes.Of(n.Input(0))
	out, _ := w.shapes.Of(n.Output(0))
	target, err := n.Input(1).Const().Ints()
	if err != nil || slices.Contains(target, 0) {
		return false
	}
	many := engine.Size{Fixed: w.size - int64(t.skip)}
	both := times(w.batch(), many.Fixed)
	if both == many {
		return false // a batch of one changes nothing
	}
	starts := func(d []engine.Size, want ...engine.Size) bool {
		return len(d) > len(want) && slices.Equal(d[:len(want)], want)
	}
	switch { // what comes first in memory stays first
	case t.share == alone && t.axis == 0 && starts(in, many) && starts(out, both):
		t.share = within
	case t.share == alone && t.axis == 1 && starts(in, w.batch(), many) && starts(out, both):
		t.axis, t.share = 0, around
	case t.share == within && starts(in, both) && starts(out, many):
		t.share = alone
	case t.share == around && starts(in, both) && starts(out, w.batch(), many):
		t.axis, t.share = 1, alone
	default:
		return false
	}
	w.tracks[n.Output(0)] = []track{t}
	w.resized = append(w.resized, resized{node: n, tracks: []track{t}})
	return true
}

// passes takes n for one that keeps tokens apart, or is a part of attention.
func (w *walk) passes(n *graph.Node, carrying map[int][]track) bool {
	out, ok := w.shapes.Of(n.Output(0))
	if !ok {
		return false
	}
	a := w.attention[n]
	if a != nil && n == a.Softmax && w.overKeys(n, carrying[0], len(out)) {
		return true
	}
	covered := 0
	r := resized{node: n, alike: map[int][]int{}}
	for axis := range out {
		for _, t := range distinct(carrying) {
			operands, ok := w.rules(t).Operands(n, axis)
			if !ok {
				continue
			}
			hits, ok := w.agree(n, operands, carrying, t, r.alike)
			if !ok {
				return false
			}
			if hits > 0 {
				covered += hits
				r.tracks = append(r.tracks, t.at(axis))
				break
			}
		}
	}
	ends := a != nil && n == a.PV && contracts(w, n, carrying)
	if ends {
		covered += 2
	}
	total := 0
	for _, ts := range carrying {
		total += len(ts)
	}
	if covered != total || len(r.tracks) == 0 && !ends {
		return false
	}
	for _, o := range n.Outputs() {
		if o != nil {
			w.tracks[o] = slices.Clone(r.tracks)
		}
	}
	w.resized = append(w.resized, r)
	return true
}

// distinct lists what is told apart among all tracks, whatever the axis.
func distinct(carrying map[int][]track) []track {
	var all []track
	for i := range 16 {
		for _, t := range carrying[i] {
			if !slices.Contains(all, t.at(0)) {
				all = append(all, t.at(0))
			}
		}
	}
	return all
}

// agree counts the operands that hold the tokens t along the given axes. All
// others must be constants that say the same for every token, which it adds to
// alike.
func (w *walk) agree(n *graph.Node, operands map[int]int, carrying map[int][]track, t track, alike map[int][]int) (hits int, ok bool) {
	for i, axis := range operands {
		if slices.Contains(carrying[i], t.at(axis)) {
			hits++
		}
	}
	if hits == 0 {
		return 0, true
	}
	for i, axis := range operands {
		c := n.Input(i).Const()
		switch {
		case slices.Contains(carrying[i], t.at(axis)):
		case t.epoch == 0:
		case c == nil:
			w.decline("%s combines merged tokens with %q, of which they were not", n, n.Input(i).Name())
			return 0, false
		case !uniform(c, axis):
			w.decline("%s gives every token a constant of its own", n)
			return 0, false
		default:
			alike[i] = append(alike[i], axis)
		}
	}
	return hits, true
}

// overKeys takes the softmax n for one over all keys, each with a logit.
func (w *walk) overKeys(n *graph.Node, ts []track, rank int) bool {
	axis := tokens.SoftmaxAxis(n, w.m.Opset(""), rank)
	i := slices.IndexFunc(ts, func(t track) bool { return t.axis == axis })
	if i < 0 || axis != rank-1 {
		return false
	}
	if _, _, reason := w.attention[n].Keys(w.shapes); reason != "" {
		if ts[i].epoch > 0 {
			w.decline("%s: %s", n, reason)
		}
		return false
	}
	w.softmaxes = append(w.softmaxes, seen{n, ts[i]})
	ts = slices.Clone(ts)
	ts[i].parts = true
	w.tracks[n.Output(0)] = ts
	return true
}

// contracts reports whether the product n sums over the tokens of both sides, of
// which one has parts.
func contracts(w *walk, n *graph.Node, carrying map[int][]track) bool {
	a, _ := w.shapes.Of(n.Input(0))
	b, _ := w.shapes.Of(n.Input(1))
	for _, t := range carrying[0] {
		other := t.at(len(b) - 2)
		other.parts = !t.parts
		if t.axis == len(a)-1 && slices.Contains(carrying[1], other) {
			return true
		}
	}
	return false
}

// uniform reports whether t has the same elements at every place of an axis.
func uniform(t *graph.Tensor, axis int) bool {
	inner := graph.Elements(t.Dims[axis+1:]) * int64(t.Type.Bits()/8)
	row := t.Dims[axis] * inner
	for o := int64(0); o < int64(len(t.Data)); o += row {
		for j := inner; j < row; j += inner {
			if string(t.Data[o:o+inner]) != string(t.Data[o+j:o+j+inner]) {
				return false
			}
		}
	}
	return len(t.Data) > 0
}
