package merge

import (
	"fmt"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/passes/structure"
	"nuwa/passes/tokens"
)

// track is an axis along which a value holds tokens.
type track struct {
	axis  int // from the front
	epoch int // how many merges lie behind
	skip  int // how many of the first tokens are left out
	share sharing
}

// sharing says what else lies on an axis of tokens.
type sharing int

const (
	alone  sharing = iota // nothing
	within                // each token's samples
	around                // each sample's tokens
)

// at is the same tokens along another axis.
func (t track) at(axis int) track { t.axis = axis; return t }

// site is a place where tokens are merged.
type site struct {
	keys  *graph.Value // [batch, heads, width, tokens] or [batch·heads, width, tokens]
	heads int64
	at    *graph.Value // [batch, tokens, channels] or [tokens, batch, channels]
	axis  int          // of its tokens
}

// resized is a node that tokens pass one by one.
type resized struct {
	node   *graph.Node
	tracks []track       // of its results
	alike  map[int][]int // constant operands that say the same for every token, along these axes
}

// seen is a node that does something else with tokens.
type seen struct {
	node *graph.Node
	of   track // of its first operand
}

// walk follows the tokens from the first attention to the outputs.
type walk struct {
	m      *graph.Model
	shapes *engine.Shapes
	size   int64 // tokens before the first merge

	attention map[*graph.Node]*structure.Attention // by softmax and by product with values
	ends      map[*graph.Value]*structure.Attention
	tracks    map[*graph.Value][]track

	sites     []site
	resized   []resized
	selectors []seen
	sums      []seen // sums and means over tokens
	softmaxes []seen // over keys
	single    []int64
	reason    string
}

func (w *walk) decline(format string, args ...any) {
	if w.reason == "" {
		w.reason = fmt.Sprintf(format, args...)
	}
}

// follow walks through the graph, which must be sorted. It returns why tokens
// cannot be merged, or nothing.
func follow(m *graph.Model, vit *structure.ViT) (*walk, string) {
	w := &walk{m: m, shapes: vit.Shapes, attention: map[*graph.Node]*structure.Attention{}, tracks: map[*graph.Value][]track{}}
	for _, a := range vit.Attentions {
		w.attention[a.Softmax], w.attention[a.PV] = a, a
	}
	if len(vit.Attentions) == 0 {
		return w, "no attention is understood"
	}
	if reason := w.start(vit.Attentions[0]); reason != "" {
		return w, reason
	}
	w.ends = w.bottlenecks(vit.Attentions)
	for _, n := range m.Graph.Nodes() {
		if w.visit(n); w.reason != "" {
			return w, w.reason
		}
	}
	if len(w.sites) == 0 {
		return w, "no attention is followed by a value that all later ones depend on"
	}
	slices.Sort(w.single)
	w.single = slices.Compact(w.single)
	return w, ""
}

// start marks the tokens that the first attention's keys are made of.
func (w *walk) start(a *structure.Attention) string {
	if a.K == nil {
		return a.QKReason
	}
	logits, ok := w.shapes.Of(a.QK.Output(0))
	x := a.K.Linear.In
	in, known := w.shapes.Of(x)
	if p := x.Producer(); known && len(in) == 2 && p.Is("Reshape") { // which folds the batch and the tokens
		x = p.Input(0)
		in, known = w.shapes.Of(x)
	}
	if !ok || !known || logits[len(logits)-1].Dynamic() {
		return "the number of keys is not known"
	}
	w.size = logits[len(logits)-1].Fixed
	for axis := range 2 {
		if len(in) == 3 && a.K.Linear.Axis == 1 && in[axis] == (engine.Size{Fixed: w.size}) && in[1-axis] == w.batch() {
			w.tracks[x] = []track{{axis: axis}}
			return ""
		}
	}
	return fmt.Sprintf("%q does not hold the tokens of a sample on an axis of its own, as many as there are keys", x.Name())
}

func (w *walk) batch() engine.Size {
	if w.shapes.Batch[0] == w.shapes.Batch[1] {
		return engine.Size{Fixed: int64(w.shapes.Batch[0])}
	}
	return engine.Size{PerBatch: 1}
}

