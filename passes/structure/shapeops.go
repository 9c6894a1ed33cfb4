package structure

import (
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
)

func fixed(n int) engine.Size { return engine.Size{Fixed: int64(n)} }

// carryAxis returns the axis of n's input, counted from the end, that becomes
// the given axis of its output as a whole; ok is false when there is none.
func (f *finder) carryAxis(n *graph.Node, axisFromEnd int) (fromEnd int, ok bool) {
	in, ok1 := f.shapes.Of(n.Input(0))
	out, ok2 := f.shapes.Of(n.Output(0))
	if !ok1 || !ok2 || len(out) < axisFromEnd {
		return 0, false
	}
	at := len(out) - axisFromEnd
	if n.Is("Transpose") {
		perm, given := n.IntsAttr("perm")
		if !given {
			return len(in) - (len(in) - 1 - at), true
		}
		return len(in) - int(perm[at]), true
	}
	tail := func(dims []engine.Size, batch int) int64 {
		p := int64(1)
		for _, d := range dims {
			p *= d.At(batch)
		}
		return p
	}
	for i := range in {
		if in[i] != out[at] {
			continue
		}
		same := true
		for _, b := range f.shapes.Batch {
			same = same && tail(in[i+1:], b) == tail(out[at+1:], b) && tail(in[:i], b) == tail(out[:at], b)
		}
		if same {
			return len(in) - i, true
		}
	}
	return 0, false
}

// cut describes Split and Slice: along which axis (from the start) each output
// begins where.
type cut struct {
	axis  int
	start []int
}

// pieces reads a Split, or a Slice with step one along a single axis.
func (f *finder) pieces(n *graph.Node) (cut, bool) {
	in, ok := f.shapes.Of(n.Input(0))
	if !ok {
		return cut{}, false
	}
	if n.Is("Split") {
		c := cut{axis: wrap(int(n.IntAttr("axis", 0)), len(in))}
		at := 0
		for _, o := range n.Outputs() {
			d, ok := f.shapes.Of(o)
			if !ok || c.axis >= len(d) || d[c.axis].Dynamic() {
				return cut{}, false
			}
			c.start = append(c.start, at)
			at += int(d[c.axis].Fixed)
		}
		return c, true
	}
	out, ok := f.shapes.Of(n.Output(0))
	if !ok || len(out) != len(in) {
		return cut{}, false
	}
	s, ok := readSlice(n, len(in))
	if !ok {
		return cut{}, false
	}
	c := cut{axis: -1}
	for i := range in {
		k := slices.Index(s.axes, i)
		switch {
		case k >= 0 && s.steps[k] != 1:
			return cut{}, false
		case in[i] == out[i]:
			continue
		case c.axis >= 0 || k < 0 || in[i].Dynamic():
			return cut{}, false
		}
		start := s.starts[k]
		if start < 0 {
			start = max(0, start+int(in[i].Fixed))
		}
		c.axis, c.start = i, []int{start}
	}
	return c, c.axis >= 0
}

type sliceArgs struct{ starts, ends, axes, steps []int }

// readSlice reads the constant arguments of a Slice in either spelling.
func readSlice(n *graph.Node, rank int) (s sliceArgs, ok bool) {
	arg := func(i int, attr string) ([]int, bool) {
		if xs, ok := n.IntsAttr(attr); ok {
			return toInts(xs), true
		}
		if v := n.Input(i); v != nil {
			if v.Const() == nil {
				return nil, false
			}
			xs, err := v.Const().Ints()
			return toInts(xs), err == nil
		}
		return nil, true
	}
	var oks [4]bool
	s.starts, oks[0] = arg(1, "starts")
	s.ends, oks[1] = arg(2, "ends")
	s.axes, oks[2] = arg(3, "axes")
	s.steps, oks[3] = arg(4, "steps")
	if slices.Contains(oks[:], false) || len(s.starts) == 0 {
		return s, false
	}
	if s.axes == nil {
		for i := range s.starts {
			s.axes = append(s.axes, i)
		}
	}
	if s.steps == nil {
		s.steps = slices.Repeat([]int{1}, len(s.starts))
	}
	for i := range s.axes {
		s.axes[i] = wrap(s.axes[i], rank)
	}
	return s, len(s.axes) == len(s.starts) && len(s.steps) == len(s.starts)
}

func toInts(xs []int64) []int {
	ys := make([]int, len(xs))
	for i, x := range xs {
		ys[i] = int(x)
	}
	return ys
}

func wrap(axis, rank int) int {
	if axis < 0 {
		return axis + rank
	}
	return axis
}
