package opset

import (
	"fmt"
	"math"
	"slices"

	"nuwa/graph"
)

// sliceUp makes operands of starts, ends and axes.
func sliceUp(c *converter, n *graph.Node) string {
	starts, _ := n.IntsAttr("starts")
	ends, _ := n.IntsAttr("ends")
	axes, ok := n.IntsAttr("axes")
	name := n.Output(0).Name()
	in := []*graph.Value{n.Input(0), c.ints(name+"_starts", starts...), c.ints(name+"_ends", ends...)}
	if ok {
		in = append(in, c.ints(name+"_axes", axes...))
	}
	for _, attr := range []string{"starts", "ends", "axes"} {
		n.RemoveAttr(attr)
	}
	n.SetInputs(in...)
	return ""
}

// topKUp makes an operand of k.
func topKUp(c *converter, n *graph.Node) string {
	n.SetInput(1, c.ints(n.Output(0).Name()+"_k", n.IntAttr("k", 0)))
	n.RemoveAttr("k")
	return ""
}

// clipUp makes operands of min and max, in single precision as their kind is.
func clipUp(c *converter, n *graph.Node) string {
	for i, attr := range []string{"min", "max"} {
		a := n.Attr(attr)
		if a == nil {
			continue
		}
		if t := c.elem(n.Input(0)); t != graph.Float32 {
			return fmt.Sprintf("its bounds are attributes, and its elements %s", t)
		}
		if math.Abs(float64(a.F)) < math.MaxFloat32 {
			n.SetInput(i+1, c.g.AddConst(n.Output(0).Name()+"_"+attr, graph.Scalar(a.F)))
		}
		n.RemoveAttr(attr)
	}
	return ""
}

// padUp makes operands of pads and value.
func padUp(c *converter, n *graph.Node) string {
	pads, ok := n.IntsAttr("pads")
	if !ok {
		return "it has no pads"
	}
	name := n.Output(0).Name()
	n.SetInput(1, c.ints(name+"_pads", pads...))
	if x := n.FloatAttr("value", 0); x != 0 {
		if t := c.elem(n.Input(0)); t != graph.Float32 {
			return fmt.Sprintf("its value is an attribute, and its elements %s", t)
		}
		n.SetInput(2, c.g.AddConst(name+"_value", graph.Scalar(x)))
	}
	n.RemoveAttr("pads")
	n.RemoveAttr("value")
	return ""
}

// resizeUp puts an empty region between data and scales; coordinates and
// rounding were fixed before.
func resizeUp(c *converter, n *graph.Node) string {
	n.SetInputs(n.Input(0), c.g.AddConst(n.Output(0).Name()+"_roi", graph.NewTensor([]int64{0}, []float32{})), n.Input(1))
	n.SetAttr(graph.Str("coordinate_transformation_mode", "asymmetric"))
	n.SetAttr(graph.Str("nearest_mode", "floor"))
	return ""
}

// resizeDown makes omitted operands empty ones.
func resizeDown(c *converter, n *graph.Node) string {
	for i, what := range []string{"_roi", "_scales"} {
		if n.Input(i+1) == nil {
			n.SetInput(i+1, c.g.AddConst(n.Output(0).Name()+what, graph.NewTensor([]int64{0}, []float32{})))
		}
	}
	return ""
}

// dropoutUp makes an operand of the ratio, which only training looks at.
func dropoutUp(c *converter, n *graph.Node) string {
	if a := n.Attr("ratio"); a != nil {
		if c.elem(n.Input(0)) == graph.Float32 {
			n.SetInput(1, c.g.AddConst(n.Output(0).Name()+"_ratio", graph.Scalar(a.F)))
		}
		n.RemoveAttr("ratio")
	}
	return ""
}

func dropoutDown(_ *converter, n *graph.Node) string {
	if t := n.Input(2); t != nil {
		x, err := constBool(t)
		if err != nil || x {
			return "it is in training mode, or may be"
		}
	}
	n.RemoveAttr("seed")
	n.SetInputs(n.Input(0))
	return ""
}

func constBool(v *graph.Value) (bool, error) {
	t := constant(v)
	if t == nil {
		return false, fmt.Errorf("%q is computed", v.Name())
	}
	xs, err := t.Ints()
	return len(xs) > 0 && xs[0] != 0, err
}

// softmaxUp keeps a softmax over the last axis; one over several, which opset 13
// no longer has, is taken over one after a Flatten.
func softmaxUp(c *converter, n *graph.Node) string {
	dims, ok := c.dims(n.Input(0))
	axis := n.IntAttr("axis", 1)
	if !ok {
		return "its rank is not known"
	}
	if axis < 0 {
		axis += int64(len(dims))
	}
	for _, d := range dims[axis:][min(1, len(dims[axis:])):] {
		if d != 1 {
			return c.flattened(n, axis)
		}
	}
	n.SetAttr(graph.Int("axis", axis))
	return ""
}

// flattened takes n over all axes from the given one on.
func (c *converter) flattened(n *graph.Node, axis int64) string {
	x, y, name := n.Input(0), n.Output(0), n.Output(0).Name()
	shape := c.g.Add("Shape", name+"_shape", []*graph.Value{x}).Output(0)
	flat := c.g.Add("Flatten", name+"_flat", []*graph.Value{x}, graph.Int("axis", axis)).Output(0)
	m := c.g.Add(n.Op, name+"_rows", []*graph.Value{flat}, graph.Int("axis", -1)).Output(0)
	y.ReplaceUses(c.g.Add("Reshape", name+"_back", []*graph.Value{m, shape}).Output(0))
	return removed(n)
}

