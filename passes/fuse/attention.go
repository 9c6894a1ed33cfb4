package fuse

import (
	"fmt"
	"slices"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/passes/structure"
)

// Form is a family of fused operators.
type Form int

// The families.
const (
	ORT      Form = iota // of ONNX Runtime, domain com.microsoft
	Standard             // of ONNX
)

const contrib = "com.microsoft"

// Fused is what was done.
type Fused struct {
	Count int
	Kept  []string // what stays as it is, and why
}

// Attention replaces the attentions of vit, and the linear maps that feed them,
// by one operator each: com.microsoft's Attention where queries, keys and values
// are maps of one value, its MultiHeadAttention where not, or ONNX's Attention
// behind three linear maps. vit no longer describes m afterwards.
func Attention(m *graph.Model, vit *structure.ViT, form Form) (Fused, error) {
	var done Fused
	for _, a := range vit.Attentions {
		f, reason := a.Form(m, vit.Shapes)
		if reason == "" && form == Standard && m.Opset("") < 23 {
			reason = "ONNX has an operator for it from operator set 23 on"
		}
		if reason != "" {
			done.Kept = append(done.Kept, fmt.Sprintf("%s: %s", a.Softmax, reason))
			continue
		}
		s := &site{m: m, a: a, form: f, name: a.Softmax.Output(0).Name() + "_attention"}
		if err := s.fuse(form); err != nil {
			return done, err
		}
		done.Count++
	}
	return done, nil
}

// site is one attention being fused.
type site struct {
	m    *graph.Model
	a    *structure.Attention
	form structure.Form
	name string
}

func (s *site) fuse(form Form) error {
	var w [3]*mat.Dense // out × in, heads one after another
	var b [3][]float64
	for i, o := range []*structure.Operand{s.a.Q, s.a.K, s.a.V} {
		var err error
		if w[i], b[i], err = heads(o); err != nil {
			return err
		}
	}
	var y *graph.Value
	var err error
	q, k, v := s.batchFirst(s.a.Q, s.form.Q), s.batchFirst(s.a.K, s.form.K), s.batchFirst(s.a.V, s.form.V)
	switch {
	case form == Standard:
		y, err = s.standard([3]*graph.Value{q, k, v}, w, b)
	case q == k && k == v:
		y, err = s.packed(q, w, b)
	default:
		y, err = s.multiHead([3]*graph.Value{q, k, v}, w, b)
	}
	if err != nil {
		return err
	}
	return s.project(y)
}

// swap is the order of axes that puts [tokens, batch, channels] into [batch,
// tokens, channels], and back.
var swap = []int64{1, 0, 2}

// batchFirst returns what the map of o reads, as [batch, tokens, channels].
func (s *site) batchFirst(o *structure.Operand, is structure.Arrangement) *graph.Value {
	x := o.Linear.Input()
	if !is.TokensFirst {
		return x
	}
	swaps := func(n *graph.Node) bool {
		if !n.Is("Transpose") {
			return false
		}
		perm, ok := n.IntsAttr("perm")
		return ok && slices.Equal(perm, swap)
	}
	if n := x.Producer(); swaps(n) {
		return n.Input(0)
	}
	if i := slices.IndexFunc(x.Users(), swaps); i >= 0 {
		return x.Users()[i].Output(0)
	}
	return s.m.Graph.Add("Transpose", s.name+"_samples", []*graph.Value{x}, graph.Ints("perm", swap...)).Output(0)
}

// heads returns the map behind an operand, heads one after another, what the
// way to the product does to them included.
func heads(o *structure.Operand) (*mat.Dense, []float64, error) {
	w, b, err := o.Linear.Weight()
	if err != nil {
		return nil, nil, err
	}
	_, in := w.Dims()
	width := len(o.Channels[0])
	out, bias := mat.NewDense(len(o.Channels)*width, in, nil), make([]float64, len(o.Channels)*width)
	for h := range o.Channels {
		m := o.Head(w, b, h)
		for j := range width {
			out.SetRow(h*width+j, m.RawRowView(j)[:in])
			bias[h*width+j] = m.At(j, in)
		}
	}
	return out, bias, nil
}

// packed appends com.microsoft's Attention of x.
func (s *site) packed(x *graph.Value, w [3]*mat.Dense, b [3][]float64) (*graph.Value, error) {
	weight, err := s.columns("_weight", w[:]...)
	if err != nil {
		return nil, err
	}
	bias, err := s.vector("_bias", b[:]...)
	if err != nil {
		return nil, err
	}
	n := s.m.Graph.Add("Attention", s.name, []*graph.Value{x, weight, bias}, graph.Int("num_heads", int64(s.a.Heads)), graph.Float("scale", float32(s.form.Scale)),
		graph.Ints("qkv_hidden_sizes", rows(w[0]), rows(w[1]), rows(w[2])))
	s.contrib(n)
	return n.Output(0), s.bias(n, 5)
}

