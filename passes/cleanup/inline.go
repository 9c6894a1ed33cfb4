package cleanup

import (
	"fmt"
	"slices"

	"nuwa/graph"
	"nuwa/internal/fault"
)

// Inlined is what Inline did.
type Inlined struct {
	Calls int      // calls replaced by the body of their function
	Kept  []string // functions that stay, and why
}

// Inline replaces every call of one of the model's own functions by the
// function's body, nested calls included, and drops functions that nothing
// calls any more. A function that was written for another version of an
// operator set than the model imports is kept. One that calls itself is an
// error of kind fault.Model.
func Inline(m *graph.Model) (Inlined, error) {
	var done Inlined
	for _, f := range m.Functions {
		if why := foreign(m, f); why != "" {
			done.Kept = append(done.Kept, why)
		}
	}
	type call struct {
		n     *graph.Node
		depth int
	}
	var calls []call
	for _, g := range graphs(m.Graph) {
		for _, n := range g.Nodes() {
			calls = append(calls, call{n, 0})
		}
	}
	for len(calls) > 0 {
		c := calls[0]
		calls = calls[1:]
		f := function(m, c.n)
		if f == nil || foreign(m, f) != "" {
			continue
		}
		if c.depth > len(m.Functions) {
			return done, &fault.Error{Kind: fault.Model, Where: c.n.String(), Got: fmt.Sprintf("function %s.%s that calls itself", f.Domain, f.Name),
				Want: "functions without recursion", Remedy: "export the model again"}
		}
		added, err := unfold(c.n, f)
		if err != nil {
			return done, err
		}
		done.Calls++
		for _, n := range added {
			calls = append(calls, call{n, c.depth + 1})
			for _, h := range n.Subgraphs() {
				for _, g := range graphs(h) {
					for _, inner := range g.Nodes() {
						calls = append(calls, call{inner, c.depth + 1})
					}
				}
			}
		}
	}
	if done.Calls > 0 {
		for _, f := range m.Functions {
			for _, o := range f.Opsets {
				if foreign(m, f) == "" && m.Opset(o.Domain) == 0 {
					m.SetOpset(o.Domain, o.Version)
				}
			}
		}
	}
	dropUncalled(m)
	return done, m.Graph.Sort()
}

// foreign says why f cannot be unfolded into m, "" if it can.
func foreign(m *graph.Model, f *graph.Function) string {
	for _, o := range f.Opsets {
		if v := m.Opset(o.Domain); v != 0 && v != o.Version {
			return fmt.Sprintf("function %s.%s: it is written in opset %d of domain %q, the model in %d", f.Domain, f.Name, o.Version, o.Domain, v)
		}
	}
	return ""
}

// function returns the function that n calls, nil if it calls none.
func function(m *graph.Model, n *graph.Node) *graph.Function {
	for _, f := range m.Functions {
		if f.Name == n.Op && f.Domain == n.Domain && f.Overload == n.Overload {
			return f
		}
	}
	return nil
}

// unfold puts a copy of f's body in the place of the call n.
func unfold(n *graph.Node, f *graph.Function) ([]*graph.Node, error) {
	body := f.Body.Clone()
	if err := body.Sort(); err != nil {
		return nil, &fault.Error{Kind: fault.Model, Where: fmt.Sprintf("function %s.%s", f.Domain, f.Name), Err: err, Remedy: "export the model again"}
	}
	mv := &mover{to: n.Graph(), before: n, from: body, attr: func(a *graph.Attr) *graph.Attr { return bind(a, n, f) }}
	for i, v := range body.Inputs() {
		mv.set(v, n.Input(i))
	}
	return mv.splice(body, n)
}

// bind gives an attribute that refers to one of f the value that the call n
// gives it, or its default; nil if it has neither.
func bind(a *graph.Attr, n *graph.Node, f *graph.Function) *graph.Attr {
	if a.Ref == "" {
		return a
	}
	given := n.Attr(a.Ref)
	if given == nil {
		i := slices.IndexFunc(f.AttrDefaults, func(d *graph.Attr) bool { return d.Name == a.Ref })
		if i < 0 {
			return nil
		}
		given = f.AttrDefaults[i]
	}
	b := *given
	b.Name, b.Doc = a.Name, a.Doc
	return &b
}

// dropUncalled removes functions without callers, and the imports of domains
// that had nothing but those.
func dropUncalled(m *graph.Model) {
	for {
		called := map[*graph.Function]bool{}
		m.Graphs(func(g *graph.Graph) bool {
			for _, n := range g.Nodes() {
				if f := function(m, n); f != nil {
					called[f] = true
				}
			}
			return true
		})
		var gone []string
		m.Functions = slices.DeleteFunc(m.Functions, func(f *graph.Function) bool {
			if !called[f] {
				gone = append(gone, f.Domain)
			}
			return !called[f]
		})
		if len(gone) == 0 {
			return
		}
		used := map[string]bool{"": true, "ai.onnx": true}
		m.Graphs(func(g *graph.Graph) bool {
			for _, n := range g.Nodes() {
				used[n.Domain] = true
			}
			return true
		})
		m.Opsets = slices.DeleteFunc(m.Opsets, func(o graph.Opset) bool { return slices.Contains(gone, o.Domain) && !used[o.Domain] })
	}
}

// Branches replaces every If whose condition is constant by the branch it
// takes, and returns how many.
func Branches(m *graph.Model) (int, error) {
	count := 0
	for _, g := range graphs(m.Graph) {
		for _, n := range slices.Clone(g.Nodes()) {
			if n.Graph() == nil || !n.Is("If") || n.Input(0) == nil || n.Input(0).Const() == nil {
				continue
			}
			name := "then_branch"
			if allAre(n.Input(0), 0) {
				name = "else_branch"
			}
			a := n.Attr(name)
			if a == nil || len(a.Graphs) != 1 {
				continue
			}
			body := a.Graphs[0]
			if err := body.Sort(); err != nil {
				return count, err
			}
			mv := &mover{to: n.Graph(), before: n, from: body}
			if _, err := mv.splice(body, n); err != nil {
				return count, err
			}
			count++
		}
	}
	if count == 0 {
		return 0, nil
	}
	return count, m.Graph.Sort()
}

// splice moves the nodes of body before n, makes what reads n's results read
// those of body, and removes n.
func (mv *mover) splice(body *graph.Graph, n *graph.Node) ([]*graph.Node, error) {
	var added []*graph.Node
	for _, inner := range slices.Clone(body.Nodes()) {
		added = append(added, mv.node(inner))
	}
	outs := make([]*graph.Value, len(body.Outputs()))
	for i, v := range body.Outputs() {
		outs[i] = mv.value(v)
	}
	body.ClearOutputs()
	mv.finish()
	for i, v := range n.Outputs() {
		if v == nil || len(v.Uses()) == 0 {
			continue
		}
		if i >= len(outs) || outs[i] == nil {
			return nil, &fault.Error{Kind: fault.Model, Where: n.String(), Got: fmt.Sprintf("a body that does not give result %d", i),
				Want: "a value for every result", Remedy: "export the model again"}
		}
		v.ReplaceUses(outs[i])
	}
	if err := n.Remove(); err != nil {
		return nil, err
	}
	for _, old := range mv.moved {
		if w := mv.of[old]; w != nil && w.Graph() == mv.to && w.Name() != old.Name() && !w.IsInput() && !w.IsOutput() {
			claim(w, old.Name())
		}
	}
	return added, nil
}
