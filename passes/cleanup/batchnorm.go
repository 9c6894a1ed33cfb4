package cleanup

import (
	"math"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// BatchNorms folds batch norms with fixed statistics into the linear map or
// convolution whose channels they scale and shift, W′ = diag(s)·W and
// b′ = s·(b − μ) + β with s = γ/√(σ² + ε), and returns how many it folded. One
// behind anything else stays.
func BatchNorms(m *graph.Model, shapes *engine.Shapes) (int, error) {
	count := 0
	for _, n := range slices.Clone(m.Graph.Nodes()) {
		scale, shift, ok := statistics(n)
		if !ok {
			continue
		}
		l := normed(n, shapes, len(scale))
		if l == nil {
			continue
		}
		done, err := l.fold(m, scale, shift)
		if err != nil {
			return count, err
		}
		if done {
			n.Output(0).ReplaceUses(n.Input(0))
			count++
		}
	}
	return count, nil
}

// statistics reads a batch norm as a scale and a shift per channel.
func statistics(n *graph.Node) (scale, shift []float64, ok bool) {
	if !n.Is("BatchNormalization") || n.IntAttr("training_mode", 0) != 0 || n.IntAttr("spatial", 1) != 1 || n.Output(0).IsOutput() || len(n.Inputs()) != 5 {
		return nil, nil, false
	}
	for _, o := range n.Outputs()[1:] {
		if o != nil && len(o.Uses()) > 0 {
			return nil, nil, false
		}
	}
	var of [4][]float64
	for i := range of {
		v := n.Input(i + 1)
		if v == nil || v.Const() == nil {
			return nil, nil, false
		}
		xs, err := v.Const().Floats()
		if err != nil || i > 0 && len(xs) != len(of[0]) {
			return nil, nil, false
		}
		of[i] = xs
	}
	scale, shift = make([]float64, len(of[0])), make([]float64, len(of[0]))
	for c := range scale {
		scale[c] = of[0][c] / math.Sqrt(of[3][c]+float64(n.FloatAttr("epsilon", 1e-5)))
		shift[c] = of[1][c] - of[2][c]*scale[c]
	}
	return scale, shift, true
}

// linear is a product with a constant weight and what adds its bias: itself
// when it is a convolution or Gemm, an Add or nothing behind a MatMul.
type linear struct {
	product, add *graph.Node
	outAxis      int // of the weight
}

// normed returns the map whose output channels n normalizes, when nothing else
// reads them and only reshapes that keep the last axis stand between.
func normed(n *graph.Node, shapes *engine.Shapes, channels int) *linear {
	in, ok := shapes.Of(n.Input(0))
	if !ok || len(in) < 2 {
		return nil
	}
	v := n.Input(0)
	for {
		p := v.Producer()
		if p == nil || p.Graph() != n.Graph() || v.IsOutput() || len(v.Uses()) != 1 {
			return nil
		}
		d, ok := shapes.Of(v)
		if !ok || len(d) == 0 {
			return nil
		}
		switch {
		case p.Is("Conv") && v == n.Input(0) && isWeightOf(p, 4, 3, 5):
			return &linear{product: p}
		case len(in) != 2 || d[len(d)-1] != (engine.Size{Fixed: int64(channels)}):
			return nil // the channels must be the last axis throughout
		case p.Is("Reshape", "Flatten", "Squeeze", "Unsqueeze"):
			v = p.Input(0)
		case p.Is("MatMul") && isWeightOf(p, 2):
			return &linear{product: p, outAxis: 1}
		case p.Is("Gemm") && isWeightOf(p, 2) && p.IntAttr("transA", 0) == 0 && p.FloatAttr("alpha", 1) == 1 && p.FloatAttr("beta", 1) == 1:
			return &linear{product: p, outAxis: 1 - int(p.IntAttr("transB", 0))}
		case p.Is("Add"):
			x, b := p.Input(0), p.Input(1)
			if b.Const() == nil {
				x, b = b, x
			}
			q := x.Producer()
			if b.Const() == nil || len(b.Const().Dims) != 1 || b.Const().Len() != int64(channels) || len(x.Uses()) != 1 || x.IsOutput() || q == nil || !q.Is("MatMul") || !isWeightOf(q, 2) {
				return nil
			}
			return &linear{product: q, add: p, outAxis: 1}
		default:
			return nil
		}
	}
}

// isWeightOf reports whether n multiplies a computed tensor with a constant of
// one of the given ranks.
func isWeightOf(n *graph.Node, ranks ...int) bool {
	w := n.Input(1)
	if w == nil || w.Const() == nil || n.Input(0).Const() != nil || !w.Const().Type.IsFloat() {
		return false
	}
	for _, r := range ranks {
		if len(w.Const().Dims) == r {
			return true
		}
	}
	return false
}

// fold gives l another weight and bias. It reports false, having changed
// nothing, where l has a bias that is no constant per channel.
func (l *linear) fold(m *graph.Model, scale, shift []float64) (bool, error) {
	n := l.product
	w := n.Input(1).Const()
	xs, err := w.Floats()
	if err != nil {
		return false, err
	}
	holder, at := n, 2
	if l.add != nil {
		holder, at = l.add, 0
		if l.add.Input(0).Const() == nil {
			at = 1
		}
	}
	b := make([]float64, len(scale))
	if old := holder.Input(at); old != nil && (l.add != nil || !n.Is("MatMul")) {
		if old.Const() == nil || old.Const().Len() != int64(len(scale)) {
			return false, nil
		}
		if b, err = old.Const().Floats(); err != nil {
			return false, err
		}
	}
	inner := graph.Elements(w.Dims[l.outAxis+1:])
	for i := range xs {
		xs[i] *= scale[int64(i)/inner%w.Dims[l.outAxis]]
	}
	for c := range b {
		b[c] = b[c]*scale[c] + shift[c]
	}
	wt, err := w.With(w.Dims, xs)
	if err != nil {
		return false, err
	}
	bt, err := w.With([]int64{int64(len(b))}, b)
	if err != nil {
		return false, err
	}
	n.SetInput(1, m.Graph.AddConst(n.Input(1).Name(), wt))
	bias := m.Graph.AddConst(n.Output(0).Name()+"_bias", bt)
	if n.Is("MatMul") && l.add == nil {
		y := n.Output(0)
		sum := m.Graph.Add("Add", y.Name()+"_shifted", []*graph.Value{y, bias})
		y.ReplaceUses(sum.Output(0))
		sum.SetInput(0, y)
		return true, nil
	}
	holder.SetInput(at, bias)
	return true, nil
}
