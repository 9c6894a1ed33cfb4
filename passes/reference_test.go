package passes_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/passes/attention"
	"nuwa/passes/structure"
)

// A reference is the model that a pruned one must equal, made without
// narrowing anything: hidden channels are multiplied by zeros and ones in
// front of the second map, and low-rank heads are written, padded with zeros,
// into weights of the old width. The operators around stay as they were.
type reference struct {
	t       *testing.T
	model   *graph.Model // the copy that is edited
	weights map[*structure.Linear]weight
	biased  map[*structure.Linear]*graph.Node // sums that give a bias to maps without one
}

type weight struct {
	w *mat.Dense
	b []float64
}

func newReference(t *testing.T, m *graph.Model) *reference {
	return &reference{t: t, model: m.Clone(), weights: map[*structure.Linear]weight{}, biased: map[*structure.Linear]*graph.Node{}}
}

// value returns the copy's value that corresponds to v.
func (r *reference) value(v *graph.Value) *graph.Value {
	r.t.Helper()
	w := r.model.Graph.Value(v.Name())
	if w == nil {
		r.t.Fatalf("the copy has no value %q", v.Name())
	}
	return w
}

// node returns the copy's node that corresponds to n.
func (r *reference) node(n *graph.Node) *graph.Node { return r.value(n.Output(0)).Producer() }

// maskHidden silences all hidden channels of p that are not in keep.
func (r *reference) maskHidden(p *structure.MLP, keep []int) {
	mask := make([]float64, p.Hidden)
	for _, j := range keep {
		mask[j] = 1
	}
	second := r.node(p.Second.Node)
	x := second.Input(0)
	dims := []int64{int64(p.Hidden)}
	for range p.Second.Axis - 1 {
		dims = append(dims, 1)
	}
	t, err := graph.FromFloats(p.Second.W.Const().Type, dims, mask)
	if err != nil {
		r.t.Fatal(err)
	}
	g := r.model.Graph
	second.SetInput(0, g.Add("Mul", "masked", []*graph.Value{x, g.AddConst("mask", t)}).Output(0))
}

// operand writes heads (width×(in+1) each, zero below) into the weight that
// feeds o, such that what arrives at the product is what the heads give.
func (r *reference) operand(o *structure.Operand, heads []*mat.Dense) {
	w, b := r.weight(o.Linear)
	_, in := w.Dims()
	ones, zeros := make([]float64, len(b)), make([]float64, len(b))
	for i := range ones {
		ones[i] = 1
	}
	for h, channels := range o.Channels {
		shift := o.Head(mat.NewDense(len(b), in, nil), zeros, h) // what the way to the product does to zero
		one := o.Head(mat.NewDense(len(b), in, nil), ones, h)    // and to one
		width, _ := heads[h].Dims()
		for j, c := range channels {
			s := one.At(j, in) - shift.At(j, in)
			row := make([]float64, in+1)
			if j < width {
				row = slices.Clone(heads[h].RawRowView(j))
			}
			for i := range in {
				w.Set(c, i, row[i]/s)
			}
			b[c] = (row[in] - shift.At(j, in)) / s
		}
	}
	r.store(o.Linear)
}

// output writes what heads (width×out each) add to the output into the weight
// of the projection.
func (r *reference) output(o *structure.Output, heads []*mat.Dense) {
	w, _ := r.weight(o.Linear)
	for h, rows := range o.Rows(o.Width()) {
		width, out := heads[h].Dims()
		for j, c := range rows {
			for i := range out {
				x := 0.0
				if j < width {
					x = heads[h].At(j, i) / o.Scale
				}
				w.Set(i, c, x)
			}
		}
	}
	r.store(o.Linear)
}

// weight returns l's weight and bias as edited so far, to be edited.
func (r *reference) weight(l *structure.Linear) (*mat.Dense, []float64) {
	x, ok := r.weights[l]
	if !ok {
		var err error
		if x.w, x.b, err = l.Weight(); err != nil {
			r.t.Fatal(err)
		}
		r.weights[l] = x
	}
	return x.w, x.b
}

// store gives l's copy the edited weight and bias.
func (r *reference) store(l *structure.Linear) {
	n, g := r.node(l.Node), r.model.Graph
	w, b := r.weight(l)
	alpha, beta := float64(n.FloatAttr("alpha", 1)), float64(n.FloatAttr("beta", 1))
	scaled := mat.DenseCopyOf(w)
	scaled.Scale(1/alpha, scaled)
	if !n.Is("Conv") && n.IntAttr("transB", 0) == 0 {
		scaled = mat.DenseCopyOf(scaled.T())
	}
	old := l.W.Const()
	t, err := graph.FromFloats(old.Type, old.Dims, scaled.RawMatrix().Data)
	if err != nil {
		r.t.Fatal(err)
	}
	n.SetInput(1, g.AddConst("stored", t))
	shape := []int64{int64(len(b))}
	if l.B == nil {
		for range l.Axis - 1 {
			shape = append(shape, 1)
		}
	}
	bias := make([]float64, len(b))
	for i := range b {
		bias[i] = b[i] / beta
	}
	bt, err := graph.FromFloats(old.Type, shape, bias)
	if err != nil {
		r.t.Fatal(err)
	}
	bv := g.AddConst("stored_bias", bt)
	switch {
	case l.Add != nil:
		add := r.value(l.Out).Producer()
		i := slices.IndexFunc(add.Inputs(), func(v *graph.Value) bool { return v != nil && v.Const() != nil })
		add.SetInput(i, bv)
	case l.B != nil:
		n.SetInput(2, bv)
	case r.biased[l] != nil:
		r.biased[l].SetInput(1, bv)
	default:
		y := n.Output(0)
		users := slices.Clone(y.Uses())
		r.biased[l] = g.Add("Add", "biased", []*graph.Value{y, bv})
		for _, u := range users {
			if u.Node != nil {
				u.Node.SetInput(u.Index, r.biased[l].Output(0))
			}
		}
	}
}

// lowRank writes the heads of s, truncated to qk and vo, into the reference;
// zero leaves a half alone.
func (r *reference) lowRank(s *attention.Spectrum, qk, vo int) {
	a := s.Site
	if s.QK != nil && qk > 0 {
		var q, k []*mat.Dense
		for _, f := range s.QK {
			x, y := f.Truncate(qk)
			q, k = append(q, x), append(k, y)
		}
		r.operand(a.Q, q)
		r.operand(a.K, k)
	}
	if s.VO != nil && vo > 0 {
		var v, o []*mat.Dense
		for _, f := range s.VO {
			x, y := f.Truncate(vo)
			v, o = append(v, x), append(o, y)
		}
		r.operand(a.V, v)
		r.output(a.Out, o)
	}
}

// some draws a set of 1 to n-1 numbers below n, ascending.
func some(rng *rand.Rand, n int) []int {
	keep := rng.Perm(n)[:1+rng.IntN(max(1, n-1))]
	slices.Sort(keep)
	return keep
}

// columns returns the columns of p's second weight that are in keep, and its
// bias.
func columns(t *testing.T, p *structure.MLP, keep []int) (*mat.Dense, []float64) {
	t.Helper()
	w, b, err := p.Second.Weight()
	if err != nil {
		t.Fatal(err)
	}
	out, _ := w.Dims()
	w2 := mat.NewDense(out, len(keep), nil)
	for j, k := range keep {
		w2.SetCol(j, mat.Col(nil, k, w))
	}
	if p.Second.B == nil {
		b = nil
	}
	return w2, b
}
