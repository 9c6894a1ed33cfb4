package grad

import (
	"nuwa/graph"
	"nuwa/internal/engine"
)

// resizeRule: resizing is linear along each axis, and ONNX Runtime itself gives
// the matrix, as what it makes of the identity: whatever an interpolation does
// with coordinates, its gradient is the product with the matrix transposed.
func resizeRule(c *call, i int) *graph.Value {
	n := c.node
	switch {
	case i != 0:
		return c.operand(i)
	case c.opset < 11 || n.StringAttr("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize" || n.StringAttr("keep_aspect_ratio_policy", "stretch") != "stretch":
		return c.unsupported("Resize before opset 11, or one that crops or keeps an aspect", "export the model with another one")
	}
	in, out := c.inDims(0), c.outDims(0)
	if c.err != nil {
		return nil
	}
	scales, err := c.scales(len(in))
	if err != nil {
		c.fail(err)
		return nil
	}
	dy := c.dy()
	for a := range in {
		scaled := scales != nil && scales[a] != 1
		if in[a] == out[a] && !scaled {
			continue
		}
		if in[a].Dynamic() || out[a].Dynamic() {
			return c.unsupported("an axis that grows with the batch", "export the model with a fixed image size")
		}
		dy = c.contract(dy, a, c.resizer(a, in[a].Fixed, out[a].Fixed, scales))
	}
	return dy
}

// scales returns the factor of each of r axes where the node says factors
// rather than sizes, nil otherwise.
func (c *call) scales(r int) ([]float64, error) {
	t := constantOf(c.node.Input(2))
	if t == nil || t.Len() == 0 {
		return nil, nil
	}
	xs, err := t.Floats()
	if err != nil {
		return nil, err
	}
	out := make([]float64, r)
	for a := range out {
		out[a] = 1
	}
	axes, given := c.node.IntsAttr("axes")
	for k, x := range xs {
		a := k
		if given {
			a = axis(axes[k], r)
		}
		out[a] = x
	}
	return out, nil
}

// resizer is the matrix [out, in] that axis a is resized by.
func (c *call) resizer(a int, in, out int64, scales []float64) *graph.Value {
	elem := c.elem(c.dy())
	identity := make([]float64, in*in)
	for k := range in {
		identity[k*in+k] = 1
	}
	x := c.floats(elem, []int64{1, 1, in, in}, identity...)
	inputs := []*graph.Value{x, c.constant("roi", graph.NewTensor([]int64{0}, []float32{})), nil, nil}
	if scales != nil {
		inputs[2] = c.constant("scales", graph.NewTensor([]int64{4}, []float32{1, 1, float32(scales[a]), 1}))
		inputs = inputs[:3]
	} else {
		if c.opset < 13 {
			inputs[2] = c.constant("scales", graph.NewTensor([]int64{0}, []float32{}))
		}
		inputs[3] = c.ints(1, 1, out, in)
	}
	var attrs []*graph.Attr
	for _, at := range c.node.Attrs() {
		if at.Name != "axes" {
			b := *at
			attrs = append(attrs, &b)
		}
	}
	is := info{[]engine.Size{one, one, {Fixed: out}, {Fixed: in}}, elem}
	return c.reshape(c.op("Resize", is, inputs, attrs...), is.dims[2:])
}

// contract multiplies an axis of v, of n elements, by a matrix [n, m].
func (c *call) contract(v *graph.Value, axis int, matrix *graph.Value) *graph.Value {
	if c.err != nil {
		return nil
	}
	r := len(c.dims(v))
	perm := append(axesFrom(0, axis), append(axesFrom(axis+1, r), axis)...)
	back := make([]int, r)
	for to, from := range perm {
		back[from] = to
	}
	return c.transpose(c.matmul(c.transpose(v, perm), false, matrix, false), back)
}
