package merge

import (
	"fmt"
	"slices"

	"nuwa/graph"
	"nuwa/passes/structure"
	"nuwa/passes/tokens"
)

// Result is what became of the tokens.
type Result struct {
	Sites         int   // behind how many attentions tokens are merged
	Before, After int64 // tokens per sample
}

// Apply merges r tokens behind every attention of vit that all later ones build
// upon, fewer where no r pairs are left, in the graph m, which must be sorted.
// Where that cannot be done the graph stays, and the reason is returned.
func Apply(m *graph.Model, vit *structure.ViT, r int) (Result, string) {
	if m.Opset("") < oldest {
		return Result{}, fmt.Sprintf("it takes operator set %d, the model has %d", oldest, m.Opset(""))
	}
	w, reason := follow(m, vit)
	if reason != "" {
		return Result{}, reason
	}
	e := &editor{walk: w, spell: spell{m.Graph, m.Opset("")}, counts: []int64{w.size}, sizeOf: []*graph.Value{nil}}
	done := Result{Before: w.size}
	for i := range w.sites {
		n := e.counts[i]
		pairs := min(int64(r), (n-int64(len(w.single)))/2)
		e.counts = append(e.counts, n-pairs)
		if pairs > 0 {
			done.Sites++
		}
	}
	done.After = e.counts[len(w.sites)]
	if done.Sites == 0 {
		return Result{}, "there are no two tokens to merge"
	}
	e.resize()
	for i := range w.sites {
		e.merge(i)
	}
	e.weigh()
	return done, ""
}

// editor makes the changes that a walk found to be possible.
type editor struct {
	*walk
	spell
	counts []int64        // tokens by how many merges lie behind
	sizeOf []*graph.Value // how many each of them stands for, [batch, tokens, 1]; nil before the first merge
}

// resize makes all that states how many tokens there are, or which, fit.
func (e *editor) resize() {
	for _, r := range e.resized {
		for _, t := range r.tracks {
			if t.epoch == 0 {
				continue
			}
			n := e.counts[t.epoch] - int64(t.skip)
			if t.share != alone {
				n *= e.batch().Fixed // where it is not, nothing states it
			}
			e.rules(t).Resize(r.node, t.axis, n)
		}
		for i, axes := range r.alike {
			v := r.node.Input(i)
			c := v.Const()
			for _, axis := range axes {
				c = tokens.Take(c, axis, []int64{0})
			}
			r.node.SetInput(i, e.g.AddConst(v.Name(), c))
		}
		for _, o := range r.node.Outputs() {
			if o != nil {
				o.Type = nil
			}
		}
	}
	for _, s := range e.selectors {
		if s.of.epoch == 0 {
			continue
		}
		kept := e.single
		if len(e.tracks[s.node.Output(0)]) > 0 { // all from one on: those before it stay in front
			kept = upTo(int(e.counts[s.of.epoch]))
			kept[len(kept)-1] = e.size - 1
		}
		e.rules(s.of).Reselect(s.node, kept)
	}
}

// merge writes the merge at site i.
func (e *editor) merge(i int) {
	s := e.sites[i]
	n, pairs := e.counts[i], e.counts[i]-e.counts[i+1]
	if pairs == 0 {
		e.sizeOf = append(e.sizeOf, e.sizeOf[i])
		return
	}
	uses, x := slices.Clone(s.at.Uses()), s.at
	swap := func() { x = e.node("Transpose", []*graph.Value{x}, graph.Ints("perm", 1, 0, 2)).Output(0) }
	if s.axis == 0 {
		swap()
	}
	p := pairing{spell: e.spell, n: n, pairs: pairs, elem: e.shapes.Elem(s.at), size: e.sizeOf[i], single: e.single}
	if p.size == nil {
		p.size = e.ones(x, p.elem)
	} else {
		p.single = upTo(len(e.single)) // where the first merge put them
	}
	p.deal()
	keys, _ := e.shapes.Of(s.keys)
	p.match(e.metric(s.keys, s.heads, keys[len(keys)-2].Fixed, n))
	e.sizeOf = append(e.sizeOf, p.sizes())
	stream, _ := e.shapes.Of(s.at)
	if x = p.merged(x, stream[2].Fixed); s.axis == 0 {
		swap()
	}
	for _, u := range uses {
		u.Node.SetInput(u.Index, x)
	}
}

// weigh has later attentions, and sums over tokens, count tokens by their size.
func (e *editor) weigh() {
	for _, s := range e.softmaxes {
		if size := e.sizeOf[s.of.epoch]; size != nil {
			logits := s.node.Input(0)
			d, _ := e.shapes.Of(logits)
			log := e.op("Log", e.cast(e.after(size, s.of.skip), e.shapes.Elem(logits)))
			rows := d[0].At(e.shapes.Batch[1]) / e.batch().At(e.shapes.Batch[1])
			s.node.SetInput(0, e.op("Add", logits, e.along(log, len(d), s.of.axis, rows, e.counts[s.of.epoch]-int64(s.of.skip))))
		}
	}
	for _, s := range e.sums {
		if size := e.sizeOf[s.of.epoch]; size != nil {
			v := s.node.Input(0)
			d, _ := e.shapes.Of(v)
			weight := e.cast(e.after(size, s.of.skip), e.shapes.Elem(v))
			if s.node.Is("ReduceMean") { // which divides by how many there are now
				skip := int64(s.of.skip)
				weight = e.op("Mul", weight, e.number(e.shapes.Elem(v), float64(e.counts[s.of.epoch]-skip)/float64(e.size-skip)))
			}
			s.node.SetInput(0, e.op("Mul", v, e.along(weight, len(d), s.of.axis, 1, e.counts[s.of.epoch]-int64(s.of.skip))))
		}
	}
}

// upTo lists the whole numbers below n.
func upTo(n int) []int64 {
	xs := make([]int64, n)
	for i := range xs {
		xs[i] = int64(i)
	}
	return xs
}