// bottlenecks finds, for each attention, the first value behind it that is all
// that is left of the tokens at that time.
func (w *walk) bottlenecks(attentions []*structure.Attention) map[*graph.Value]*structure.Attention {
	nodes := w.m.Graph.Nodes()
	last, at := map[*graph.Value]int{}, map[*graph.Node]int{}
	for i, n := range nodes {
		at[n] = i
		for _, v := range n.Inputs() {
			last[v] = i
		}
	}
	for _, v := range w.m.Graph.Outputs() {
		last[v] = len(nodes)
	}
	ends := map[*graph.Value]*structure.Attention{}
	live := map[*graph.Value]bool{}
	next := 0 // the attention that is looked behind
	for i, n := range nodes {
		for _, v := range n.Inputs() {
			if last[v] == i {
				delete(live, v)
			}
		}
		for _, v := range n.Outputs() {
			if v != nil && last[v] > i && w.shapes.Elem(v).IsFloat() && w.holdsTokens(v) {
				live[v] = true
			}
		}
		for next < len(attentions) && (next+1 < len(attentions) && at[attentions[next+1].QK] <= i) {
			next++ // nothing was found behind it
		}
		v := n.Output(0)
		if next < len(attentions) && i > at[attentions[next].PV] && len(live) == 1 && live[v] && w.isStream(v) {
			ends[v] = attentions[next]
			next++
		}
	}
	return ends
}

func (w *walk) holdsTokens(v *graph.Value) bool {
	d, ok := w.shapes.Of(v)
	return !ok || slices.Contains(d, engine.Size{Fixed: w.size}) || slices.Contains(d, times(w.batch(), w.size))
}

func times(s engine.Size, n int64) engine.Size {
	return engine.Size{Fixed: s.Fixed * n, PerBatch: s.PerBatch * n}
}

func (w *walk) isStream(v *graph.Value) bool {
	d, ok := w.shapes.Of(v)
	n, b := engine.Size{Fixed: w.size}, w.batch()
	return ok && len(d) == 3 && (d[0] == b && d[1] == n || d[0] == n && d[1] == b)
}

// visit works out along which axes the results of n hold tokens.
func (w *walk) visit(n *graph.Node) {
	carrying := map[int][]track{}
	merged := false
	for i, v := range n.Inputs() {
		if ts := w.tracks[v]; v != nil && len(ts) > 0 {
			carrying[i] = ts
			merged = merged || ts[0].epoch > 0
		}
	}
	if len(carrying) == 0 {
		return
	}
	ok := (n.Domain == "" || n.Domain == "ai.onnx") && len(n.Subgraphs()) == 0 && (w.selects(n, carrying) || w.reduces(n, carrying) || w.folds(n, carrying) || w.passes(n, carrying))
	if !ok {
		if merged {
			w.decline("%s does not keep tokens apart", n)
		}
		return // before the first merge, others may do what they want
	}
	for _, o := range n.Outputs() {
		if o == nil || len(w.tracks[o]) == 0 {
			continue
		}
		if a := w.ends[o]; a != nil {
			w.merge(a, o)
		}
		if w.tracks[o][0].epoch == 0 {
			continue
		}
		if o.IsOutput() {
			w.decline("the output %q holds all tokens", o.Name())
		}
		for _, u := range o.Users() {
			if u.Graph() != w.m.Graph {
				w.decline("%q is read by a nested graph", o.Name())
			}
		}
	}
}

// merge notes that the tokens of v are merged by the keys of a.
func (w *walk) merge(a *structure.Attention, v *graph.Value) {
	t := w.tracks[v]
	kt, heads, reason := a.Keys(w.shapes)
	if reason == "" && (len(t) != 1 || t[0].axis > 1 || t[0].skip > 0 || t[0].share != alone) {
		reason = fmt.Sprintf("%q holds something else than all tokens", v.Name())
	}
	if reason == "" {
		d, _ := w.shapes.Of(kt)
		if !slices.Equal(w.tracks[kt], []track{t[0].at(len(d) - 1)}) {
			reason = fmt.Sprintf("its keys are not those of the tokens of %q, one by one", v.Name())
		}
	}
	if reason != "" {
		w.decline("%s: %s", a.Softmax, reason)
		return
	}
	w.sites = append(w.sites, site{keys: kt, heads: heads, at: v, axis: t[0].axis})
	t[0].epoch++
}

// rules are those for the tokens of t.
func (w *walk) rules(t track) tokens.Rules {
	size := engine.Size{Fixed: w.size - int64(t.skip)}
	if t.share != alone {
		size = times(w.batch(), size.Fixed)
	}
	return tokens.Rules{Model: w.m, Shapes: w.shapes, Size: size}
}

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
	if len(ts) != 1 || ts[0].share != alone || !n.Is("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin") {
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
		w.tracks[n.Output(0)] = slices.Clone(carrying[0])
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
	return true
}

// contracts reports whether the product n sums over the tokens of both sides.
func contracts(w *walk, n *graph.Node, carrying map[int][]track) bool {
	a, _ := w.shapes.Of(n.Input(0))
	b, _ := w.shapes.Of(n.Input(1))
	for _, t := range carrying[0] {
		if t.axis == len(a)-1 && slices.Contains(carrying[1], t.at(len(b)-2)) {
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
