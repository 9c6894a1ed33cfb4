package grad

import (
	"nuwa/graph"
	"nuwa/internal/engine"
)

// Reductions. A rule works with the gradient and the result in the operand's
// rank, the reduced axes having size 1, so that they broadcast.

// reduced returns the axes that the node reduces.
func (c *call) reduced() []int {
	r := len(c.inDims(0))
	operand := -1
	if c.opset >= 18 || c.node.Is("ReduceSum") && c.opset >= 13 {
		operand = 1
	}
	xs, ok := c.list("axes", operand)
	if !ok || len(xs) == 0 {
		if c.node.IntAttr("noop_with_empty_axes", 0) != 0 {
			return nil
		}
		return allAxes(r)
	}
	return axesOf(xs, r)
}

// aligned returns v, which has the dimensions of the result, with the reduced
// axes put back.
func (c *call) aligned(v *graph.Value) *graph.Value {
	dims := append([]engine.Size(nil), c.inDims(0)...)
	for _, axis := range c.reduced() {
		dims[axis] = one
	}
	return c.reshape(v, dims)
}

func reduceSumRule(c *call, i int) *graph.Value { return c.aligned(c.dy()) }

// reduceMeanRule divides by the number of elements, which may be known only
// with the batch.
func reduceMeanRule(c *call, i int) *graph.Value {
	var dims []engine.Size
	for _, axis := range c.reduced() {
		dims = append(dims, c.inDims(0)[axis])
	}
	n, ok := product(dims)
	switch {
	case !ok:
		return c.unsupported("a mean over several axes that grow with the batch", "reduce one after the other")
	case !n.Dynamic():
		return c.scaled(c.aligned(c.dy()), 1/float64(n.Fixed))
	}
	dy := c.aligned(c.dy())
	count := c.cast(c.shapeOf([]engine.Size{n}), c.elem(dy))
	return c.div(dy, count)
}

// extremumRule is for ReduceMax and ReduceMin: elements that reach the result
// share its gradient evenly. worse compares an element with the result.
func extremumRule(worse string) rule {
	return func(c *call, i int) *graph.Value {
		won := c.cast(c.not(c.compare(worse, c.in(0), c.aligned(c.out(0)))), c.elem(c.dy()))
		return c.mul(won, c.div(c.aligned(c.dy()), c.sum(won, c.reduced())))
	}
}

func reduceL1Rule(c *call, i int) *graph.Value {
	return c.mul(c.aligned(c.dy()), c.unary("Sign", c.in(0)))
}

// reduceL2Rule: ∂‖x‖ = x/‖x‖, and zero where x is.
func reduceL2Rule(c *call, i int) *graph.Value {
	y := c.aligned(c.out(0))
	norm := c.binary("Max", y, c.num(c.elem(y), tiny(c.elem(y))))
	return c.mul(c.in(0), c.div(c.aligned(c.dy()), norm))
}

// tiny is a positive number that is small for the type, and has a reciprocal.
func tiny(t graph.DType) float64 {
	switch t {
	case graph.Float16:
		return 1e-4
	case graph.Float64:
		return 1e-300
	}
	return 1e-30
}

func reduceSumSquareRule(c *call, i int) *graph.Value {
	return c.scaled(c.mul(c.in(0), c.aligned(c.dy())), 2)
}

func reduceLogSumRule(c *call, i int) *graph.Value {
	return c.div(c.aligned(c.dy()), c.unary("Exp", c.aligned(c.out(0))))
}

func reduceLogSumExpRule(c *call, i int) *graph.Value {
	return c.mul(c.aligned(c.dy()), c.unary("Exp", c.sub(c.in(0), c.aligned(c.out(0)))))
}

// reduceProdRule: ∂∏x = ∏x / x, for operands without zeros.
func reduceProdRule(c *call, i int) *graph.Value {
	return c.div(c.mul(c.aligned(c.dy()), c.aligned(c.out(0))), c.in(0))
}

// softmaxAxes returns the axes over which the results of a Softmax of r axes
// add up to one. Before opset 13 that is all from the given axis on.
func (e *emitter) softmaxAxes(n *graph.Node, r int) []int {
	if e.opset >= 13 {
		return []int{axis(n.IntAttr("axis", -1), r)}
	}
	return axesFrom(axis(n.IntAttr("axis", 1), r), r)
}

// softmaxRule: dx = y∘(dy − Σ dy∘y).
func softmaxRule(c *call, i int) *graph.Value {
	y, dy := c.out(0), c.dy()
	return c.mul(y, c.sub(dy, c.sum(c.mul(dy, y), c.softmaxAxes(c.node, len(c.outDims(0))))))
}

// logSoftmaxRule: dx = dy − e^y · Σ dy.
func logSoftmaxRule(c *call, i int) *graph.Value {
	return c.sub(c.dy(), c.mul(c.unary("Exp", c.out(0)), c.sum(c.dy(), c.softmaxAxes(c.node, len(c.outDims(0))))))
}
