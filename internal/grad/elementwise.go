package grad

import "nuwa/graph"

// Operators with several operands that are combined element by element after
// broadcasting. Rules return a gradient of the result's dimensions; what was
// broadcast is summed up by the caller.

func addRule(c *call, i int) *graph.Value { return c.dy() }

func subRule(c *call, i int) *graph.Value { return c.scaled(c.dy(), sign(i == 0)) }

func sign(positive bool) float64 {
	if positive {
		return 1
	}
	return -1
}

// meanRule: Mean averages its operands.
func meanRule(c *call, i int) *graph.Value {
	return c.scaled(c.dy(), 1/float64(len(c.node.Inputs())))
}

func mulRule(c *call, i int) *graph.Value {
	if x, ok := number(c.node.Input(1-i), len(c.inDims(i))); ok {
		return c.scaled(c.dy(), x)
	}
	return c.mul(c.dy(), c.in(1-i))
}

// divRule: ∂(a/b)/∂a = 1/b, ∂(a/b)/∂b = −(a/b)/b.
func divRule(c *call, i int) *graph.Value {
	if i == 1 {
		return c.scaled(c.div(c.mul(c.dy(), c.out(0)), c.in(1)), -1)
	}
	if x, ok := number(c.node.Input(1), len(c.inDims(0))); ok {
		return c.scaled(c.dy(), 1/x)
	}
	return c.div(c.dy(), c.in(1))
}

// powRule: ∂(x^p)/∂x = p·x^(p−1), ∂(x^p)/∂p = x^p·ln x where x > 0.
func powRule(c *call, i int) *graph.Value {
	if i == 1 {
		x := c.in(0)
		positive := c.above(x, 0)
		log := c.unary("Log", c.where(positive, x, c.num(c.elem(x), 1)))
		return c.mul(c.dy(), c.mul(c.out(0), log))
	}
	x := c.in(0)
	p, known := number(c.node.Input(1), len(c.inDims(0)))
	if !known {
		e := c.cast(c.in(1), c.elem(x))
		return c.mul(c.dy(), c.mul(e, c.binary("Pow", x, c.plus(e, -1))))
	}
	switch p {
	case 0:
		return nil
	case 1:
		return c.dy()
	case 2:
		return c.scaled(c.mul(c.dy(), x), 2)
	case 0.5:
		return c.scaled(c.div(c.dy(), c.out(0)), 0.5)
	case -0.5:
		return c.scaled(c.div(c.mul(c.dy(), c.out(0)), x), -0.5)
	}
	return c.scaled(c.mul(c.dy(), c.binary("Pow", x, c.num(c.elem(x), p-1))), p)
}

// extremeRule gives the gradient of Max or Min to the operand that won, the
// first of equal ones.
func extremeRule(worse string) rule {
	return func(c *call, i int) *graph.Value {
		var won *graph.Value
		for j := range c.node.Inputs() {
			var w *graph.Value
			switch {
			case j < i:
				w = c.compare(worse, c.in(j), c.in(i))
			case j > i:
				w = c.not(c.compare(worse, c.in(i), c.in(j)))
			default:
				continue
			}
			if won == nil {
				won = w
			} else {
				won = c.and(won, w)
			}
		}
		if won == nil {
			return c.dy()
		}
		return c.keep(won)
	}
}

// keep is the gradient of the result where cond holds, zero elsewhere.
func (c *call) keep(cond *graph.Value) *graph.Value {
	dy := c.dy()
	return c.where(cond, dy, c.num(c.elem(dy), 0))
}

func whereRule(c *call, i int) *graph.Value {
	if i == 1 {
		return c.keep(c.in(0))
	}
	return c.where(c.in(0), c.num(c.elem(c.dy()), 0), c.dy())
}

// modRule: a − b·trunc(a/b) with fmod=1, which floats need; only its first
// operand has a rule.
func modRule(c *call, i int) *graph.Value {
	if i != 0 {
		return c.operand(i)
	}
	return c.dy()
}

// preluRule: x where positive, slope·x elsewhere.
func preluRule(c *call, i int) *graph.Value {
	x := c.in(0)
	positive := c.above(x, 0)
	if i == 1 {
		return c.where(positive, c.num(c.elem(x), 0), c.mul(c.dy(), x))
	}
	return c.where(positive, c.dy(), c.mul(c.dy(), c.in(1)))
}

// clipRule: the gradient passes where x lies between the bounds; where it does
// not, it belongs to the bound.
func clipRule(c *call, i int) *graph.Value {
	x := c.in(0)
	var low, high *graph.Value // x is below, above
	if c.opset < 11 {
		if a := c.node.Attr("min"); a != nil {
			low = c.below(x, float64(a.F))
		}
		if a := c.node.Attr("max"); a != nil {
			high = c.above(x, float64(a.F))
		}
	} else {
		if c.node.Input(1) != nil {
			low = c.compare("Less", x, c.in(1))
		}
		if c.node.Input(2) != nil {
			high = c.compare("Greater", x, c.in(2))
		}
	}
	switch {
	case i == 1:
		return c.keep(low)
	case i == 2:
		return c.keep(high)
	case low == nil && high == nil:
		return c.dy()
	case high == nil:
		return c.keep(c.not(low))
	case low == nil:
		return c.keep(c.not(high))
	}
	return c.keep(c.not(c.binary("Or", low, high)))
}
