package norms

import (
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// Centre takes the mean over channels out of the residual streams whose every
// reader takes it out anyway, once where it enters instead of in each norm:
//
//	x + W·h + b  −  mean  =  (x − mean)  +  (W − mean over outputs)·h  +  (b − mean)
//
// A linear map or a constant that is added to the stream is centred itself; what
// else enters gets a mean and a subtraction of its own. It returns how many
// norms need no mean any more; nothing is changed where that would not spare
// more than it costs. The result is equal up to rounding.
func Centre(m *graph.Model, s *engine.Shapes) int {
	n := 0
	done := map[*graph.Value]bool{}
	for _, node := range slices.Clone(m.Graph.Nodes()) {
		x := centres(node, s)
		if x == nil || done[x] || s.Elem(x) != graph.Float32 {
			continue
		}
		st := &stream{m: m, shapes: s, in: map[*graph.Value]bool{}}
		ok := st.join(x)
		for v := range st.in {
			done[v] = true
		}
		if ok {
			n += st.centre()
		}
	}
	engine.Trim(m.Graph)
	return n
}

// centres returns x where n is x − mean(x) over the last axis, else nil.
func centres(n *graph.Node, s *engine.Shapes) *graph.Value {
	if !n.Is("Sub") || n.Input(0) == nil || n.Input(1) == nil {
		return nil
	}
	x, mean := n.Input(0), n.Input(1).Producer()
	dims, ok := s.Of(x)
	if !ok || !mean.Is("ReduceMean") || mean.Input(0) != x || !overLast(mean, len(dims)) {
		return nil
	}
	return x
}

// stream is a set of values that are sums of one another.
type stream struct {
	m      *graph.Model
	shapes *engine.Shapes
	in     map[*graph.Value]bool
	order  []*graph.Value
	norms  []*graph.Node // x − mean(x) of the values
	enter  []graph.Use   // operands of sums that come from outside
	starts []*graph.Value
}

// join takes v, and with it all sums that it is part of, into the stream. It
// reports false where something reads v as it is.
func (t *stream) join(v *graph.Value) bool {
	if t.in[v] {
		return true
	}
	t.in[v] = true
	t.order = append(t.order, v)
	for _, u := range v.Uses() {
		switch n := u.Node; {
		case n == nil || n.Graph() != t.m.Graph:
			return false
		case n.Is("ReduceMean"):
			for _, r := range n.Output(0).Uses() {
				if centres(r.Node, t.shapes) != v {
					return false
				}
			}
			if len(n.Output(0).Uses()) == 0 {
				return false
			}
		case centres(n, t.shapes) == v && u.Index == 0:
			t.norms = append(t.norms, n)
		case t.sums(n):
			if !t.join(n.Output(0)) {
				return false
			}
		default:
			return false
		}
	}
	n := v.Producer()
	if n == nil || !t.sums(n) {
		t.starts = append(t.starts, v)
		return true
	}
	for i, o := range n.Inputs() {
		switch {
		case t.in[o]:
		case o.Const() == nil && t.belongs(o):
			if !t.join(o) {
				return false
			}
		default:
			t.enter = append(t.enter, graph.Use{Node: n, Index: i})
		}
	}
	return true
}

// sums reports whether n adds two tensors of as many channels, the bias of a
// linear map not counted.
func (t *stream) sums(n *graph.Node) bool {
	if !n.Is("Add") || t.channels(n.Output(0)) < 2 {
		return false
	}
	for _, v := range n.Inputs() {
		if t.channels(v) != t.channels(n.Output(0)) || v.Const() == nil && t.shapes.Elem(v) != graph.Float32 {
			return false
		}
	}
	return t.linear(n.Output(0)) == nil
}

// belongs reports whether an operand of a sum is a sum itself, or is normed.
func (t *stream) belongs(v *graph.Value) bool {
	if t.sums(v.Producer()) {
		return true
	}
	return slices.ContainsFunc(v.Users(), func(n *graph.Node) bool { return centres(n, t.shapes) == v })
}

func (t *stream) channels(v *graph.Value) int64 {
	dims, ok := t.shapes.Of(v)
	if !ok || len(dims) == 0 || dims[len(dims)-1].Dynamic() {
		return -1
	}
	return dims[len(dims)-1].Fixed
}

// linear returns the operands of the map W·h + b that gives v, those that are
// constants of its output channels, if neither they nor what
// comes of them on the way to v, rows kept, have another reader.
func (t *stream) linear(v *graph.Value) []graph.Use {
	n := v.Producer()
	if n == nil || len(v.Uses()) != 1 {
		return nil
	}
	d := t.channels(v)
	perChannel := func(c *graph.Value) bool {
		return c != nil && c.Const() != nil && c.Const().Type == graph.Float32 && len(c.Const().Dims) > 0 && c.Const().Dims[len(c.Const().Dims)-1] == d
	}
	switch {
	case n.Is("MatMul") && perChannel(n.Input(1)) && len(n.Input(1).Const().Dims) == 2:
		return []graph.Use{{Node: n, Index: 1}}
	case n.Is("Gemm") && n.Input(1).Const() != nil && n.Input(1).Const().Type == graph.Float32 && (n.Input(2) == nil || perChannel(n.Input(2))):
		uses := []graph.Use{{Node: n, Index: 1}}
		if n.Input(2) != nil {
			uses = append(uses, graph.Use{Node: n, Index: 2})
		}
		return uses
	case n.Is("Reshape") && t.channels(n.Input(0)) == d, n.Is("Transpose") && keepsLast(n):
		return t.linear(n.Input(0))
	case n.Is("Add"):
		for i, c := range n.Inputs() {
			if y := n.Input(1 - i); perChannel(c) && len(c.Const().Dims) == 1 && y.Producer().Is("MatMul") {
				if w := t.linear(y); w != nil {
					return append(w, graph.Use{Node: n, Index: i})
				}
			}
		}
	}
	return nil
}

// keepsLast reports whether the last axis stays the last in a Transpose.
func keepsLast(n *graph.Node) bool {
	perm, ok := n.IntsAttr("perm")
	return ok && perm[len(perm)-1] == int64(len(perm)-1)
}

// centre changes what enters the stream and spares its norms the mean.
func (t *stream) centre() int {
	var fold []graph.Use
	var explicit []graph.Use
	for _, u := range t.enter {
		v := u.Node.Input(u.Index)
		if v.Const() != nil {
			fold = append(fold, u)
		} else if w := t.linear(v); w != nil {
			fold = append(fold, w...)
		} else {
			explicit = append(explicit, u)
		}
	}
	if len(explicit)+len(t.starts) >= len(t.norms) {
		return 0
	}
	var tensors []*graph.Tensor
	for _, u := range fold {
		outFirst := u.Node.Is("Gemm") && u.Index == 1 && u.Node.IntAttr("transB", 0) != 0
		c, err := centred(u.Node.Input(u.Index).Const(), outFirst)
		if err != nil {
			return 0
		}
		tensors = append(tensors, c)
	}
	g := t.m.Graph
	for i, u := range fold {
		u.Node.SetInput(u.Index, g.AddConst(u.Node.Input(u.Index).Name()+"_centred", tensors[i]))
	}
	for _, u := range explicit {
		v := u.Node.Input(u.Index)
		u.Node.SetInput(u.Index, g.Add("Sub", v.Name()+"_centred", []*graph.Value{v, reduce(t.m, "ReduceMean", v, v.Name()+"_mean")}).Output(0))
	}
	for _, n := range t.norms {
		n.Output(0).ReplaceUses(n.Input(0))
	}
	for _, v := range t.starts {
		uses := slices.DeleteFunc(slices.Clone(v.Uses()), func(u graph.Use) bool {
			return u.Node.Is("ReduceMean") || slices.Contains(t.norms, u.Node)
		})
		c := g.Add("Sub", v.Name()+"_centred", []*graph.Value{v, reduce(t.m, "ReduceMean", v, v.Name()+"_mean")}).Output(0)
		for _, u := range uses {
			u.Node.SetInput(u.Index, c)
		}
	}
	return len(t.norms) - len(explicit) - len(t.starts)
}

// centred returns t less its mean over the last axis, or that of a matrix over
// its first.
func centred(t *graph.Tensor, first bool) (*graph.Tensor, error) {
	xs, err := t.Floats()
	if err != nil {
		return nil, err
	}
	d, step := int(t.Dims[len(t.Dims)-1]), 1
	if first {
		d, step = int(t.Dims[0]), int(t.Dims[1])
	}
	for k := range len(xs) / d {
		row := xs[k*d:]
		if first {
			row = xs[k:]
		}
		mean := 0.0
		for i := range d {
			mean += row[i*step] / float64(d)
		}
		for i := range d {
			row[i*step] -= mean
		}
	}
	return t.With(t.Dims, xs)
}
