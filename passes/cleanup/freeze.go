package cleanup

import (
	"nuwa/graph"
	"nuwa/internal/engine"
)

// freeze replaces the uses of v, integers that are at[i] at batch sizes[i]. It
// reports whether it understood how they grow: as a + k·batch, proven at the
// last size.
func freeze(m *graph.Model, v *graph.Value, at []*graph.Tensor, sizes []int, shapes *engine.Shapes) bool {
	a, k, ok := growth(at, sizes)
	if !ok {
		return false
	}
	var rooted *graph.Value
	for _, u := range append([]graph.Use(nil), v.Uses()...) {
		if u.Node == nil {
			continue
		}
		if u.Node.Is("Reshape") && u.Index == 1 {
			if dims, ok := target(u.Node, shapes); ok {
				u.Node.SetInput(1, m.Graph.AddConst(v.Name(), graph.NewTensor(at[0].Dims, dims)))
				continue
			}
		}
		if rooted == nil {
			if rooted = root(m, v, at[0], a, k); rooted == nil {
				return false
			}
		}
		u.Node.SetInput(u.Index, rooted)
	}
	return true
}

// growth finds a and k with at = a + k·batch, element by element.
func growth(at []*graph.Tensor, sizes []int) (a, k []int64, ok bool) {
	if len(at) < 3 {
		return nil, nil, false
	}
	xs := make([][]int64, len(at))
	for i, t := range at {
		var err error
		if xs[i], err = t.Ints(); err != nil || t.Type == graph.Bool || len(xs[i]) != len(xs[0]) {
			return nil, nil, false
		}
	}
	for j := range xs[0] {
		step := int64(sizes[1] - sizes[0])
		slope := (xs[1][j] - xs[0][j]) / step
		base := xs[0][j] - slope*int64(sizes[0])
		for i, b := range sizes {
			if xs[i][j] != base+slope*int64(b) {
				return nil, nil, false
			}
		}
		a, k = append(a, base), append(k, slope)
	}
	return a, k, true
}

// target writes what the Reshape n gives as a constant target: a dimension
// that grows becomes 0 where it copies the one at its place, and −1 once.
func target(n *graph.Node, shapes *engine.Shapes) ([]int64, bool) {
	in, ok1 := shapes.Of(n.Input(0))
	out, ok2 := shapes.Of(n.Output(0))
	if !ok1 || !ok2 {
		return nil, false
	}
	zero := n.IntAttr("allowzero", 0) == 0
	dims := make([]int64, len(out))
	open := 0
	for i, d := range out {
		switch {
		case !d.Dynamic():
			dims[i] = d.Fixed
			zero = zero && d.Fixed != 0
		case zero && i < len(in) && in[i] == d:
			dims[i] = 0
		default:
			dims[i] = -1
			open++
		}
	}
	return dims, open <= 1
}

// root appends a + k·batch, the batch being the first dimension of the model's
// input, in the shape and type of like; nil when the input has no open one.
func root(m *graph.Model, v *graph.Value, like *graph.Tensor, a, k []int64) *graph.Value {
	g := m.Graph
	var x *graph.Value
	for _, in := range engine.Feeds(m) {
		if d, ok := in.Type.Dims(); ok && len(d) > 0 && d[0] < 0 {
			x = in
			break
		}
	}
	if x == nil || like.Type != graph.Int64 && like.Type != graph.Int32 {
		return nil
	}
	name := v.Name()
	shape := g.Add("Shape", name+"_shape", []*graph.Value{x}).Output(0)
	index := graph.Scalar(int64(0))
	if len(like.Dims) > 0 {
		index = graph.NewTensor([]int64{1}, []int64{0})
	}
	y := g.Add("Gather", name+"_batch", []*graph.Value{shape, g.AddConst(name+"_first", index)}, graph.Int("axis", 0)).Output(0)
	y = g.Add("Mul", name+"_scaled", []*graph.Value{y, g.AddConst(name+"_slope", graph.NewTensor(like.Dims, k))}).Output(0)
	y = g.Add("Add", name+"_sum", []*graph.Value{y, g.AddConst(name+"_base", graph.NewTensor(like.Dims, a))}).Output(0)
	if like.Type == graph.Int32 {
		y = g.Add("Cast", name+"_i32", []*graph.Value{y}, graph.Int("to", int64(graph.Int32))).Output(0)
	}
	return y
}
