package grad

import (
	"slices"

	"nuwa/graph"
)

// Operators that ONNX Runtime writes when it saves a model it has optimized.

// biasGeluRule: gelu(x + bias).
func biasGeluRule(c *call, i int) *graph.Value {
	return c.mul(c.dy(), geluErf(c, c.add(c.in(0), c.in(1))))
}

// fastGeluRule: the tanh form of gelu(x + bias), the bias optional.
func fastGeluRule(c *call, i int) *graph.Value {
	x := c.in(0)
	if c.node.Input(1) != nil {
		x = c.add(x, c.in(1))
	}
	return c.mul(c.dy(), geluTanh(c, x))
}

// skipLayerNormRule: the norm of x + skip + bias, with operands x, skip,
// scale, shift and bias, or without shift where not centred. Result 3 is the
// sum itself.
func skipLayerNormRule(centre bool) rule {
	return func(c *call, i int) *graph.Value {
		bias := 3
		if centre {
			bias = 4
		}
		if i != 0 && i != 1 && i != bias {
			return c.operand(i)
		}
		x := c.add(c.in(0), c.in(1))
		if c.node.Input(bias) != nil {
			x = c.add(x, c.in(bias))
		}
		var dx *graph.Value
		if dy := c.dys[0]; dy != nil {
			r := len(c.inDims(0))
			dx = c.normalized(x, c.mul(dy, c.in(2)), axesFrom(r-1, r), float64(c.node.FloatAttr("epsilon", 1e-12)), centre)
		}
		switch {
		case len(c.dys) < 4 || c.dys[3] == nil:
		case dx == nil:
			dx = c.dys[3]
		default:
			dx = c.add(dx, c.dys[3])
		}
		if slices.ContainsFunc(c.dys[1:min(3, len(c.dys))], func(v *graph.Value) bool { return v != nil }) {
			return c.unsupported("a gradient of its mean or deviation", "ask for values after it")
		}
		return dx
	}
}