// softmaxDown moves the axis to the end where it is not the last: before opset
// 13, all axes from it on counted.
func softmaxDown(c *converter, n *graph.Node) string {
	dims, ok := c.dims(n.Input(0))
	if !ok {
		return "its rank is not known"
	}
	rank := int64(len(dims))
	axis := n.IntAttr("axis", -1)
	if axis < 0 {
		axis += rank
	}
	rest := dims[axis+1:]
	if !slices.ContainsFunc(rest, func(d int64) bool { return d != 1 }) {
		n.SetAttr(graph.Int("axis", axis))
		return ""
	}
	perm := make([]int64, rank)
	for i := range perm {
		perm[i] = int64(i)
	}
	perm[axis], perm[rank-1] = perm[rank-1], perm[axis]
	y, name := n.Output(0), n.Output(0).Name()
	x := c.g.Add("Transpose", name+"_last", []*graph.Value{n.Input(0)}, graph.Ints("perm", perm...)).Output(0)
	m := c.g.Add(n.Op, name+"_rows", []*graph.Value{x}, graph.Int("axis", rank-1)).Output(0)
	y.ReplaceUses(c.g.Add("Transpose", name+"_back", []*graph.Value{m}, graph.Ints("perm", perm...)).Output(0))
	return removed(n)
}

func removed(n *graph.Node) string {
	if err := n.Remove(); err != nil {
		return err.Error()
	}
	return ""
}

// batchNorm has one result in inference, in every version.
func batchNorm(_ *converter, n *graph.Node) string {
	if n.IntAttr("training_mode", 0) != 0 {
		return "it is in training mode"
	}
	for i, v := range n.Outputs() {
		if i > 0 && v != nil && len(v.Uses()) > 0 {
			return "its running statistics are read"
		}
	}
	n.RemoveAttr("training_mode")
	return ""
}

// shapeDown cuts out of the whole shape what start and end say.
func shapeDown(c *converter, n *graph.Node) string {
	start, end := n.IntAttr("start", 0), n.IntAttr("end", math.MaxInt64)
	n.RemoveAttr("start")
	n.RemoveAttr("end")
	if start == 0 && end == math.MaxInt64 {
		return ""
	}
	y, name := n.Output(0), n.Output(0).Name()
	whole := c.g.Add("Shape", name+"_whole", []*graph.Value{n.Input(0)}).Output(0)
	y.ReplaceUses(c.g.Add("Slice", name+"_part", []*graph.Value{whole, c.ints(name+"_start", start), c.ints(name+"_end", end), c.ints(name+"_axis", 0)}).Output(0))
	return removed(n)
}

// splitUp says how many parts there are where sizes do not.
func splitUp(_ *converter, n *graph.Node) string {
	if n.Input(1) == nil {
		n.SetAttr(graph.Int("num_outputs", int64(len(n.Outputs()))))
	}
	return ""
}

// splitDown gives sizes where the last part is smaller than the others, which
// older sets do not allow without.
func splitDown(c *converter, n *graph.Node) string {
	parts := n.IntAttr("num_outputs", 0)
	n.RemoveAttr("num_outputs")
	if parts == 0 || n.Input(1) != nil {
		return ""
	}
	dims, ok := c.dims(n.Input(0))
	axis := n.IntAttr("axis", 0)
	if axis < 0 {
		axis += int64(len(dims))
	}
	if !ok || dims[axis] < 0 {
		return "the size that it splits is not known"
	}
	each := (dims[axis] + parts - 1) / parts
	if each*parts == dims[axis] {
		return ""
	}
	sizes := slices.Repeat([]int64{each}, int(parts))
	sizes[parts-1] = dims[axis] - each*(parts-1)
	n.SetInput(1, c.ints(n.Output(0).Name()+"_split", sizes...))
	return ""
}

// padDown gives pads for all axes where they are given for some.
func padDown(c *converter, n *graph.Node) string {
	if n.Input(3) == nil {
		drop(n, 3)
		return ""
	}
	axes, ok1 := constInts(n, 3)
	pads, ok2 := constInts(n, 1)
	dims, ok3 := c.dims(n.Input(0))
	if !ok1 || !ok2 || !ok3 {
		return "its axes or pads are computed"
	}
	whole := make([]int64, 2*len(dims))
	for i, a := range axes {
		if a < 0 {
			a += int64(len(dims))
		}
		whole[a], whole[int(a)+len(dims)] = pads[i], pads[i+len(axes)]
	}
	drop(n, 3)
	n.SetInput(1, c.ints(n.Output(0).Name()+"_pads", whole...))
	return ""
}

// dims returns the sizes of v, −1 where one grows with the batch.
func (c *converter) dims(v *graph.Value) ([]int64, bool) {
	sizes, ok := c.shapes.Of(v)
	if !ok {
		return v.Type.Dims()
	}
	dims := make([]int64, len(sizes))
	for i, s := range sizes {
		if dims[i] = s.Fixed; s.Dynamic() {
			dims[i] = -1
		}
	}
	return dims, true
}

func (c *converter) elem(v *graph.Value) graph.DType { return c.shapes.Elem(v) }
