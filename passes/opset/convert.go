package opset

import (
	"fmt"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/passes/expand"
)

// Oldest is the lowest version that Convert writes. It reads versions from 9 on.
const Oldest = 11

// A rule rewrites n, an operator as version v−1 (up) or v (down) of the set
// defines it, as the other of the two defines it. It returns why it cannot.
type rule func(c *converter, n *graph.Node) (reason string)

// change is what became of an operator in a version of the set.
type change struct {
	op       string
	version  int64
	up, down rule // nil: nothing to do
}

type converter struct {
	m      *graph.Model
	shapes *engine.Shapes
	g      *graph.Graph         // the one being converted
	done   map[*graph.Node]bool // of the new version already
}

// Convert brings m to a version of the operator set. Shapes are those of m as
// it is; they tell the sizes that older operators want to be told.
func Convert(m *graph.Model, version int64, shapes *engine.Shapes) error {
	from := m.Opset("")
	if version < Oldest {
		return &fault.Error{Kind: fault.Usage, Where: "opset", Got: fmt.Sprint(version), Want: fmt.Sprintf("%d or newer", Oldest)}
	}
	if from < 9 {
		return &fault.Error{Kind: fault.Unsupported, Where: "opset", Got: fmt.Sprintf("a model of opset %d", from), Want: "9 or newer", Remedy: "export it again"}
	}
	if len(m.Functions) > 0 {
		return &fault.Error{Kind: fault.Unsupported, Where: "opset", Got: "a model with functions of its own", Want: "none", Remedy: "inline them first, with --fold"}
	}
	c := &converter{m: m, shapes: shapes, done: map[*graph.Node]bool{}}
	if version < from {
		c.spell(version)
	}
	var err error
	m.Graphs(func(g *graph.Graph) bool {
		c.g = g
		for _, n := range slices.Clone(g.Nodes()) {
			if !n.Is(n.Op) || c.done[n] {
				continue // of another domain, or just written
			}
			if reason := c.move(n, from, version); reason != "" {
				err = &fault.Error{Kind: fault.Unsupported, Where: n.String(), Got: fmt.Sprintf("%s of opset %d: %s", n.Op, from, reason),
					Want: fmt.Sprintf("a form in opset %d", version), Remedy: "choose a version nearer to the model's own"}
				return false
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	m.SetOpset("", version)
	m.IRVersion = representation(m.IRVersion, version)
	return nil
}

// move takes n through all changes of its operator between two versions.
func (c *converter) move(n *graph.Node, from, to int64) string {
	if v := introduced[n.Op]; v > to {
		return fmt.Sprintf("it came with opset %d", v)
	}
	steps := slices.Clone(changes)
	if to < from {
		slices.Reverse(steps)
	}
	for _, s := range steps {
		if s.op != n.Op {
			continue
		}
		var f rule
		switch {
		case from < s.version && s.version <= to:
			f = s.up
		case to < s.version && s.version <= from:
			f = s.down
		}
		if f == nil {
			continue
		}
		if reason := f(c, n); reason != "" {
			return reason
		}
	}
	return ""
}

// spell writes out operators that came after the given version, where package
// expand knows how.
func (c *converter) spell(version int64) {
	late := func(n *graph.Node) bool { return n.Is(n.Op) && introduced[n.Op] > version }
	if !slices.ContainsFunc(c.m.Graph.Nodes(), late) {
		return
	}
	from := c.m.Opset("")
	c.m.SetOpset("", version) // which package expand writes for, and tells late operators by
	for _, n := range slices.Clone(c.m.Graph.Nodes()) {
		if n.Is("Gelu") && late(n) {
			n.Domain = "com.microsoft" // the name under which it is written out
			if n.StringAttr("approximate", "none") == "tanh" {
				n.Op = "FastGelu"
			}
			n.RemoveAttr("approximate")
		}
	}
	before := map[*graph.Node]bool{}
	for _, n := range c.m.Graph.Nodes() {
		before[n] = true
	}
	expand.Expand(c.m, c.shapes)
	c.m.SetOpset("", from)
	for _, n := range c.m.Graph.Nodes() {
		c.done[n] = !before[n]
	}
}

// representation returns the version of the file format that goes with a
// version of the operator set, as ONNX releases paired them.
func representation(have, opset int64) int64 {
	for _, p := range [][2]int64{{11, 6}, {14, 7}, {18, 8}, {20, 9}, {22, 10}} {
		if opset <= p[0] {
			return p[1]
		}
	}
	return max(have, 10)
}

func (c *converter) ints(name string, xs ...int64) *graph.Value {
	return c.g.AddConst(name, graph.NewTensor([]int64{int64(len(xs))}, xs))
}

// constInts returns the integers that operand i of n holds; ok is false when
// they are computed.
func constInts(n *graph.Node, i int) (xs []int64, ok bool) {
	if n.Input(i) == nil {
		return nil, false
	}
	t := constant(n.Input(i))
	if t == nil {
		return nil, false
	}
	xs, err := t.Ints()
	return xs, err == nil
}

// constant returns the tensor that v holds as an initializer or as what a
// Constant node gives, nil for any other.
func constant(v *graph.Value) *graph.Tensor {
	switch n := v.Producer(); {
	case n == nil:
		return v.Const()
	case !n.Is("Constant"):
		return nil
	case n.Attr("value") != nil && len(n.Attr("value").Tensors) == 1:
		return n.Attr("value").Tensors[0]
	case n.Attr("value_ints") != nil:
		xs, _ := n.IntsAttr("value_ints")
		return graph.NewTensor([]int64{int64(len(xs))}, xs)
	case n.Attr("value_int") != nil:
		return graph.Scalar(n.IntAttr("value_int", 0))
	}
	return nil
}

// drop omits operand i of n.
func drop(n *graph.Node, i int) {
	vs := slices.Clone(n.Inputs())
	if i >= len(vs) {
		return
	}
	vs[i] = nil
	for len(vs) > 0 && vs[len(vs)-1] == nil {
		vs = vs[:len(vs)-1]
	}
	n.SetInputs(vs...)
}
