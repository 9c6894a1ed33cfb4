package grad

import (
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// Normalizations. All reduce to one form: over some axes, x is centred (or
// not), and divided by the root of its mean square.

// normalized is the gradient with respect to x of n = (x−μ)/√(σ²+ε), or of
// x/√(mean x² + ε) without centre, where g is that with respect to n:
//
//	dx = (g − mean g − (x−μ)·mean(g∘(x−μ))/(σ²+ε)) / √(σ²+ε)
//
// with means over axes, and without "− mean g" where x is not centred. Half
// precision is left for it: squares overflow there, and ε vanishes.
func (c *call) normalized(x, g *graph.Value, axes []int, epsilon float64, centre bool) *graph.Value {
	if t := c.elem(x); t.IsHalf() {
		return c.cast(c.normalized(c.cast(x, graph.Float32), c.cast(g, graph.Float32), axes, epsilon, centre), t)
	}
	if centre {
		x = c.sub(x, c.mean(x, axes))
	}
	variance := c.plus(c.mean(c.mul(x, x), axes), epsilon)
	dx := c.sub(g, c.mul(x, c.div(c.mean(c.mul(g, x), axes), variance)))
	if centre {
		dx = c.sub(dx, c.mean(g, axes))
	}
	return c.div(dx, c.unary("Sqrt", variance))
}

// unit returns x normalized, for the gradient of a scale.
func (c *call) unit(x *graph.Value, axes []int, epsilon float64, centre bool) *graph.Value {
	if centre {
		x = c.sub(x, c.mean(x, axes))
	}
	return c.div(x, c.unary("Sqrt", c.plus(c.mean(c.mul(x, x), axes), epsilon)))
}

// layerNormRule serves LayerNormalization and, not centred,
// RMSNormalization: operands x, scale and, where centred, shift.
func layerNormRule(centre bool) rule {
	return func(c *call, i int) *graph.Value {
		r := len(c.inDims(0))
		axes := axesFrom(axis(c.node.IntAttr("axis", -1), r), r)
		epsilon := float64(c.node.FloatAttr("epsilon", 1e-5))
		dy := c.dys[0]
		if dy == nil || len(c.dys) > 1 && slices.ContainsFunc(c.dys[1:], func(v *graph.Value) bool { return v != nil }) {
			return c.unsupported("a gradient of its mean or deviation", "ask for values after it")
		}
		switch i {
		case 0:
			return c.normalized(c.in(0), c.mul(dy, c.in(1)), axes, epsilon, centre)
		case 1:
			return c.mul(dy, c.unit(c.in(0), axes, epsilon, centre))
		}
		return dy
	}
}

// perChannel gives a vector of one number per channel the rank of a value
// whose channels are axis 1.
func (c *call) perChannel(v *graph.Value, r int) *graph.Value {
	dims := ones(r - 1)
	if c.err != nil {
		return nil
	}
	dims[0] = c.dims(v)[0]
	return c.reshape(v, dims)
}

// instanceNormRule: each channel of each image by itself, epsilon 1e-5 unless
// given.
func instanceNormRule(c *call, i int) *graph.Value {
	r := len(c.inDims(0))
	axes := axesFrom(2, r)
	epsilon := float64(c.node.FloatAttr("epsilon", 1e-5))
	switch i {
	case 0:
		return c.normalized(c.in(0), c.mul(c.dy(), c.perChannel(c.in(1), r)), axes, epsilon, true)
	case 1:
		return c.channelSum(c.mul(c.dy(), c.unit(c.in(0), axes, epsilon, true)))
	}
	return c.channelSum(c.dy())
}

// channelSum adds up all but the channels, axis 1.
func (c *call) channelSum(v *graph.Value) *graph.Value {
	if c.err != nil {
		return nil
	}
	dims := c.dims(v)
	axes := append([]int{0}, axesFrom(2, len(dims))...)
	return c.reshape(c.sum(v, axes), dims[1:2])
}

// groupNormRule: channels in groups that are normalized together. Scale and
// shift are per group in opset 18, per channel from 21 on.
func groupNormRule(c *call, i int) *graph.Value {
	if i != 0 {
		return c.operand(i)
	}
	dims := c.inDims(0)
	groups := c.node.IntAttr("num_groups", 1)
	if len(dims) < 2 || dims[1].Dynamic() || groups < 1 {
		return c.unsupported("channels that are not of fixed number", "export the model with fixed sizes")
	}
	split := slices.Concat(dims[:1], []engine.Size{{Fixed: groups}, {Fixed: dims[1].Fixed / groups}}, dims[2:])
	r := len(split)
	scale := c.in(1)
	if c.opset >= 21 {
		scale = c.reshape(scale, append(slices.Clone(split[1:3]), ones(r-3)...))
	} else {
		scale = c.reshape(scale, append(slices.Clone(split[1:2]), ones(r-2)...))
	}
	g := c.mul(c.reshape(c.dy(), split), scale)
	x := c.reshape(c.in(0), split)
	dx := c.normalized(x, g, axesFrom(2, r), float64(c.node.FloatAttr("epsilon", 1e-5)), true)
	return c.reshape(dx, dims)
}

// batchNormRule: at inference a scale and shift per channel.
func batchNormRule(c *call, i int) *graph.Value {
	if i != 0 {
		return c.operand(i)
	}
	if c.node.IntAttr("training_mode", 0) != 0 {
		return c.unsupported("statistics of the batch", "export the model for inference")
	}
	r := len(c.inDims(0))
	deviation := c.unary("Sqrt", c.plus(c.in(4), float64(c.node.FloatAttr("epsilon", 1e-5))))
	return c.mul(c.dy(), c.perChannel(c.div(c.in(1), deviation), r))
}

// lpNormRule: y = x/‖x‖ with the 1- or 2-norm, dx = (dy − ∂‖x‖·Σ dy∘y)/‖x‖.
func lpNormRule(c *call, i int) *graph.Value {
	axes := []int{axis(c.node.IntAttr("axis", -1), len(c.inDims(0)))}
	x, y, dy := c.in(0), c.out(0), c.dy()
	norm, slope := c.reduce("ReduceL2", x, axes), y
	if c.node.IntAttr("p", 2) == 1 {
		norm, slope = c.reduce("ReduceL1", x, axes), c.unary("Sign", x)
	}
	return c.div(c.sub(dy, c.mul(slope, c.sum(c.mul(dy, y), axes))), norm)
}

// meanVarianceRule: (x−μ)/(σ + 1e-9) over axes that default to all but the
// channels.
func meanVarianceRule(c *call, i int) *graph.Value {
	axes := []int64{0, 2, 3}
	if xs, ok := c.node.IntsAttr("axes"); ok {
		axes = xs
	}
	return c.normalized(c.in(0), c.dy(), axesOf(axes, len(c.inDims(0))), 0, true)
}
