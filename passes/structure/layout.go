package structure

import (
	"errors"
	"fmt"
	"slices"

	"nuwa/graph"
)

// A layout says where the elements of one tensor, the source, lie in another,
// the target, when only reshapes, transposes and selections stand between.
// Each axis of either is a product of factors, as digits make up a number:
// packed qkv of ViT, [B, N, 3·H·q] → [B, H, N, q], has the factors B, N, H and
// q, and taking one of the three is an offset on the channel axis.
type layout struct {
	factors []factor
	src     [][]int // factors of each source axis, slow to fast
	dst     [][]int // factors of each target axis, slow to fast
	channel int     // the source axis that holds channels
	offset  int64   // the first channel that is taken
}

type factor struct {
	size    int64
	axis    int   // the source axis it is a digit of
	stride  int64 // its place value there
	dynamic bool  // its size grows with the batch
}

var errNotLayout = errors.New("elements are not rearranged by axes")

// decode finds the layout behind codes: element i of the target, whose axes
// are dst, holds the row-major position in the source that it came from. All
// of the source must be used, but for channels.
func decode(codes, dst, src []int64, channel int) (*layout, error) {
	if int64(len(codes)) != graph.Elements(dst) || len(codes) == 0 {
		return nil, errNotLayout
	}
	l := &layout{channel: channel, src: make([][]int, len(src)), dst: make([][]int, len(dst))}
	place := strides(src)
	coords := func(code int64) []int64 {
		x := make([]int64, len(src))
		for k := range src {
			x[k] = code / place[k] % src[k]
		}
		return x
	}
	origin := coords(codes[0])
	reach := slices.Clone(origin)
	step := strides(dst)
	delta := make([][]int64, len(dst)) // per target axis: change of code
	for a, n := range dst {
		delta[a] = make([]int64, n)
		moves := make([][]int64, n)
		for i := range n {
			c := codes[i*step[a]]
			delta[a][i] = c - codes[0]
			moves[i] = coords(c)
			for k := range moves[i] {
				moves[i][k] -= origin[k]
			}
		}
		digits, err := split(moves)
		if err != nil {
			return nil, err
		}
		for k := range src {
			reach[k] += moves[n-1][k]
		}
		for i := len(digits) - 1; i >= 0; i-- {
			l.dst[a] = append(l.dst[a], len(l.factors))
			l.factors = append(l.factors, digits[i])
		}
	}
	if !adds(codes, codes[0], delta) {
		return nil, errNotLayout
	}
	for k := range src {
		if reach[k] >= src[k] {
			return nil, errNotLayout
		}
	}
	l.offset = origin[channel]
	return l, l.tile(src, origin)
}

// adds reports whether every element of codes, row-major over axes as long as
// those in delta, is base plus what delta has for its place on each axis.
func adds(codes []int64, base int64, delta [][]int64) bool {
	if len(delta) == 0 {
		return codes[0] == base
	}
	if len(delta) == 1 {
		for i, d := range delta[0] {
			if codes[i] != base+d {
				return false
			}
		}
		return true
	}
	n := len(codes) / len(delta[0])
	for i, d := range delta[0] {
		if !adds(codes[i*n:(i+1)*n], base+d, delta[1:]) {
			return false
		}
	}
	return true
}

// tile orders the factors of every source axis and checks that they cover it:
// wholly, or any part of it where it is the channel axis.
func (l *layout) tile(src, origin []int64) error {
	for i, f := range l.factors {
		l.src[f.axis] = append(l.src[f.axis], i)
	}
	for k, fs := range l.src {
		slices.SortFunc(fs, func(a, b int) int { return int(l.factors[b].stride - l.factors[a].stride) })
		if k == l.channel {
			continue
		}
		want := int64(1)
		for i := len(fs) - 1; i >= 0; i-- {
			if l.factors[fs[i]].stride != want {
				return errNotLayout
			}
			want *= l.factors[fs[i]].size
		}
		if want != src[k] || origin[k] != 0 {
			return fmt.Errorf("only a part of axis %d is used", k)
		}
	}
	return nil
}

// grows compares l with the same layout at another batch size, and marks the
// factors that differ as those that grow with the batch.
func (l *layout) grows(other *layout) error {
	same := len(l.factors) == len(other.factors) && l.offset == other.offset &&
		slices.EqualFunc(l.src, other.src, slices.Equal[[]int]) && slices.EqualFunc(l.dst, other.dst, slices.Equal[[]int])
	if !same {
		return errors.New("elements are rearranged in another way at another batch size")
	}
	for i := range l.factors {
		l.factors[i].dynamic = l.factors[i].size != other.factors[i].size
	}
	return nil
}

// split writes a sequence of places as digits of one source axis each, fast to
// slow.
func split(moves [][]int64) ([]factor, error) {
	if len(moves) == 1 {
		return nil, nil
	}
	axis := -1
	for k, x := range moves[1] {
		if x == 0 {
			continue
		}
		if axis >= 0 || x < 0 {
			return nil, errNotLayout
		}
		axis = k
	}
	if axis < 0 {
		return nil, errNotLayout
	}
	stride := moves[1][axis]
	n := 2
	for n < len(moves) && slices.Equal(moves[n], scaled(moves[1], int64(n))) {
		n++
	}
	if len(moves)%n != 0 {
		return nil, errNotLayout
	}
	var slow [][]int64
	for i := 0; i < len(moves); i += n {
		slow = append(slow, moves[i])
		for j := range n {
			for k, x := range moves[i] {
				if moves[i+j][k] != x+moves[j][k] {
					return nil, errNotLayout
				}
			}
		}
	}
	rest, err := split(slow)
	return append([]factor{{size: int64(n), axis: axis, stride: stride}}, rest...), err
}

