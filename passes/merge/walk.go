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
	parts bool // each has a part of what all have together, as probabilities are: a merged one has the parts of all it stands for
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
