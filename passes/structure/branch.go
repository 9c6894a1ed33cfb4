package structure

import (
	"fmt"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/linalg"
)

// BranchReason tells why what l gives, and all that only leads there, cannot be
// replaced by one number per channel, or nothing: every reader must take a
// constant as it takes what l gives, up to a sum with something of full size.
func (l *Linear) BranchReason(s *engine.Shapes) string {
	seen := map[*graph.Value]bool{}
	full := map[*graph.Value]*graph.Node{} // operands of full size, and who takes them
	for next := []*graph.Value{l.Out}; len(next) > 0; next = next[1:] {
		v := next[0]
		if seen[v] {
			continue
		}
		seen[v] = true
		if v.IsOutput() {
			return fmt.Sprintf("%q is an output of the graph", v.Name())
		}
		for _, n := range v.Users() {
			if n.Graph() != l.Node.Graph() || !n.Is(unaryOps...) && !n.Is(naryOps...) {
				return fmt.Sprintf("%s needs a value for every token", n)
			}
			out, _ := s.Of(n.Output(0))
			others := slices.DeleteFunc(computed(n), func(x *graph.Value) bool { return seen[x] })
			i := slices.IndexFunc(others, func(x *graph.Value) bool { d, ok := s.Of(x); return ok && slices.Equal(d, out) })
			switch {
			case i >= 0:
				full[others[i]] = n
			case len(others) > 0:
				return fmt.Sprintf("%s gets its shape from it", n)
			default:
				next = append(next, n.Outputs()...)
			}
		}
	}
	for x, n := range full {
		if seen[x] {
			return fmt.Sprintf("%s combines it with what is made of it", n)
		}
	}
	return ""
}

// Fix puts the mean of what l gives, one number per channel, in its place. in
// are the moments of what l reads.
func (l *Linear) Fix(g *graph.Graph, in *linalg.Moments) error {
	w, y, err := l.Weight()
	if err != nil {
		return err
	}
	mean := in.Mean()
	for o := range y {
		for i, x := range w.RawRowView(o) {
			y[o] += x * mean[i]
		}
	}
	dims := []int64{int64(len(y))}
	for range l.Axis - 1 {
		dims = append(dims, 1)
	}
	t, err := graph.FromFloats(l.W.Const().Type, dims, y)
	if err != nil {
		return fmt.Errorf("%s: %w", l.Node, err)
	}
	l.Out.ReplaceUses(g.AddConst(l.Name()+".mean", t))
	return nil
}
