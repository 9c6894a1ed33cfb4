package graph

import (
	"errors"
	"fmt"
)

// Check re-derives every link of m and compares it with what m holds: uses,
// producers, names, scopes, cycles, and the sizes of constants. A nil result
// means that the edits kept m sound.
func (m *Model) Check() error {
	var errs []error
	m.Graphs(func(g *Graph) bool {
		errs = append(errs, g.check()...)
		return len(errs) < 20
	})
	return errors.Join(errs...)
}

func (g *Graph) check() (errs []error) {
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("graph %q: "+format, append([]any{g.Name}, args...)...))
	}
	own := map[*Value]bool{}
	claim := func(v *Value, what string) {
		switch {
		case v.graph != g:
			fail("%s %q belongs to another graph or was removed", what, v.name)
		case g.names[v.name] != v:
			fail("two values are called %q", v.name)
		}
		own[v] = true
	}
	for _, v := range g.inputs {
		claim(v, "input")
		if !v.input {
			fail("input %q is not marked as one", v.name)
		}
	}
	for _, v := range g.consts {
		claim(v, "initializer")
		if v.producer != nil {
			fail("%q is both an initializer and a result of %s", v.name, v.producer)
		}
		if v.constant != nil {
			if err := v.constant.Check(); err != nil {
				fail("initializer %q: %w", v.name, err)
			}
		}
	}
	place := make(map[*Node]int, len(g.nodes))
	for i, n := range g.nodes {
		place[n] = i
		if n.graph != g {
			fail("%s belongs to another graph or was removed", n)
		}
		for j, v := range n.outputs {
			if v == nil {
				continue
			}
			claim(v, "result")
			if v.producer != n || v.index != j {
				fail("%q does not know that it is result %d of %s", v.name, j, n)
			}
		}
	}
	for name, v := range g.names {
		if !own[v] {
			fail("%q is neither an input, an initializer nor a result", name)
		}
	}
	for _, n := range g.nodes {
		for j, v := range n.inputs {
			if v != nil {
				g.checkUse(v, Use{Node: n, Index: j}, n.String(), fail)
			}
		}
	}
	for i, v := range g.outputs {
		g.checkUse(v, Use{Graph: g, Index: i}, "an output", fail)
	}
	for v := range own {
		g.checkUses(v, fail)
	}
	if len(errs) == 0 {
		if _, err := g.Order(); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// checkUse verifies that v is visible from g and knows the use u.
func (g *Graph) checkUse(v *Value, u Use, who string, fail func(string, ...any)) {
	scope := g
	for scope != nil && scope != v.graph {
		if scope.owner == nil {
			scope = nil
			break
		}
		scope = scope.owner.graph
	}
	if scope == nil {
		fail("%s reads %q, which is not visible there", who, v.name)
		return
	}
	n := 0
	for _, w := range v.uses {
		if w == u {
			n++
		}
	}
	if n != 1 {
		fail("%q lists its use by %s %d times, want once", v.name, who, n)
	}
}

// checkUses verifies that every use v lists is real.
func (g *Graph) checkUses(v *Value, fail func(string, ...any)) {
	for _, u := range v.uses {
		if u.Node != nil && (u.Node.graph == nil || u.Node.Input(u.Index) != v) {
			fail("%q lists a use by %s that is not there", v.name, u.Node)
		}
		if u.Node == nil && (u.Index >= len(u.Graph.outputs) || u.Graph.outputs[u.Index] != v) {
			fail("%q lists a use as output %d of graph %q that is not there", v.name, u.Index, u.Graph.Name)
		}
	}
}
