package grad

import (
	"nuwa/graph"
	"nuwa/internal/engine"
)

// Operators that overwrite, sort or mask elements, and their like.

// scatterRule: what was overwritten has no gradient, what overwrote it has that
// of where it went. With a sum, both have it.
func scatterRule(gather string) rule {
	return func(c *call, i int) *graph.Value {
		dims := c.inDims(2)
		dy := c.dy()
		reduction := c.node.StringAttr("reduction", "none")
		switch {
		case i == 1:
			return c.operand(i)
		case c.opset < 11 || reduction != "none" && reduction != "add":
			return c.unsupported(opName(c.node)+" before opset 11, or with the reduction "+reduction, "export the model without it")
		case i == 2 && gather == "GatherND":
			return c.op(gather, info{dims, c.elem(dy)}, []*graph.Value{dy, c.in(1)})
		case i == 2:
			return c.op(gather, info{dims, c.elem(dy)}, []*graph.Value{dy, c.in(1)}, graph.Int("axis", c.node.IntAttr("axis", 0)))
		case reduction == "add":
			return dy
		}
		var attrs []*graph.Attr
		if gather == "GatherElements" {
			attrs = append(attrs, graph.Int("axis", c.node.IntAttr("axis", 0)))
		}
		return c.op(c.node.Op, info{c.inDims(0), c.elem(dy)}, []*graph.Value{dy, c.in(1), c.zeros(c.elem(dy), dims)}, attrs...)
	}
}

// topKRule puts the gradients of the chosen elements back where they were.
func topKRule(c *call, i int) *graph.Value {
	if i != 0 || c.opset < 11 {
		return c.unsupported("TopK before opset 11, or a gradient of its count", "export the model with a later opset")
	}
	dims, dy := c.inDims(0), c.dys[0]
	return c.op("ScatterElements", info{dims, c.elem(dy)}, []*graph.Value{c.zeros(c.elem(dy), dims), c.out(1), dy}, graph.Int("axis", c.node.IntAttr("axis", -1)))
}

// triluRule keeps the triangle that was kept.
func triluRule(c *call, i int) *graph.Value {
	if i != 0 {
		return c.operand(i)
	}
	inputs := []*graph.Value{c.dy()}
	if c.node.Input(1) != nil {
		inputs = append(inputs, c.in(1))
	}
	return c.op("Trilu", info{c.inDims(0), c.elem(c.dy())}, inputs, graph.Int("upper", c.node.IntAttr("upper", 1)))
}

// cumSumRule sums from the other end.
func cumSumRule(c *call, i int) *graph.Value {
	if i != 0 {
		return c.operand(i)
	}
	return c.op("CumSum", info{c.inDims(0), c.elem(c.dy())}, []*graph.Value{c.dy(), c.in(1)},
		graph.Int("exclusive", c.node.IntAttr("exclusive", 0)), graph.Int("reverse", 1-c.node.IntAttr("reverse", 0)))
}

// castLikeRule: the second operand gives the type only.
func castLikeRule(c *call, i int) *graph.Value {
	if i != 0 {
		return nil
	}
	return castRule(c, i)
}

// spaceToDepthRule and depthToSpaceRule undo each other; channels and the
// places of a block trade places.
func spaceToDepthRule(c *call, i int) *graph.Value {
	return c.blocks(c.inDims(0), []int{0, 3, 4, 1, 5, 2}, func(b engine.Size, d []engine.Size) []engine.Size {
		return []engine.Size{d[0], b, b, d[1], shrunk(d[2], b), shrunk(d[3], b)}
	})
}

func depthToSpaceRule(c *call, i int) *graph.Value {
	perm, channel := []int{0, 3, 5, 1, 2, 4}, 1 // from [B, C/b², H, b, W, b] to [B, b, b, C/b², H, W]
	if c.node.StringAttr("mode", "DCR") == "CRD" {
		perm, channel = []int{0, 1, 3, 5, 2, 4}, 1
	}
	return c.blocks(c.inDims(0), perm, func(b engine.Size, d []engine.Size) []engine.Size {
		return []engine.Size{d[0], shrunk(shrunk(d[channel], b), b), d[2], b, d[3], b}
	})
}

// shrunk divides a size by that of a block.
func shrunk(d, block engine.Size) engine.Size { return engine.Size{Fixed: d.Fixed / block.Fixed} }

// blocks reshapes the gradient to the axes that split gives, permutes these and
// reshapes the result to dims.
func (c *call) blocks(dims []engine.Size, perm []int, split func(block engine.Size, dims []engine.Size) []engine.Size) *graph.Value {
	if c.err != nil {
		return nil
	}
	return c.reshape(c.transpose(c.reshape(c.dy(), split(engine.Size{Fixed: c.node.IntAttr("blocksize", 1)}, dims)), perm), dims)
}
