package structure

import (
	"fmt"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
)

// Linear is an affine map over the channels of a tensor, y = x·Wᵀ + b, in any
// of its spellings: MatMul with a constant, optionally followed by Add, Gemm,
// or a convolution with a kernel of one.
type Linear struct {
	Node    *graph.Node  // MatMul, Gemm or Conv
	Add     *graph.Node  // the bias's Add behind a MatMul; nil where there is none
	In, Out *graph.Value // as found; Out is what Add gives where there is one
	W, B    *graph.Value // constants; B is nil without a bias

	InDim, OutDim int
	Axis          int  // the channel axis of In and Out, counted from the end: 1 is the last
	outFirst      bool // W is stored [OutDim, InDim]
}

// Weight returns W as an OutDim×InDim matrix and b, zeros where there is no
// bias.
func (l *Linear) Weight() (*mat.Dense, []float64, error) {
	xs, err := l.W.Const().Floats()
	if err != nil {
		return nil, nil, fmt.Errorf("weight of %s: %w", l.Node, err)
	}
	alpha, beta := 1.0, 1.0
	if l.Node.Is("Gemm") {
		alpha, beta = float64(l.Node.FloatAttr("alpha", 1)), float64(l.Node.FloatAttr("beta", 1))
	}
	w := mat.NewDense(l.OutDim, l.InDim, nil)
	for o := range l.OutDim {
		for i := range l.InDim {
			if l.outFirst {
				w.Set(o, i, alpha*xs[o*l.InDim+i])
			} else {
				w.Set(o, i, alpha*xs[i*l.OutDim+o])
			}
		}
	}
	b := make([]float64, l.OutDim)
	if l.B != nil {
		bs, err := l.B.Const().Floats()
		if err != nil {
			return nil, nil, fmt.Errorf("bias of %s: %w", l.Node, err)
		}
		for i := range b {
			b[i] = beta * bs[i%len(bs)]
		}
	}
	return w, b, nil
}

// Input returns what l reads now, which is another value than In once the site
// in front was rebuilt.
func (l *Linear) Input() *graph.Value { return l.Node.Input(0) }

// Rebuild appends to g the same kind of linear map from in, with the given
// weight (out×in) and bias (nil for none), stored in the type and order of l.
// It returns the result. The names are made from name.
func (l *Linear) Rebuild(g *graph.Graph, in *graph.Value, name string, w *mat.Dense, b []float64) (*graph.Value, error) {
	out, inDim := w.Dims()
	xs := make([]float64, 0, out*inDim)
	if l.outFirst {
		for o := range out {
			xs = append(xs, w.RawRowView(o)...)
		}
	} else {
		t := mat.DenseCopyOf(w.T())
		for i := range inDim {
			xs = append(xs, t.RawRowView(i)...)
		}
	}
	old := l.W.Const()
	dims := append([]int64(nil), old.Dims...)
	k := len(dims) - 2
	switch {
	case l.Node.Is("Conv"):
		dims[0], dims[1] = int64(out), int64(inDim)/graph.Elements(dims[2:])
	case l.outFirst:
		dims[k], dims[k+1] = int64(out), int64(inDim)
	default:
		dims[k], dims[k+1] = int64(inDim), int64(out)
	}
	wt, err := old.With(dims, xs)
	if err != nil {
		return nil, fmt.Errorf("weight of %s: %w", l.Node, err)
	}
	if b == nil && l.B != nil && l.Node.Is("Gemm") {
		b = make([]float64, out) // which operator sets before 11 demand
	}
	operands := []*graph.Value{in, g.AddConst(name+".weight", wt)}
	var bias *graph.Value
	if b != nil {
		like := old
		if l.B != nil {
			like = l.B.Const()
		}
		bt, err := like.With([]int64{int64(out)}, b)
		if err != nil {
			return nil, fmt.Errorf("bias of %s: %w", l.Node, err)
		}
		bias = g.AddConst(name+".bias", bt)
	}
	switch l.Node.Op {
	case "MatMul":
		y := g.Add("MatMul", name, operands).Output(0)
		if bias != nil {
			y = g.Add("Add", name+"_bias", []*graph.Value{y, bias}).Output(0)
		}
		return y, nil
	case "Gemm":
		n := g.Add("Gemm", name, operands)
		if bias != nil {
			n.SetInput(2, bias)
		}
		if l.outFirst {
			n.SetAttr(graph.Int("transB", 1))
		}
		return n.Output(0), nil
	}
	n := g.Add("Conv", name, operands)
	if bias != nil {
		n.SetInput(2, bias)
	}
	for _, a := range l.Node.Attrs() {
		n.SetAttr(a)
	}
	return n.Output(0), nil
}

