package cleanup

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// batches are the sizes at which shape arithmetic is run: two tell how a
// number grows with the batch, the third proves it.
var batches = []int{2, 3, 1}

// Frozen is what Freeze did.
type Frozen struct {
	Constants int      // values that became constants
	Targets   int      // Reshape targets that became constants although the batch is open
	Rerooted  int      // values rebuilt from the batch of a graph input
	Branches  int      // If nodes replaced by the branch they take
	Zeros     int      // Reshape nodes that need not allow for sizes of zero
	Nodes     int      // nodes that went
	Kept      []string // shape arithmetic that stays, and why
}

// Freeze replaces what depends on the inputs only through Shape or Size:
//
//   - what is the same at every batch size becomes a constant;
//   - the target of a Reshape becomes a constant that holds 0 where a dimension
//     that grows with the batch is copied from the same place, and −1 for one
//     other; a copy is checked by every run, so 0 is preferred;
//   - other integers that grow with the batch are rebuilt from the first
//     dimension of a graph input, so that nothing asks an inner value for its
//     shape;
//   - an If whose condition became constant is replaced by the branch it takes;
//   - allowzero, which PyTorch always sets and older operator sets lack, is taken
//     off a Reshape to a constant target without zeros.
//
// All values are run at three batch sizes in one session. A value that is no
// affine function of the batch size stays, and is listed.
func Freeze(ctx context.Context, eng *engine.Engine, m *graph.Model) (Frozen, error) {
	var done Frozen
	for {
		done.Kept = nil
		if err := freezeOnce(ctx, eng, m, &done); err != nil {
			return done, err
		}
		branches, err := Branches(m)
		if err != nil {
			return done, err
		}
		if branches == 0 {
			done.Zeros = denyZeros(m)
			return done, nil
		}
		done.Branches += branches
		Constants(m)
		folded, err := Fold(ctx, eng, m)
		if err != nil {
			return done, err
		}
		done.Constants += folded.Values
		done.Nodes += folded.Nodes
	}
}

// denyZeros takes allowzero off where it says nothing, and returns how often.
func denyZeros(m *graph.Model) int {
	count := 0
	for _, g := range graphs(m.Graph) {
		for _, n := range g.Nodes() {
			if !n.Is("Reshape") || n.IntAttr("allowzero", 0) == 0 || n.Input(1) == nil || n.Input(1).Const() == nil {
				continue
			}
			if target, err := n.Input(1).Const().Ints(); err == nil && !slices.Contains(target, 0) {
				n.RemoveAttr("allowzero")
				count++
			}
		}
	}
	return count
}

func freezeOnce(ctx context.Context, eng *engine.Engine, m *graph.Model, done *Frozen) error {
	if err := m.Graph.Sort(); err != nil {
		return err
	}
	f := &freezer{m: m, cone: shapeCone(m.Graph), done: done, seen: map[*graph.Value]bool{}}
	var names []string
	for _, v := range f.results() {
		names = append(names, v.Name())
	}
	if len(names) == 0 {
		return nil
	}
	var err error
	if f.seenAt, err = eng.Observe(ctx, m, names, 1, batches...); err != nil {
		return err
	}
	f.batch = newBatch(m)
	for _, n := range slices.Clone(m.Graph.Nodes()) {
		if n.Is("Reshape") && !f.cone[n] && n.Input(1) != nil && f.cone[n.Input(1).Producer()] {
			f.target(n)
		}
	}
	for _, v := range f.results() {
		if readOutside(v, f.cone) {
			f.settle(v)
		}
		if v.IsOutput() {
			f.keep(v)
		}
	}
	nodes, _ := Dead(m)
	done.Nodes += nodes - f.batch.made
	for _, h := range f.held {
		claim(h.constant, h.name)
	}
	return m.Graph.Sort()
}

// shapeCone returns the nodes of g, which is sorted, whose results depend on
// the inputs only through Shape and Size.
func shapeCone(g *graph.Graph) nodeSet {
	cone := nodeSet{}
	for _, n := range g.Nodes() {
		if n.Is("Shape", "Size") {
			cone[n] = true
			continue
		}
		ok, shaped := computable(n) && len(n.Subgraphs()) == 0, false
		for _, v := range n.Inputs() {
			ok = ok && cone.gives(v)
			shaped = shaped || v != nil && cone[v.Producer()]
		}
		if ok && shaped {
			cone[n] = true
		}
	}
	return cone
}

// freezer decides about the values of one shape cone.
type freezer struct {
	m      *graph.Model
	cone   nodeSet
	seenAt *engine.Observation
	batch  *batch
	seen   map[*graph.Value]bool
	held   []held
	done   *Frozen
}

