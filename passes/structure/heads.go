package structure

import (
	"fmt"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// headConst is a constant with a number per head that logits or probabilities
// meet, such as a relative position bias.
type headConst struct {
	node  *graph.Node
	input int
	axis  int // of the constant, from its start
}

// HeadsReason tells why a cannot do with fewer heads, or nothing.
func (a *Attention) HeadsReason(s *engine.Shapes) string {
	if reason := firstReason("q/k", a.QKReason, "v/o", a.VOReason); reason != "" {
		return reason
	}
	for _, heads := range [][]int{a.Q.heads, a.K.heads, a.V.heads, a.Out.heads} {
		if len(heads) != 1 {
			return "its heads are not numbered by one digit of an axis"
		}
	}
	_, reason := a.perHead(s)
	return reason
}

// perHead lists the constants between the two products that have a number per
// head. It tells why heads cannot be told apart there, or nothing.
func (a *Attention) perHead(s *engine.Shapes) (consts []headConst, reason string) {
	logits, _ := s.Of(a.QK.Output(0))
	at := len(logits) - a.Q.places()[0].axis // from the end
	seen := map[*graph.Value]bool{}
	for next := []*graph.Value{a.QK.Output(0)}; len(next) > 0; next = next[1:] {
		v := next[0]
		if seen[v] {
			continue
		}
		seen[v] = true
		for _, u := range v.Uses() {
			n := u.Node
			switch {
			case n == nil || n.Graph() != a.QK.Graph():
				return nil, fmt.Sprintf("%q is read outside of the attention", v.Name())
			case n == a.PV:
				continue
			case n.Is("Softmax"):
				if axis := n.IntAttr("axis", -1); axis != -1 && axis != int64(len(logits))-1 {
					return nil, n.String() + " is not over the keys"
				}
			case n.Is(unaryOps...):
			case n.Is(naryOps...):
				more, reason := headOperands(s, n, v, at, a.Heads)
				if reason != "" {
					return nil, reason
				}
				consts = append(consts, more...)
			default:
				return nil, fmt.Sprintf("%s stands between the products, and may depend on how many heads there are", n)
			}
			next = append(next, n.Outputs()...)
		}
	}
	return consts, ""
}

// headOperands lists those operands of n besides v that have a number per head,
// whose axis is counted from the end. Only constants may.
func headOperands(s *engine.Shapes, n *graph.Node, v *graph.Value, at, heads int) (consts []headConst, reason string) {
	for i, x := range n.Inputs() {
		if x == nil || x == v {
			continue
		}
		d, ok := s.Of(x)
		switch {
		case !ok:
			return nil, fmt.Sprintf("the shape of %q is not known", x.Name())
		case len(d) < at || d[len(d)-at] == fixed(1):
		case x.Const() != nil && d[len(d)-at] == fixed(heads):
			consts = append(consts, headConst{node: n, input: i, axis: len(d) - at})
		default:
			return nil, fmt.Sprintf("%s combines the heads with %q, which has values of its own for each", n, x.Name())
		}
	}
	return consts, ""
}

// KeepHeads narrows what stands between the products to the heads in keep,
// which must ascend. The maps around are narrowed by rebuilding them.
func (a *Attention) KeepHeads(g *graph.Graph, s *engine.Shapes, keep []int) error {
	consts, reason := a.perHead(s)
	if reason != "" {
		return fmt.Errorf("%s: %s", a.Softmax, reason)
	}
	for _, c := range consts {
		old := c.node.Input(c.input)
		t, err := takeAxis(old.Const(), c.axis, keep)
		if err != nil {
			return fmt.Errorf("%s: %w", c.node, err)
		}
		c.node.SetInput(c.input, g.AddConst(old.Name(), t))
	}
	return nil
}

// counting sets the size of the digit that numbers heads, of which there is one
// unless their number stays, in a layout that nobody else has.
func (l *layout) counting(heads []int, n int) *layout {
	if len(heads) == 1 {
		l.factors[heads[0]].size = int64(n)
	}
	return l
}