func scaled(v []int64, by int64) []int64 {
	w := make([]int64, len(v))
	for i := range v {
		w[i] = v[i] * by
	}
	return w
}

func strides(dims []int64) []int64 {
	s := make([]int64, len(dims))
	n := int64(1)
	for i := len(dims) - 1; i >= 0; i-- {
		s[i] = n
		n *= dims[i]
	}
	return s
}

// emit appends to g the shortest Reshape–Transpose–Reshape that carries v to
// the target of l, and returns the result.
func (l *layout) emit(g *graph.Graph, v *graph.Value, name string) (*graph.Value, error) {
	src, dst, factors := l.withUnits()
	from, to := slices.Concat(src...), slices.Concat(dst...)
	perm := make([]int64, len(to))
	turned := false
	for i, f := range to {
		perm[i] = int64(slices.Index(from, f))
		turned = turned || perm[i] != int64(i)
	}
	single := func(axes [][]int) bool {
		return !slices.ContainsFunc(axes, func(fs []int) bool { return len(fs) != 1 })
	}
	reshape := func(v *graph.Value, have, want [][]int, name string) (*graph.Value, error) {
		dims := make([]int64, len(want))
		open := 0
		for i, fs := range want {
			dims[i] = 1
			for _, f := range fs {
				dims[i] *= factors[f].size
				if factors[f].dynamic {
					dims[i] = -1
					break
				}
			}
			if dims[i] == -1 && i < len(have) && slices.Equal(have[i], fs) {
				dims[i] = 0
			} else if dims[i] == -1 {
				open++
			}
		}
		if open > 1 {
			return nil, errNotLayout
		}
		shape := g.AddConst(name+".shape", graph.NewTensor([]int64{int64(len(dims))}, dims))
		return g.Add("Reshape", name, []*graph.Value{v, shape}).Output(0), nil
	}
	each := func(fs []int) [][]int {
		axes := make([][]int, len(fs))
		for i, f := range fs {
			axes[i] = []int{f}
		}
		return axes
	}
	var err error
	if !turned {
		if slices.EqualFunc(src, dst, slices.Equal[[]int]) {
			return v, nil
		}
		return reshape(v, src, dst, name+"_reshape")
	}
	if !single(src) {
		if v, err = reshape(v, src, each(from), name+"_reshape"); err != nil {
			return nil, err
		}
	}
	v = g.Add("Transpose", name+"_transpose", []*graph.Value{v}, graph.Ints("perm", perm...)).Output(0)
	if !single(dst) {
		return reshape(v, each(to), dst, name+"_merge")
	}
	return v, nil
}

// withUnits gives axes of size one a factor of their own where source and
// target have as many of them, so that no reshape is spent on them.
func (l *layout) withUnits() (src, dst [][]int, factors []factor) {
	empty := func(axes [][]int) (at []int) {
		for i, fs := range axes {
			if len(fs) == 0 {
				at = append(at, i)
			}
		}
		return at
	}
	a, b := empty(l.src), empty(l.dst)
	if len(a) != len(b) {
		return l.src, l.dst, l.factors
	}
	src, dst, factors = slices.Clone(l.src), slices.Clone(l.dst), slices.Clone(l.factors)
	for i := range a {
		src[a[i]], dst[b[i]] = []int{len(factors)}, []int{len(factors)}
		factors = append(factors, factor{size: 1})
	}
	return src, dst, factors
}

// headFactors returns the channel factors of l that lie outside the target's
// width axis, slow to fast, and those on it.
func (l *layout) headFactors(widthAxis int) (heads, width []int) {
	for a, fs := range l.dst {
		for _, f := range fs {
			switch {
			case l.factors[f].axis != l.channel:
			case a == widthAxis:
				width = append(width, f)
			default:
				heads = append(heads, f)
			}
		}
	}
	return heads, width
}

// place is a digit of a target or source axis.
type place struct {
	axis         int
	stride, size int64
}

// dstPlace returns where factor f stands in the target.
func (l *layout) dstPlace(f int) place {
	for a, fs := range l.dst {
		stride := int64(1)
		for i := len(fs) - 1; i >= 0; i-- {
			if fs[i] == f {
				return place{a, stride, l.factors[f].size}
			}
			stride *= l.factors[fs[i]].size
		}
	}
	return place{axis: -1}
}

// resized returns l with the channel axis of its source made of the factors
// heads and, fastest, one factor of the given size in place of those in width.
func (l *layout) resized(heads, width []int, size int64) *layout {
	r := &layout{channel: l.channel, factors: slices.Clone(l.factors), src: slices.Clone(l.src), dst: make([][]int, len(l.dst))}
	id := len(r.factors)
	r.factors = append(r.factors, factor{size: size, axis: l.channel, stride: 1})
	for a, fs := range l.dst {
		for _, f := range fs {
			if !slices.Contains(width, f) {
				r.dst[a] = append(r.dst[a], f)
			} else if !slices.Contains(r.dst[a], id) {
				r.dst[a] = append(r.dst[a], id)
			}
		}
	}
	r.src[l.channel] = append(slices.Clone(heads), id)
	return r
}