// held is a constant and the value whose name it takes once that is gone.
type held struct {
	constant *graph.Value
	name     string
}

// results returns the results of the cone's nodes, in order.
func (f *freezer) results() []*graph.Value {
	var vs []*graph.Value
	for _, n := range f.m.Graph.Nodes() {
		if f.cone[n] {
			for _, v := range n.Outputs() {
				if v != nil {
					vs = append(vs, v)
				}
			}
		}
	}
	return vs
}

// settle replaces v by a constant or by a function of the batch. If it is
// neither, the node that computes it stays, and what that reads is settled.
func (f *freezer) settle(v *graph.Value) {
	if f.seen[v] {
		return
	}
	f.seen[v] = true
	at := f.at(v)
	if at == nil {
		f.keep(v)
		return
	}
	if same(at) {
		if excessive(at[0], constantBytes(v, f.cone)) {
			f.keep(v)
			return
		}
		f.held = append(f.held, held{hold(v, at[0]), v.Name()})
		f.done.Constants++
		return
	}
	sizes, ok := affine(f.seenAt.Batches, at)
	if !ok {
		f.keep(v)
		return
	}
	switch w, made := f.batch.rebuild(v, at[0], sizes); {
	case w == nil:
		f.keep(v)
	case made:
		readInstead(v, w)
		f.done.Rerooted++
	}
}

// keep settles what the producer of v reads, since it stays.
func (f *freezer) keep(v *graph.Value) {
	n := v.Producer()
	if n.Is("Shape", "Size") {
		if x := n.Input(0); x != nil && !x.IsInput() {
			f.done.Kept = append(f.done.Kept, fmt.Sprintf("%s: what it gives is no affine function of the batch size", n))
		}
		return
	}
	for _, w := range n.Inputs() {
		if w != nil && f.cone[w.Producer()] {
			f.settle(w)
		}
	}
}

// at returns v at every batch size, nil if it could not be read back.
func (f *freezer) at(v *graph.Value) []*graph.Tensor {
	var at []*graph.Tensor
	for _, values := range f.seenAt.Values {
		t := values[v.Name()]
		if t == nil {
			return nil
		}
		at = append(at, t)
	}
	return at
}

func same(at []*graph.Tensor) bool {
	return !slices.ContainsFunc(at, func(t *graph.Tensor) bool {
		return !slices.Equal(t.Dims, at[0].Dims) || !bytes.Equal(t.Data, at[0].Data) ||
			!slices.EqualFunc(t.Strings, at[0].Strings, bytes.Equal)
	})
}

// affine fits every element of an integer scalar or vector.
func affine(batches []int, at []*graph.Tensor) ([]engine.Size, bool) {
	columns := make([][]int64, len(at))
	for i, t := range at {
		xs, err := t.Ints()
		if err != nil || t.Type == graph.Bool || len(t.Dims) > 1 || len(xs) != int(at[0].Len()) {
			return nil, false
		}
		columns[i] = xs
	}
	sizes := make([]engine.Size, len(columns[0]))
	for k := range sizes {
		var xs []int64
		for _, c := range columns {
			xs = append(xs, c[k])
		}
		var ok bool
		if sizes[k], ok = engine.Fit(batches, xs); !ok {
			return nil, false
		}
	}
	return sizes, true
}

// target gives the Reshape n a constant target, if one does.
func (f *freezer) target(n *graph.Node) {
	v := n.Input(1)
	if at := f.at(v); at == nil || same(at) {
		return // settle makes it a constant as it is, or leaves it
	}
	in, ok1 := f.seenAt.Shapes.Of(n.Input(0))
	out, ok2 := f.seenAt.Shapes.Of(n.Output(0))
	if !ok1 || !ok2 {
		return
	}
	dims, open := make([]int64, len(out)), 0
	copies := false
	for i, size := range out {
		switch {
		case !size.Dynamic() && size.Fixed > 0:
			dims[i] = size.Fixed
		case size.Dynamic() && i < len(in) && in[i] == size:
			copies = true
		case size.Dynamic():
			dims[i] = -1
			open++
		default:
			return // a dimension of zero cannot be told from a copy
		}
	}
	if open > 1 {
		return
	}
	if copies && n.IntAttr("allowzero", 0) != 0 {
		n.RemoveAttr("allowzero")
	}
	c := f.m.Graph.AddConst(v.Name(), graph.NewTensor([]int64{int64(len(dims))}, dims))
	n.SetInput(1, c)
	f.held = append(f.held, held{c, v.Name()})
	f.done.Targets++
}
