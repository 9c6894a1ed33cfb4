package grad

import (
	"math"

	"nuwa/graph"
)

// Operators on each element by itself. x is the operand, y the result; the
// derivative is written from whichever needs fewer operators.

// zeroRule is for steps: their derivative is zero wherever it exists.
func zeroRule(c *call, i int) *graph.Value { return nil }

func identityRule(c *call, i int) *graph.Value { return c.dy() }

func negRule(c *call, i int) *graph.Value { return c.scaled(c.dy(), -1) }

// viaIn makes a rule from the derivative written in x.
func viaIn(d func(c *call, x *graph.Value) *graph.Value) rule {
	return func(c *call, i int) *graph.Value {
		if i != 0 {
			return c.operand(i)
		}
		return c.mul(c.dy(), d(c, c.in(0)))
	}
}

// viaOut makes a rule from the derivative written in y.
func viaOut(d func(c *call, y *graph.Value) *graph.Value) rule {
	return func(c *call, i int) *graph.Value {
		if i != 0 {
			return c.operand(i)
		}
		return c.mul(c.dy(), d(c, c.out(0)))
	}
}

// over makes a rule from the reciprocal of the derivative, written in x.
func over(k float64, d func(c *call, x *graph.Value) *graph.Value) rule {
	return func(c *call, i int) *graph.Value { return c.scaled(c.div(c.dy(), d(c, c.in(0))), k) }
}

// sqrtRule: ∂√x = 1/(2y).
func sqrtRule(c *call, i int) *graph.Value {
	return c.scaled(c.div(c.dy(), c.out(0)), 0.5)
}

// reciprocalRule: ∂(1/x) = −y².
func reciprocalRule(c *call, i int) *graph.Value {
	y := c.out(0)
	return c.scaled(c.mul(c.dy(), c.mul(y, y)), -1)
}

// erfRule: ∂erf(x) = 2/√π · exp(−x²), written as a division so that no operator
// is needed for the sign.
var erfRule = over(2/math.SqrtPi, func(c *call, x *graph.Value) *graph.Value {
	return c.unary("Exp", c.mul(x, x))
})

var logRule = over(1, func(c *call, x *graph.Value) *graph.Value { return x })

var expRule = viaOut(func(c *call, y *graph.Value) *graph.Value { return y })

var absRule = viaIn(func(c *call, x *graph.Value) *graph.Value { return c.unary("Sign", x) })

var tanhRule = viaOut(func(c *call, y *graph.Value) *graph.Value { return c.from(1, c.mul(y, y)) })

var sigmoidRule = viaOut(func(c *call, y *graph.Value) *graph.Value { return c.sub(y, c.mul(y, y)) })

var reluRule = viaOut(func(c *call, y *graph.Value) *graph.Value { return c.unary("Sign", y) })

var softplusRule = viaIn(func(c *call, x *graph.Value) *graph.Value { return c.unary("Sigmoid", x) })

// softsignRule: y = x/(1+|x|), ∂y = (1−|y|)².
var softsignRule = viaOut(func(c *call, y *graph.Value) *graph.Value {
	r := c.from(1, c.unary("Abs", y))
	return c.mul(r, r)
})

var sinRule = viaIn(func(c *call, x *graph.Value) *graph.Value { return c.unary("Cos", x) })

func cosRule(c *call, i int) *graph.Value {
	return c.scaled(c.mul(c.dy(), c.unary("Sin", c.in(0))), -1)
}

// positive chooses between the gradient where the operand is positive and dv
// elsewhere.
func (c *call) positive(dv *graph.Value) *graph.Value {
	return c.where(c.above(c.in(0), 0), c.dy(), dv)
}

func leakyReluRule(c *call, i int) *graph.Value {
	return c.positive(c.times(c.dy(), float64(c.node.FloatAttr("alpha", 0.01))))
}

// eluRule: α(eˣ−1) below zero, with derivative y + α.
func eluRule(c *call, i int) *graph.Value {
	return c.positive(c.mul(c.dy(), c.plus(c.out(0), float64(c.node.FloatAttr("alpha", 1)))))
}

