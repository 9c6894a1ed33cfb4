package cleanup

import (
	"context"
	"fmt"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
)

// A result that is larger than largeBytes, and more than growth times as large
// as the constants it is made of, is left to be computed: a class token
// expanded to a batch, or a mask of zeros, is cheaper to make than to store.
const (
	largeBytes = 1 << 20
	growth     = 4
)

// Folded is what Fold did.
type Folded struct {
	Values int      // results that became constants
	Nodes  int      // nodes that went
	Kept   []string // constant nodes that stay, and why
}

// Fold computes what depends on constants alone, and puts the results in its
// place, in nested graphs too. Random operators and quantization are left as
// they are, and control flow unless all it reads is constant. The values are
// computed by ONNX Runtime; what it cannot compute stays, and is listed.
func Fold(ctx context.Context, eng *engine.Engine, m *graph.Model) (Folded, error) {
	var done Folded
	skip := map[*graph.Node]bool{}
	for {
		if err := m.Graph.Sort(); err != nil {
			return done, err
		}
		set := constantNodes(m, skip)
		values := boundary(m, set)
		if len(values) == 0 {
			return done, nil
		}
		results, err := compute(ctx, eng, m, set, values)
		if err != nil {
			return done, err
		}
		var held []*graph.Value
		var was []string
		for i, v := range values {
			t, why := results[i].tensor, results[i].why
			if why == "" && excessive(t, constantBytes(v, set)) {
				why = fmt.Sprintf("its result %s is much larger than what it is made of", t.Shape())
			}
			if why != "" {
				skip[v.Producer()] = true
				done.Kept = append(done.Kept, fmt.Sprintf("%s: %s", v.Producer(), why))
				continue
			}
			t.Stored = storedIn(t, v, set)
			held, was = append(held, hold(v, t)), append(was, v.Name())
			done.Values++
		}
		nodes, _ := Dead(m)
		done.Nodes += nodes
		for i, c := range held {
			claim(c, was[i])
		}
	}
}

func excessive(t *graph.Tensor, from int) bool {
	return len(t.Data) > largeBytes && len(t.Data) > growth*from
}

// nodeSet is a set of nodes of one model.
type nodeSet map[*graph.Node]bool

// holds reports whether n, or a node that it is nested in, is in the set.
func (s nodeSet) holds(n *graph.Node) bool {
	for n != nil {
		if s[n] {
			return true
		}
		if n.Graph() == nil {
			return false
		}
		n = n.Graph().Owner()
	}
	return false
}

// gives reports whether v is a constant or computed inside the set.
func (s nodeSet) gives(v *graph.Value) bool {
	return v == nil || v.Const() != nil || v.Producer() != nil && s[v.Producer()]
}

// constantNodes returns the nodes of m, which is sorted, that depend on
// constants alone, but for those nested in one of them.
func constantNodes(m *graph.Model, skip nodeSet) nodeSet {
	set := nodeSet{}
	for _, g := range graphs(m.Graph) {
		for _, n := range g.Nodes() {
			ok := !skip[n] && computable(n) && !set.holds(n) && len(n.Outputs()) > 0
			for _, v := range n.Inputs() {
				ok = ok && set.gives(v)
			}
			if ok && len(n.Subgraphs()) > 0 {
				for _, v := range captures(n) {
					ok = ok && set.gives(v)
				}
			}
			if ok {
				set[n] = true
			}
		}
	}
	return set
}

// boundary returns the results of the set that nodes outside of it read.
func boundary(m *graph.Model, set nodeSet) []*graph.Value {
	var vs []*graph.Value
	for _, g := range graphs(m.Graph) {
		for _, n := range g.Nodes() {
			if !set[n] {
				continue
			}
			for _, v := range n.Outputs() {
				if v != nil && readOutside(v, set) {
					vs = append(vs, v)
				}
			}
		}
	}
	return vs
}

func readOutside(v *graph.Value, set nodeSet) bool {
	for _, u := range v.Uses() {
		if u.Node != nil && !set.holds(u.Node) {
			return true
		}
	}
	return false
}

// constantBytes sums the sizes of the constants that v is made of.
func constantBytes(v *graph.Value, set nodeSet) int {
	total := 0
	for _, t := range ingredients(v, set) {
		total += len(t.Data)
	}
	return total
}

// ingredients returns the constants that v, which the set gives, is made of.
func ingredients(v *graph.Value, set nodeSet) []*graph.Tensor {
	var all []*graph.Tensor
	seen := map[*graph.Value]bool{}
	var visit func(v *graph.Value)
	visit = func(v *graph.Value) {
		if v == nil || seen[v] {
			return
		}
		seen[v] = true
		if t := v.Const(); t != nil {
			all = append(all, t)
			return
		}
		if n := v.Producer(); n != nil && set[n] {
			for _, w := range n.Inputs() {
				visit(w)
			}
			for _, w := range captures(n) {
				visit(w)
			}
		}
	}
	visit(v)
	return all
}

// result is a computed value, or why there is none.
type result struct {
	tensor *graph.Tensor
	why    string
}

// compute runs the set in a model of its own and returns its values. When ONNX
// Runtime refuses, halves are tried, so that one node that it has no kernel
// for does not spoil the rest.
func compute(ctx context.Context, eng *engine.Engine, m *graph.Model, set nodeSet, values []*graph.Value) ([]result, error) {
	if err := eng.Ready(); err != nil {
		return nil, err
	}
	alone, names, err := extract(m, set, values)
	if err != nil {
		return nil, err
	}
	results := make([]result, len(values))
	var solve func(lo, hi int) error
	solve = func(lo, hi int) error {
		out, err := eng.Compute(ctx, alone, names[lo:hi], nil)
		switch {
		case ctx.Err() != nil:
			return &fault.Error{Kind: fault.Interrupted, Where: "folding constants", Err: ctx.Err()}
		case err != nil && hi-lo == 1:
			results[lo].why = "ONNX Runtime cannot compute it: " + err.Error()
			return nil
		case err != nil:
			mid := (lo + hi) / 2
			if err := solve(lo, mid); err != nil {
				return err
			}
			return solve(mid, hi)
		}
		for i := lo; i < hi; i++ {
			if results[i].tensor = out[0][names[i]]; results[i].tensor == nil {
				results[i].why = "its result is of a type that cannot be read back"
			}
		}
		return nil
	}
	return results, solve(0, len(values))
}

// extract copies the set into a model without inputs, and returns the names
// that values have there.
func extract(m *graph.Model, set nodeSet, values []*graph.Value) (*graph.Model, []string, error) {
	alone := graph.NewModel(m.Opsets...)
	alone.IRVersion = m.IRVersion
	mv := &mover{to: alone.Graph}
	// The copy has its nodes and values at the same places.
	from, to := graphs(m.Graph), graphs(m.Clone().Graph)
	at := map[*graph.Value]*graph.Value{}
	var nodes []*graph.Node
	for i, g := range from {
		for j, n := range g.Nodes() {
			if !set[n] {
				continue
			}
			c := to[i].Nodes()[j]
			nodes = append(nodes, c)
			for k, v := range n.Outputs() {
				at[v] = c.Output(k)
			}
		}
	}
	for _, n := range nodes {
		mv.node(n)
	}
	mv.finish()
	names := make([]string, len(values))
	for i, v := range values {
		names[i] = mv.of[at[v]].Name()
		alone.Graph.AddOutput(mv.of[at[v]])
	}
	return alone, names, alone.Check()
}
