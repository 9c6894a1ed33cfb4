package grad

import (
	"fmt"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
)

// MaskOptions say what a mask looks like.
type MaskOptions struct {
	Name     string // of the new input, made unique; "" means "mask"
	Axis     int    // the axis of the channels, counted from the end: 1 is the last
	PerImage bool   // one mask for each image of a batch, so that its gradient is per image too
}

// AddMask multiplies what node n reads as the given operand by a new input of
// m and returns the input's name. Other readers of that value are not masked.
// With e channels the input has dimensions [e], or [B, e] where it is per
// image; a mask of ones changes nothing.
//
// shapes must know the operand. Masks per image need the batch to be an axis
// of its own.
func AddMask(m *graph.Model, shapes *engine.Shapes, n *graph.Node, operand int, opt MaskOptions) (string, error) {
	e := newEmitter(m, shapes, "mask")
	x := n.Input(operand)
	where := fmt.Sprintf("mask on operand %d of %s", operand, n)
	if x == nil || n.Graph() != m.Graph || !e.elem(x).IsFloat() {
		return "", &fault.Error{Kind: fault.Usage, Where: where, Got: "no floating-point value there", Want: "one that the node reads"}
	}
	dims := e.dims(x)
	if e.err != nil {
		return "", e.err
	}
	channel := len(dims) - opt.Axis
	if opt.Axis < 1 || channel < 0 || dims[channel].Dynamic() {
		return "", &fault.Error{Kind: fault.Usage, Where: where, Got: fmt.Sprintf("axis %d from the end of %d", opt.Axis, len(dims)), Want: "the axis of the channels"}
	}
	own := []engine.Size{dims[channel]} // the dimensions of the mask, then of the mask beside the operand
	beside := ones(opt.Axis)
	typ := graph.TensorType(e.elem(x), graph.Fixed(dims[channel].Fixed))
	if opt.PerImage {
		batch, size, err := e.batchAxis(m, dims[:channel], where)
		if err != nil {
			return "", err
		}
		own = slices.Insert(own, 0, size)
		beside = ones(len(dims) - batch)
		beside[0] = size
		typ.Shape.Dims = slices.Insert(typ.Shape.Dims, 0, e.dim(size))
	}
	beside[len(beside)-opt.Axis] = dims[channel]
	if opt.Name == "" {
		opt.Name = "mask"
	}
	mask := m.Graph.AddInput(m.Graph.UniqueName(opt.Name), typ)
	e.own[mask] = info{own, e.elem(x)}
	n.SetInput(operand, e.mul(x, e.reshape(mask, beside)))
	return mask.Name(), e.err
}

// batchAxis returns the axis of the images and their number. With one image
// in every batch that is the axis just before the channels' or further in
// front, whichever has size 1.
func (e *emitter) batchAxis(m *graph.Model, dims []engine.Size, where string) (axis int, size engine.Size, err error) {
	size = batchSize
	if !engine.DynamicBatch(m) {
		size = one
		if feeds := engine.Feeds(m); len(feeds) > 0 {
			if d := e.dims(feeds[0]); len(d) > 0 {
				size = d[0]
			}
		}
	}
	axis = slices.Index(dims, size)
	if axis < 0 {
		return 0, size, &fault.Error{Kind: fault.Unsupported, Where: where, Got: "images and tokens folded into one axis", Want: "an axis of the batch alone",
			Remedy: "use one mask for all images"}
	}
	return axis, size, nil
}
