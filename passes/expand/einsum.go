package expand

import (
	"slices"
	"strings"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// einsum is a contraction of two tensors, written as one MatMul between
// transposes and reshapes. Indices are of four kinds: those of both operands
// and the result (batch), those of one operand and the result (free), and those
// of both operands alone, which are summed over.
func einsum(w *writer) ([]*graph.Value, string) {
	terms, out, reason := equation(w.n)
	if reason != "" {
		return nil, reason
	}
	c := contraction{w: w, size: map[rune]engine.Size{}}
	for i, t := range terms {
		d, ok := w.dims(w.n.Input(i))
		if !ok || len(d) != len(t) {
			return nil, "the dimensions of its operands are not known"
		}
		for k, r := range t {
			if have, ok := c.size[r]; ok && have != d[k] {
				return nil, "an index has another size in each operand"
			}
			c.size[r] = d[k]
		}
	}
	a, b := terms[0], terms[1]
	x, y := w.n.Input(0), w.n.Input(1)
	if c.leads(b, a, out) {
		a, b, x, y = b, a, y, x
	}
	for _, r := range out {
		switch inA, inB := slices.Contains(a, r), slices.Contains(b, r); {
		case inA && inB:
			c.batch = append(c.batch, r)
		case inA:
			c.left = append(c.left, r)
		case inB:
			c.right = append(c.right, r)
		default:
			return nil, "an index of its result is in no operand"
		}
	}
	for _, r := range a {
		if !slices.Contains(out, r) {
			c.summed = append(c.summed, r)
		}
	}
	for _, t := range [][]rune{a, b} {
		for _, r := range t {
			if !slices.Contains(out, r) && (!slices.Contains(a, r) || !slices.Contains(b, r)) {
				return nil, "it sums over an index of one operand alone"
			}
		}
	}
	return c.write(a, b, out, x, y)
}

// equation reads the indices of two operands and of the result.
func equation(n *graph.Node) (terms [][]rune, out []rune, reason string) {
	if len(n.Inputs()) != 2 {
		return nil, nil, "it has not two operands"
	}
	text := strings.ReplaceAll(n.StringAttr("equation", ""), " ", "")
	from, to, given := strings.Cut(text, "->")
	parts := strings.Split(from, ",")
	if strings.Contains(text, ".") || len(parts) != 2 {
		return nil, nil, "its equation is not spelled out index by index"
	}
	count := map[rune]int{}
	for _, p := range parts {
		t := []rune(p)
		for _, r := range t {
			count[r]++
		}
		sorted := slices.Sorted(slices.Values(t))
		if len(slices.Compact(sorted)) != len(t) {
			return nil, nil, "it takes a diagonal"
		}
		terms = append(terms, t)
	}
	out = []rune(to)
	if !given { // indices that occur once, in order of the alphabet
		for r, n := range count {
			if n == 1 {
				out = append(out, r)
			}
		}
		slices.Sort(out)
	}
	return terms, out, ""
}

// contraction is an Einsum taken apart.
type contraction struct {
	w                          *writer
	size                       map[rune]engine.Size
	batch, left, right, summed []rune
}

// leads reports whether the operand with indices b should stand on the left:
// its free indices come before those of a in the result, or a is a weight.
func (c *contraction) leads(b, a, out []rune) bool {
	if x, y := c.w.n.Input(0).Const() != nil, c.w.n.Input(1).Const() != nil; x != y {
		return x
	}
	for _, r := range out {
		inA, inB := slices.Contains(a, r), slices.Contains(b, r)
		if inA != inB {
			return inB
		}
	}
	return false
}

// write puts the product together. Without batch indices the left operand
// keeps its free axes apart, so that a product with a weight is a linear map.
func (c *contraction) write(a, b, out []rune, x, y *graph.Value) ([]*graph.Value, string) {
	front, rows := c.batch, [][]rune{c.left}
	if len(c.batch) == 0 && len(c.left) > 0 {
		front, rows = c.left, nil
	}
	x, ok1 := c.merge(c.arrange(x, a, c.batch, c.left, c.summed), front, append(rows, c.summed)...)
	y, ok2 := c.merge(c.arrange(y, b, c.batch, c.summed, c.right), c.batch, c.summed, c.right)
	have := slices.Concat(c.batch, c.left, c.right)
	z, ok3 := c.w.op("MatMul", x, y), true
	if slices.ContainsFunc(append(rows, c.right), func(g []rune) bool { return len(g) != 1 }) {
		var apart [][]rune
		for _, r := range have[len(front):] {
			apart = append(apart, []rune{r})
		}
		z, ok3 = c.reshape(z, front, apart)
	}
	if !ok1 || !ok2 || !ok3 {
		return nil, "several of its dimensions depend on the batch"
	}
	return []*graph.Value{c.arrange(z, have, out)}, ""
}

// merge makes one axis of each group of axes of v, which come behind those of
// front.
func (c *contraction) merge(v *graph.Value, front []rune, groups ...[]rune) (*graph.Value, bool) {
	if !slices.ContainsFunc(groups, func(g []rune) bool { return len(g) != 1 }) {
		return v, true
	}
	return c.reshape(v, front, groups)
}

// reshape gives v the axes of front, as they are, and one for each group; ok is
// false where more than one size depends on the batch.
func (c *contraction) reshape(v *graph.Value, front []rune, groups [][]rune) (_ *graph.Value, ok bool) {
	dims := make([]int64, len(front))
	open := 0
	for _, g := range groups {
		n := int64(1)
		for _, r := range g {
			if n *= c.size[r].Fixed; c.size[r].Dynamic() {
				n = -1
				break
			}
		}
		if n < 0 {
			open++
		}
		dims = append(dims, n)
	}
	return c.w.reshape(v, dims...), open <= 1
}

// arrange transposes v, whose axes have the indices from, to those of groups.
func (c *contraction) arrange(v *graph.Value, from []rune, groups ...[]rune) *graph.Value {
	to := slices.Concat(groups...)
	if slices.Equal(from, to) {
		return v
	}
	perm := make([]int64, len(to))
	for i, r := range to {
		perm[i] = int64(slices.Index(from, r))
	}
	return c.w.transpose(v, perm...)
}
