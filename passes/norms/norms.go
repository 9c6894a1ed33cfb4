// Package norms spells layer norms in the operators that ONNX Runtime's CPU
// kernels are fastest at. Its own LayerNormalization, into which it also turns
// the usual decomposition, goes through each row element by element; the same
// norm as reductions and elementwise operators is vectorized throughout:
//
//	x − mean(x)  over  √(Σ(x − mean(x))² + d·ε)  times  γ·√d  plus  β
//
// The division by d moves out of the root and into γ, so nothing is computed
// that LayerNormalization does not compute. Where only linear maps read the
// norm, γ and β move on into their weights and biases.
//
//	n := norms.Spell(model, shapes)
//	spared := norms.Centre(model, shapes) // means that residual streams need no more
//
// Runtimes with a fused norm of their own prefer the original spelling. The
// package may import graph and internal/engine.
package norms

import (
	"math"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// Spell rewrites the layer norms of m's main graph over the last axis, in
// float32, and returns how many. The result is equal up to rounding.
func Spell(m *graph.Model, s *engine.Shapes) int {
	n := 0
	for _, node := range append([]*graph.Node(nil), m.Graph.Nodes()...) {
		scale := fused(m, s, node)
		if scale == nil {
			scale = decomposed(m, s, node)
		}
		if scale != nil {
			n++
			fold(m, scale)
		}
	}
	engine.Trim(m.Graph)
	return n
}

// fused rewrites the operator LayerNormalization, and returns the Mul by γ·√d.
func fused(m *graph.Model, s *engine.Shapes, n *graph.Node) *graph.Node {
	if !n.Is("LayerNormalization") || s.Elem(n.Input(0)) != graph.Float32 {
		return nil
	}
	x, y := n.Input(0), n.Output(0)
	dims, ok := s.Of(x)
	axis := n.IntAttr("axis", -1)
	if !ok || len(dims) == 0 || axis != -1 && int(axis) != len(dims)-1 || dims[len(dims)-1].Dynamic() {
		return nil
	}
	for i, o := range n.Outputs() {
		if i > 0 && o != nil && len(o.Uses()) > 0 {
			return nil
		}
	}
	gamma, beta := n.Input(1), n.Input(2)
	if gamma == nil || gamma.Const() == nil {
		return nil
	}
	d := dims[len(dims)-1].Fixed
	w, err := scaled(gamma.Const(), math.Sqrt(float64(d)))
	if err != nil {
		return nil
	}
	g, name := m.Graph, label(n)
	mean := reduce(m, "ReduceMean", x, name+"_mean")
	centred := g.Add("Sub", name+"_centred", []*graph.Value{x, mean}).Output(0)
	root := g.Add("Sqrt", name+"_root", []*graph.Value{squares(m, centred, d, float64(n.FloatAttr("epsilon", 1e-5)), name)}).Output(0)
	v := divide(m, centred, root, name)
	scale := g.Add("Mul", name+"_scaled", []*graph.Value{v, g.AddConst(name+"_scale", w)})
	v = scale.Output(0)
	if beta != nil {
		v = g.Add("Add", name+"_shifted", []*graph.Value{v, beta}).Output(0)
	}
	y.ReplaceUses(v)
	return scale
}

// decomposed rewrites c / Sqrt(ReduceMean(c²) + ε), with what multiplies the
// quotient, whatever c is, and returns that Mul.
func decomposed(m *graph.Model, s *engine.Shapes, div *graph.Node) *graph.Node {
	if !div.Is("Div") || s.Elem(div.Input(0)) != graph.Float32 {
		return nil
	}
	c := div.Input(0)
	dims, ok := s.Of(c)
	if !ok || len(dims) == 0 || dims[len(dims)-1].Dynamic() {
		return nil
	}
	root := only(div.Input(1), "Sqrt")
	if root == nil {
		return nil
	}
	sum := only(root.Input(0), "Add")
	if sum == nil {
		return nil
	}
	variance, eps := sum.Input(0), sum.Input(1)
	if variance.Const() != nil {
		variance, eps = eps, variance
	}
	mean := only(variance, "ReduceMean")
	if mean == nil || eps.Const() == nil || eps.Const().Len() != 1 || !overLast(mean, len(dims)) {
		return nil
	}
	square := mean.Input(0).Producer()
	switch {
	case square.Is("Mul") && square.Input(0) == c && square.Input(1) == c:
	case square.Is("Pow") && square.Input(0) == c && constant(square.Input(1)) == 2:
	default:
		return nil
	}
	scale := div.Output(0).OnlyUser()
	if !scale.Is("Mul") {
		return nil
	}
	at := 0
	if scale.Input(0) == div.Output(0) {
		at = 1
	}
	gamma := scale.Input(at)
	if gamma.Const() == nil || gamma.Const().Type != graph.Float32 {
		return nil
	}
	d := dims[len(dims)-1].Fixed
	w, err := scaled(gamma.Const(), math.Sqrt(float64(d)))
	if err != nil {
		return nil
	}
	root.SetInput(0, squares(m, c, d, constant(eps), label(div)))
	scale.SetInput(at, m.Graph.AddConst(label(div)+"_scale", w))
	scale.SetInput(1-at, divide(m, c, root.Output(0), label(div)))
	return scale
}

// divide appends c / root as the product with the reciprocal: one division per
// row instead of one per element.
func divide(m *graph.Model, c, root *graph.Value, name string) *graph.Value {
	inverse := m.Graph.Add("Reciprocal", name+"_inverse", []*graph.Value{root}).Output(0)
	return m.Graph.Add("Mul", name+"_unit", []*graph.Value{c, inverse}).Output(0)
}

// squares appends Σc² + d·ε over the last axis.
func squares(m *graph.Model, c *graph.Value, d int64, eps float64, name string) *graph.Value {
	g := m.Graph
	v := g.Add("Mul", name+"_squared", []*graph.Value{c, c}).Output(0)
	v = reduce(m, "ReduceSum", v, name+"_sum")
	return g.Add("Add", name+"_safe", []*graph.Value{v, g.AddConst(name+"_eps", graph.Scalar(float32(float64(d)*eps)))}).Output(0)
}

// reduce appends a reduction over the last axis that keeps it, in the spelling
// of the model's opset.
func reduce(m *graph.Model, op string, v *graph.Value, name string) *graph.Value {
	n := m.Graph.Add(op, name, []*graph.Value{v}, graph.Int("keepdims", 1))
	if opset := m.Opset(""); opset >= 18 || op == "ReduceSum" && opset >= 13 {
		n.SetInput(1, m.Graph.AddConst(name+"_axes", graph.NewTensor([]int64{1}, []int64{-1})))
	} else {
		n.SetAttr(graph.Ints("axes", -1))
	}
	return n.Output(0)
}

// overLast reports whether n reduces the last of rank axes, and keeps it.
func overLast(n *graph.Node, rank int) bool {
	axes, ok := n.IntsAttr("axes")
	if v := n.Input(1); !ok && v != nil && v.Const() != nil {
		axes, _ = v.Const().Ints()
	}
	return len(axes) == 1 && (axes[0] == -1 || axes[0] == int64(rank-1)) && n.IntAttr("keepdims", 1) == 1
}

// only returns the producer of v if it applies op and v has no other reader.
func only(v *graph.Value, op string) *graph.Node {
	if v == nil || len(v.Uses()) != 1 || !v.Producer().Is(op) {
		return nil
	}
	return v.Producer()
}

// constant returns the number that v holds, NaN if it holds none or several.
func constant(v *graph.Value) float64 {
	if v == nil || v.Const() == nil || v.Const().Len() != 1 {
		return math.NaN()
	}
	xs, err := v.Const().Floats()
	if err != nil {
		return math.NaN()
	}
	return xs[0]
}

func scaled(t *graph.Tensor, by float64) (*graph.Tensor, error) {
	xs, err := t.Floats()
	if err != nil {
		return nil, err
	}
	for i := range xs {
		xs[i] *= by
	}
	return t.With(t.Dims, xs)
}

func label(n *graph.Node) string {
	if n.Name != "" {
		return n.Name
	}
	return n.Output(0).Name()
}