// linears finds every affine map of g, by the value it gives.
func (f *finder) linears() map[*graph.Value]*Linear {
	found := map[*graph.Value]*Linear{}
	for _, n := range f.g.Nodes() {
		l := f.linear(n)
		if l == nil {
			continue
		}
		f.byNode[n] = l
		if n.Is("MatMul") {
			l.absorbBias(f)
		}
		found[l.Out] = l
	}
	return found
}

func (f *finder) linear(n *graph.Node) *Linear {
	if n.Domain != "" && n.Domain != "ai.onnx" || len(n.Outputs()) != 1 {
		return nil
	}
	x, w := n.Input(0), n.Input(1)
	if x == nil || w == nil || x.Const() != nil || w.Const() == nil || !w.Const().Type.IsFloat() {
		return nil
	}
	d := w.Const().Dims
	l := &Linear{Node: n, In: x, Out: n.Output(0), W: w, Axis: 1}
	switch n.Op {
	case "MatMul":
		if len(d) < 2 || graph.Elements(d[:len(d)-2]) != 1 {
			return nil
		}
		l.InDim, l.OutDim = int(d[len(d)-2]), int(d[len(d)-1])
		if xd, ok := f.shapes.Of(x); !ok || len(xd) < 2 || len(d) > len(xd) {
			return nil
		}
	case "Gemm":
		if n.IntAttr("transA", 0) != 0 || len(d) != 2 {
			return nil
		}
		l.InDim, l.OutDim = int(d[0]), int(d[1])
		if n.IntAttr("transB", 0) != 0 {
			l.outFirst, l.InDim, l.OutDim = true, int(d[1]), int(d[0])
		}
	case "Conv":
		if len(d) < 3 || graph.Elements(d[2:]) != 1 || n.IntAttr("group", 1) != 1 || !allEqual(n, "strides", 1) || !allEqual(n, "pads", 0) || n.StringAttr("auto_pad", "NOTSET") != "NOTSET" {
			return nil
		}
		l.outFirst, l.InDim, l.OutDim = true, int(d[1]), int(d[0])
		l.Axis = len(d) - 1
	default:
		return nil
	}
	if b := n.Input(2); b != nil {
		if b.Const() == nil || !isPerChannel(b.Const().Dims, l.OutDim, 1) {
			return nil
		}
		l.B = b
	}
	return l
}

// absorbBias takes in the Add behind a MatMul when it adds one constant per
// output channel and nothing else reads the product.
func (l *Linear) absorbBias(f *finder) {
	n := l.Out.OnlyUser()
	if !n.Is("Add") {
		return
	}
	b := n.Input(0)
	if b == l.Out {
		b = n.Input(1)
	}
	if b == nil || b.Const() == nil || int(b.Const().Len()) != l.OutDim || !isPerChannel(b.Const().Dims, l.OutDim, 1) {
		return
	}
	if od, ok := f.shapes.Of(l.Out); !ok || len(b.Const().Dims) > len(od) {
		return
	}
	l.Add, l.B, l.Out = n, b, n.Output(0)
	f.byNode[n] = l
}

// isPerChannel reports whether dims broadcast as one number per channel, or
// one for all: size n on the axis counted from the end, 1 elsewhere.
func isPerChannel(dims []int64, n, axis int) bool {
	for i, d := range dims {
		if d != 1 && (len(dims)-i != axis || d != int64(n)) {
			return false
		}
	}
	return true
}

func allEqual(n *graph.Node, attr string, want int64) bool {
	xs, _ := n.IntsAttr(attr)
	for _, x := range xs {
		if x != want {
			return false
		}
	}
	return true
}
