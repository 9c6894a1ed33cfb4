package grad

import (
	"fmt"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
)

// A rule emits the gradient with respect to operand i of c's node. The result
// may be of the dimensions of the node's result where the operand was
// broadcast (it is summed up afterwards), or have size 1 where it is the same
// along an axis. Nil is zero.
type rule func(c *call, i int) *graph.Value

// call is the application of a rule to a node.
type call struct {
	*sweep
	node *graph.Node

	dys    []*graph.Value // the gradients of the results are factor times these, zero where nil
	factor float64

	// What a rule says about its result beside the value:
	k    float64 // the gradient is k times the value
	span *span   // the value is this stretch of the gradient, which is zero elsewhere
}

// dy returns the gradient of the first result, or of the only one that has any.
func (c *call) dy() *graph.Value {
	for _, v := range c.dys {
		if v != nil {
			return v
		}
	}
	return nil
}

// in and out return an operand and a result of the node, as the forward pass
// computed them.
func (c *call) in(i int) *graph.Value  { return c.again.value(c.node.Input(i)) }
func (c *call) out(j int) *graph.Value { return c.again.value(c.node.Output(j)) }

// inDims and outDims return their dimensions, without a need for the values.
func (c *call) inDims(i int) []engine.Size  { return c.dims(c.node.Input(i)) }
func (c *call) outDims(j int) []engine.Size { return c.dims(c.node.Output(j)) }

// scaled returns v as a gradient that is k times as large.
func (c *call) scaled(v *graph.Value, k float64) *graph.Value {
	c.k *= k
	return v
}

// unsupported reports that the node cannot be differentiated.
func (c *call) unsupported(got, remedy string) *graph.Value {
	c.fail(&fault.Error{Kind: fault.Unsupported, Where: "gradient through " + c.node.String(), Got: got, Remedy: remedy})
	return nil
}

// operand reports that there is no rule for operand i.
func (c *call) operand(i int) *graph.Value {
	return c.unsupported(fmt.Sprintf("a gradient wanted for its operand %d", i), "fold that operand to a constant, or ask for values after it")
}

// axis returns an axis counted from the start of r axes.
func axis(a int64, r int) int {
	if a < 0 {
		a += int64(r)
	}
	return int(a)
}

// constantOf returns the tensor that v always holds, nil if it is computed.
func constantOf(v *graph.Value) *graph.Tensor {
	if v == nil {
		return nil
	}
	if t := v.Const(); t != nil {
		return t
	}
	if n := v.Producer(); n.Is("Constant") {
		if a := n.Attr("value"); a != nil && len(a.Tensors) == 1 {
			return a.Tensors[0]
		}
	}
	return nil
}

// number returns the one element of a constant that broadcasts into values of
// r axes without adding any.
func number(v *graph.Value, r int) (x float64, ok bool) {
	t := constantOf(v)
	if t == nil || t.Len() != 1 || len(t.Dims) > r {
		return 0, false
	}
	xs, err := t.Floats()
	if err != nil {
		return 0, false
	}
	return xs[0], true
}

// list returns the integers that an attribute or, in later opsets, a constant
// operand gives. Where neither is there, ok is false; an operand that is not
// constant is an error.
func (c *call) list(attr string, operand int) (xs []int64, ok bool) {
	if xs, ok := c.node.IntsAttr(attr); ok {
		return xs, true
	}
	v := c.node.Input(operand)
	if v == nil || operand < 0 {
		return nil, false
	}
	t := constantOf(v)
	if t == nil {
		c.unsupported(fmt.Sprintf("%s that are only known at run time", attr), "fold the constants of the model first")
		return nil, true
	}
	xs, err := t.Ints()
	if err != nil {
		c.fail(&fault.Error{Kind: fault.Model, Where: c.node.String(), Err: err})
	}
	return xs, true
}

// allAxes returns 0 to r−1.
func allAxes(r int) []int { return axesFrom(0, r) }

// axesFrom returns the axes from a up to r.
func axesFrom(a, r int) []int {
	var out []int
	for i := a; i < r; i++ {
		out = append(out, i)
	}
	return out
}

// axesOf brings axes into ascending order, counted from the start.
func axesOf(xs []int64, r int) []int {
	out := make([]int, len(xs))
	for i, x := range xs {
		out[i] = axis(x, r)
	}
	slices.Sort(out)
	return out
}
