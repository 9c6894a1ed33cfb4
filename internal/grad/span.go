package grad

import (
	"slices"

	"nuwa/graph"
)

// stretch returns dv as the gradient with respect to the elements from start
// on along an axis of an operand; that of all others is zero. So the gradients
// of the pieces that a value was cut into are joined again where they meet,
// and zeros are only made for pieces that nothing read.
func (c *call) stretch(dv *graph.Value, axis int, start int64) *graph.Value {
	c.span = &span{axis, start}
	return dv
}

// whole returns the shares of the gradient of v with every stretch joined to
// those that follow it and padded with zeros.
func (s *sweep) whole(v *graph.Value, shares []share) []share {
	var out, cut []share
	for _, x := range shares {
		if x.span == nil {
			out = append(out, x)
		} else {
			cut = append(cut, x)
		}
	}
	slices.SortStableFunc(cut, func(a, b share) int {
		if a.span.axis != b.span.axis {
			return a.span.axis - b.span.axis
		}
		return int(a.span.start - b.span.start)
	})
	for len(cut) > 0 && s.err == nil {
		var run, rest []share
		end := int64(0)
		for _, x := range cut {
			if len(run) > 0 && (x.span.axis != run[0].span.axis || x.span.start != end) {
				rest = append(rest, x) // elsewhere, or a second gradient of the same elements
				continue
			}
			end = x.span.start + s.dims(x.v)[x.span.axis].Fixed
			run = append(run, x)
		}
		out = append(out, s.join(v, run))
		cut = rest
	}
	return out
}

// join makes one share of stretches that follow each other.
func (s *sweep) join(v *graph.Value, run []share) share {
	dims, at, k := s.dims(v), run[0].span, run[0].k
	vs := make([]*graph.Value, len(run))
	for i, x := range run {
		vs[i] = s.times(x.v, x.k/k)
	}
	x := s.concat(at.axis, vs)
	if s.err != nil {
		return share{}
	}
	before, after := make([]int64, len(dims)), make([]int64, len(dims))
	before[at.axis] = at.start
	if d := dims[at.axis]; !d.Dynamic() {
		after[at.axis] = d.Fixed - at.start - s.dims(x)[at.axis].Fixed
	}
	return share{v: s.pad(x, before, after), k: k}
}