// celuRule: α(e^(x/α)−1) below zero, with derivative y/α + 1.
func celuRule(c *call, i int) *graph.Value {
	return c.positive(c.mul(c.dy(), c.plus(c.times(c.out(0), 1/float64(c.node.FloatAttr("alpha", 1))), 1)))
}

// seluRule: γx above zero, γα(eˣ−1) below, with derivative y + γα.
func seluRule(c *call, i int) *graph.Value {
	alpha, gamma := float64(c.node.FloatAttr("alpha", 1.67326319217681884765625)), float64(c.node.FloatAttr("gamma", 1.05070102214813232421875))
	below := c.mul(c.dy(), c.plus(c.out(0), gamma*alpha))
	return c.where(c.above(c.in(0), 0), c.times(c.dy(), gamma), below)
}

func thresholdedReluRule(c *call, i int) *graph.Value {
	return c.keep(c.above(c.in(0), float64(c.node.FloatAttr("alpha", 1))))
}

// ramp is the condition that a result between 0 and 1 is at neither end.
func (c *call) ramp(y *graph.Value) *graph.Value { return c.and(c.above(y, 0), c.below(y, 1)) }

func hardSigmoidRule(c *call, i int) *graph.Value {
	return c.scaled(c.keep(c.ramp(c.out(0))), float64(c.node.FloatAttr("alpha", 0.2)))
}

// hardSwishRule: y = x·s(x) with s the hard sigmoid of slope 1/6.
var hardSwishRule = viaIn(func(c *call, x *graph.Value) *graph.Value {
	s := c.unary("HardSigmoid", x, graph.Float("alpha", 1.0/6), graph.Float("beta", 0.5))
	return c.add(s, c.where(c.ramp(s), c.times(x, 1.0/6), c.num(c.elem(x), 0)))
})

// mishRule: y = x·t with t = tanh(softplus x), ∂y = t + x(1−t²)σ(x).
var mishRule = viaIn(func(c *call, x *graph.Value) *graph.Value {
	t := c.unary("Tanh", c.unary("Softplus", x))
	return c.add(t, c.mul(x, c.mul(c.from(1, c.mul(t, t)), c.unary("Sigmoid", x))))
})

// swish is the derivative of x·σ(αx): s + αx·s(1−s).
func swish(c *call, x *graph.Value, alpha float64) *graph.Value {
	s := c.unary("Sigmoid", c.times(x, alpha))
	return c.add(s, c.times(c.mul(x, c.sub(s, c.mul(s, s))), alpha))
}

func swishRule(alpha float32) rule {
	return viaIn(func(c *call, x *graph.Value) *graph.Value {
		return swish(c, x, float64(c.node.FloatAttr("alpha", alpha)))
	})
}

// geluRule: y = x·Φ(x), ∂y = Φ + xφ, exactly or by tanh.
var geluRule = viaIn(func(c *call, x *graph.Value) *graph.Value {
	if c.node.StringAttr("approximate", "none") == "tanh" {
		return geluTanh(c, x)
	}
	return geluErf(c, x)
})

// geluErf is ½(1 + erf(x/√2)) + x·exp(−x²/2)/√(2π).
func geluErf(c *call, x *graph.Value) *graph.Value {
	a := c.times(x, math.Sqrt2/2)
	bell := c.div(c.times(x, 1/math.Sqrt(2*math.Pi)), c.unary("Exp", c.mul(a, a)))
	return c.add(c.plus(c.times(c.unary("Erf", a), 0.5), 0.5), bell)
}

// geluTanh is the derivative of ½x(1+t), t = tanh(k(x + 0.044715x³)) and
// k = √(2/π).
func geluTanh(c *call, x *graph.Value) *graph.Value {
	k, cube := math.Sqrt(2/math.Pi), 0.044715
	square := c.mul(x, x)
	t := c.unary("Tanh", c.times(c.mul(x, c.plus(c.times(square, cube), 1)), k))
	slope := c.mul(x, c.plus(c.times(square, 3*cube), 1))
	bell := c.times(c.mul(slope, c.from(1, c.mul(t, t))), k/2)
	return c.add(c.plus(c.times(t, 0.5), 0.5), bell)
}
