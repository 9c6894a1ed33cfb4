package grad

import (
	"fmt"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// Convolution and pooling. The gradient with respect to the image is a
// transposed convolution with the same weight.

// window is the geometry of a convolution or pool, one entry per image axis.
type window struct {
	kernel, stride, dilation, before, after []int64
	in, out                                 []int64 // image sizes
}

// geometry reads the window of a node, whose kernel is given. Paddings that
// the node leaves to ONNX are worked out from the sizes.
func (c *call) geometry(kernel []int64) (w window, ok bool) {
	n := len(kernel)
	dx, dy := c.inDims(0), c.outDims(0)
	if c.err != nil {
		return w, false
	}
	if len(dx) != n+2 {
		c.unsupported(fmt.Sprintf("an image of %d axes for a window of %d", len(dx), n), "check the model")
		return w, false
	}
	in, ok1 := fixed(dx[2:])
	out, ok2 := fixed(dy[2:])
	if !ok1 || !ok2 || dx[1].Dynamic() {
		c.unsupported("an image whose size grows with the batch", "export the model with a fixed image size")
		return w, false
	}
	w = window{kernel: kernel, stride: c.perAxis("strides", n), dilation: c.perAxis("dilations", n), in: in, out: out}
	w.before, w.after = make([]int64, n), make([]int64, n)
	auto := c.node.StringAttr("auto_pad", "NOTSET")
	for i := range n {
		switch auto {
		case "NOTSET", "":
			if p, ok := c.node.IntsAttr("pads"); ok && len(p) == 2*n {
				w.before[i], w.after[i] = p[i], p[n+i]
			}
		case "SAME_UPPER", "SAME_LOWER":
			total := max(0, (out[i]-1)*w.stride[i]+w.extent(i)-in[i])
			w.before[i] = total / 2
			if auto == "SAME_LOWER" {
				w.before[i] = total - total/2
			}
			w.after[i] = total - w.before[i]
		}
	}
	return w, true
}

func (c *call) perAxis(attr string, n int) []int64 {
	if xs, ok := c.node.IntsAttr(attr); ok && len(xs) == n {
		return xs
	}
	xs := make([]int64, n)
	for i := range xs {
		xs[i] = 1
	}
	return xs
}

// extent is the size of the dilated kernel.
func (w window) extent(i int) int64 { return (w.kernel[i]-1)*w.dilation[i] + 1 }

// uneven reports whether a last window reaches beyond the image.
func (w window) uneven() bool {
	for i, n := range w.in {
		if (n+w.before[i]+w.after[i]-w.extent(i))%w.stride[i] != 0 {
			return true
		}
	}
	return false
}

// spread is the transposed convolution of dy with a weight, of the image's
// size. What the window did not reach, at the far end, is zero.
func (c *call) spread(dy, weight *graph.Value, w window, group int64) *graph.Value {
	dims := c.inDims(0)
	if c.err != nil {
		return nil
	}
	n := len(w.kernel)
	pads, end := make([]int64, 2*n), make([]int64, n+2)
	have := append([]engine.Size(nil), dims...)
	for i := range n {
		// A transposed convolution covers full; before and after are cut off.
		full := (w.out[i]-1)*w.stride[i] + w.extent(i)
		missing := w.in[i] + w.before[i] - full // beyond the last window
		pads[i], pads[n+i] = w.before[i], max(0, -missing)
		end[i+2] = max(0, missing)
		have[i+2].Fixed = w.in[i] - end[i+2]
	}
	dx := c.op("ConvTranspose", info{have, c.elem(dy)}, []*graph.Value{dy, weight},
		graph.Ints("kernel_shape", w.kernel...), graph.Ints("strides", w.stride...), graph.Ints("dilations", w.dilation...),
		graph.Ints("pads", pads...), graph.Int("group", group))
	return c.pad(dx, make([]int64, n+2), end)
}

// convRule serves the image and the bias; the weight has no rule.
func convRule(c *call, i int) *graph.Value {
	switch i {
	case 1:
		return c.operand(i)
	case 2:
		return c.channelSum(c.dy())
	}
	weight := c.inDims(1)
	if c.err != nil {
		return nil
	}
	kernel, ok := fixed(weight[2:])
	if !ok {
		return c.operand(1)
	}
	w, ok := c.geometry(kernel)
	if !ok {
		return nil
	}
	return c.spread(c.dy(), c.in(1), w, c.node.IntAttr("group", 1))
}

// averagePoolRule spreads each mean evenly over its window.
func averagePoolRule(c *call, i int) *graph.Value {
	kernel, _ := c.node.IntsAttr("kernel_shape")
	w, ok := c.geometry(kernel)
	if !ok {
		return nil
	}
	if c.node.IntAttr("ceil_mode", 0) != 0 && w.uneven() {
		return c.unsupported("sizes rounded up", "export the model with ceil_mode off")
	}
	dims := c.outDims(0)
	shares := make([]float64, graph.Elements(w.out))
	for place := range shares {
		count, rest := int64(1), int64(place)
		for a := len(kernel) - 1; a >= 0; a-- {
			count *= w.covered(a, rest%w.out[a], c.node.IntAttr("count_include_pad", 0) != 0)
			rest /= w.out[a]
		}
		shares[place] = 1 / float64(count)
	}
	channels := dims[1].Fixed
	elem := c.elem(c.dy())
	dy := c.mul(c.dy(), c.floats(elem, w.out, shares...))
	weights := make([]float64, channels*graph.Elements(kernel))
	for k := range weights {
		weights[k] = 1
	}
	return c.spread(dy, c.floats(elem, append([]int64{channels, 1}, kernel...), weights...), w, channels)
}

// covered counts the elements that window number at takes along an axis.
func (w window) covered(a int, at int64, padding bool) int64 {
	if padding {
		return w.kernel[a]
	}
	count := int64(0)
	for k := range w.kernel[a] {
		if x := at*w.stride[a] - w.before[a] + k*w.dilation[a]; x >= 0 && x < w.in[a] {
			count++
		}
	}
	return count
}

// maxPoolRule adds each gradient to the element that won, which the pool
// itself tells.
func maxPoolRule(c *call, i int) *graph.Value {
	if c.opset < 16 {
		return c.unsupported("MaxPool before opset 16", "export the model with a later opset")
	}
	if c.node.IntAttr("storage_order", 0) != 0 || c.dys[0] == nil {
		return c.unsupported("column-major indices", "export the model with storage_order 0")
	}
	size, ok := product(c.inDims(0))
	if !ok || c.err != nil {
		return c.unsupported("an image whose size grows with the batch", "export the model with a fixed image size")
	}
	flat := []engine.Size{size}
	count, _ := product(c.outDims(0))
	pool := c.g.NewNode("MaxPool", c.g.UniqueName(c.label+"/MaxPool"))
	pool.SetInputs(c.in(0))
	for _, a := range c.node.Attrs() {
		pool.SetAttr(a)
	}
	c.know(pool.AddOutput(pool.Name), info{c.outDims(0), c.elem(c.dy())})
	index := pool.AddOutput(c.g.UniqueName(pool.Name + "/index"))
	c.know(index, info{c.outDims(0), graph.Int64})
	zeros := c.zeros(c.elem(c.dy()), flat)
	dx := c.op("ScatterElements", info{flat, c.elem(c.dy())},
		[]*graph.Value{zeros, c.reshape(index, []engine.Size{count}), c.reshape(c.dy(), []engine.Size{count})},
		graph.Int("axis", 0), graph.Str("reduction", "add"))
	return c.reshape(dx, c.inDims(0))
}

// globalAverageRule: the same share for every place of the image.
func globalAverageRule(c *call, i int) *graph.Value {
	dims := c.inDims(0)
	if c.err != nil {
		return nil
	}
	n, ok := product(dims[2:])
	if !ok || n.Dynamic() {
		return c.unsupported("an image whose size grows with the batch", "export the model with a fixed image size")
	}
	return c.scaled(c.dy(), 1/float64(n.Fixed))
}

// globalMaxRule: places that reach the maximum share its gradient evenly.
func globalMaxRule(c *call, i int) *graph.Value {
	won := c.cast(c.not(c.compare("Less", c.in(0), c.out(0))), c.elem(c.dy()))
	return c.mul(won, c.div(c.dy(), c.sum(won, axesFrom(2, len(c.inDims(0))))))
}

// convTransposeRule: the gradient of a transposed convolution is the
// convolution with the same weight.
func convTransposeRule(c *call, i int) *graph.Value {
	n := c.node
	switch {
	case i == 2:
		return c.reshape(c.sum(c.dy(), append([]int{0}, axesFrom(2, len(c.outDims(0)))...)), c.inDims(2))
	case i == 1:
		return c.operand(i)
	case n.StringAttr("auto_pad", "NOTSET") != "NOTSET" || n.Attr("output_shape") != nil:
		return c.unsupported("a transposed convolution whose padding is not given", "export the model with explicit pads")
	}
	var attrs []*graph.Attr
	for _, name := range []string{"strides", "pads", "dilations", "group"} {
		if a := n.Attr(name); a != nil {
			b := *a
			attrs = append(attrs, &b)
		}
	}
	return c.op("Conv", info{c.inDims(0), c.elem(c.dy())}, []*graph.Value{c.dy(), c.in(1)}, attrs...)
}

// col2ImRule: what is summed up from windows is cut into windows again, by a
// convolution of each channel with one filter per place of the window.
func col2ImRule(c *call, i int) *graph.Value {
	block := c.node.Input(2)
	if i != 0 || block == nil || block.Const() == nil {
		return c.unsupported("windows whose size is computed", "export the model with a fixed image size")
	}
	kernel, err := block.Const().Ints()
	dx, dy := c.inDims(0), c.outDims(0)
	if c.err != nil || err != nil || len(dy) != len(kernel)+2 || dx[1].Dynamic() {
		return c.unsupported("windows of unknown sizes", "export the model with a fixed image size")
	}
	places, channels := graph.Elements(kernel), dy[1].Fixed
	at := make([]float64, channels*places*places)
	for k := range channels * places {
		at[k*places+k%places] = 1
	}
	out := []engine.Size{dx[0], dx[1]}
	stride, dilation := c.perAxis("strides", len(kernel)), c.perAxis("dilations", len(kernel))
	pads, ok := c.node.IntsAttr("pads")
	if !ok {
		pads = make([]int64, 2*len(kernel))
	}
	for a, k := range kernel {
		size := dy[2+a].Fixed + pads[a] + pads[a+len(kernel)] - (k-1)*dilation[a] - 1
		out = append(out, engine.Size{Fixed: size/stride[a] + 1})
	}
	filters := c.floats(c.elem(c.dy()), append([]int64{channels * places, 1}, kernel...), at...)
	y := c.op("Conv", info{out, c.elem(c.dy())}, []*graph.Value{c.dy(), filters}, graph.Int("group", channels),
		graph.Ints("strides", stride...), graph.Ints("dilations", dilation...), graph.Ints("pads", pads...))
	return c.reshape(y, dx)
}