// multiHead appends com.microsoft's MultiHeadAttention of three linear maps. It
// takes their biases itself.
func (s *site) multiHead(x [3]*graph.Value, w [3]*mat.Dense, b [3][]float64) (*graph.Value, error) {
	var in []*graph.Value
	for i := range x {
		weight, err := s.columns("_weight", w[i])
		if err != nil {
			return nil, err
		}
		in = append(in, s.m.Graph.Add("MatMul", s.name+"_map", []*graph.Value{x[i], weight}).Output(0))
	}
	bias, err := s.vector("_bias", b[:]...)
	if err != nil {
		return nil, err
	}
	n := s.m.Graph.Add("MultiHeadAttention", s.name, append(in, bias), graph.Int("num_heads", int64(s.a.Heads)), graph.Float("scale", float32(s.form.Scale)))
	s.contrib(n)
	return n.Output(0), s.bias(n, 5)
}

// standard appends ONNX's Attention of three linear maps.
func (s *site) standard(x [3]*graph.Value, w [3]*mat.Dense, b [3][]float64) (*graph.Value, error) {
	var in []*graph.Value
	for i := range x {
		weight, err := s.columns("_weight", w[i])
		if err != nil {
			return nil, err
		}
		bias, err := s.vector("_bias", b[i])
		if err != nil {
			return nil, err
		}
		y := s.m.Graph.Add("MatMul", s.name+"_map", []*graph.Value{x[i], weight}).Output(0)
		in = append(in, s.m.Graph.Add("Add", s.name+"_shift", []*graph.Value{y, bias}).Output(0))
	}
	h := int64(s.a.Heads)
	n := s.m.Graph.Add("Attention", s.name, in, graph.Int("q_num_heads", h), graph.Int("kv_num_heads", h), graph.Float("scale", float32(s.form.Scale)))
	return n.Output(0), s.bias(n, 3)
}

func (s *site) contrib(n *graph.Node) {
	n.Domain = contrib
	if s.m.Opset(contrib) == 0 {
		s.m.SetOpset(contrib, 1)
	}
}

// bias gives n what is added to the logits as operand i.
func (s *site) bias(n *graph.Node, i int) error {
	if s.form.Bias == nil {
		return nil
	}
	t := s.form.Bias.Const().Clone()
	for len(t.Dims) < 4 {
		t.Dims = append([]int64{1}, t.Dims...)
	}
	n.SetInput(i, s.m.Graph.AddConst(s.name+"_logits", t))
	return nil
}

// project puts the output projection, its inputs in the order of heads, behind
// y.
func (s *site) project(y *graph.Value) error {
	o := s.a.Out
	w, b, err := o.Linear.Weight()
	if err != nil {
		return err
	}
	out, in := w.Dims()
	turned := mat.NewDense(out, in, nil)
	at := 0
	for _, rows := range o.Rows(o.Width()) {
		for _, r := range rows {
			for i := range out {
				turned.Set(i, at, o.Scale*w.At(i, r))
			}
			at++
		}
	}
	if o.Linear.B == nil {
		b = nil
	}
	if s.form.Out.TokensFirst {
		y = s.m.Graph.Add("Transpose", s.name+"_tokens", []*graph.Value{y}, graph.Ints("perm", swap...)).Output(0)
	}
	if s.form.Out.Flat {
		flat := s.m.Graph.AddConst(s.name+"_rows", graph.NewTensor([]int64{2}, []int64{-1, int64(in)}))
		y = s.m.Graph.Add("Reshape", s.name+"_flat", []*graph.Value{y, flat}).Output(0)
	}
	z, err := o.Linear.Rebuild(s.m.Graph, y, o.Linear.Name(), turned, b)
	if err != nil {
		return err
	}
	o.Linear.Out.ReplaceUses(z)
	return nil
}

// columns adds maps of one input, side by side, as a constant [in, out].
func (s *site) columns(suffix string, maps ...*mat.Dense) (*graph.Value, error) {
	_, in := maps[0].Dims()
	total := 0
	for _, w := range maps {
		total += int(rows(w))
	}
	xs := make([]float64, 0, in*total)
	for i := range in {
		for _, w := range maps {
			for o := range int(rows(w)) {
				xs = append(xs, w.At(o, i))
			}
		}
	}
	t, err := s.a.Q.Linear.W.Const().With([]int64{int64(in), int64(total)}, xs)
	if err != nil {
		return nil, err
	}
	return s.m.Graph.AddConst(s.name+suffix, t), nil
}

func (s *site) vector(suffix string, parts ...[]float64) (*graph.Value, error) {
	var xs []float64
	for _, p := range parts {
		xs = append(xs, p...)
	}
	t, err := s.a.Q.Linear.W.Const().With([]int64{int64(len(xs))}, xs)
	if err != nil {
		return nil, err
	}
	return s.m.Graph.AddConst(s.name+suffix, t), nil
}

func rows(w *mat.Dense) int64 {
	r, _ := w.Dims()
	return int64(r)
}
