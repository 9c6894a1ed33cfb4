package passes_test

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/passes/passtest"
	"nuwa/passes/structure"
)

// sketch builds small networks by hand: tokens [B, 6, 8] in, tokens out.
type sketch struct {
	m   *graph.Model
	g   *graph.Graph
	rng *rand.Rand
}

func newSketch(opset int64) (*sketch, *graph.Value) {
	m := graph.NewModel(graph.Opset{Version: opset})
	x := m.Graph.AddInput("x", graph.TensorType(graph.Float32, graph.Sym("batch"), graph.Fixed(6), graph.Fixed(8)))
	return &sketch{m: m, g: m.Graph, rng: rand.New(rand.NewPCG(9, 9))}, x
}

func (s *sketch) node(op string, ins []*graph.Value, attrs ...*graph.Attr) *graph.Value {
	return s.g.Add(op, "", ins, attrs...).Output(0)
}

func (s *sketch) weights(dims ...int64) *graph.Value {
	xs := make([]float32, graph.Elements(dims))
	for i := range xs {
		xs[i] = float32(s.rng.NormFloat64() / math.Sqrt(float64(dims[0])))
	}
	return s.g.AddConst("w", graph.NewTensor(dims, xs))
}

func (s *sketch) ints(xs ...int64) *graph.Value {
	return s.g.AddConst("ints", graph.NewTensor([]int64{int64(len(xs))}, xs))
}

// linear is a MatMul and the Add of a bias.
func (s *sketch) linear(x *graph.Value, in, out int64) *graph.Value {
	return s.node("Add", []*graph.Value{s.node("MatMul", []*graph.Value{x, s.weights(in, out)}), s.weights(out)})
}

func (s *sketch) reshape(x *graph.Value, dims ...int64) *graph.Value {
	return s.node("Reshape", []*graph.Value{x, s.ints(dims...)})
}

func (s *sketch) transpose(x *graph.Value, perm ...int64) *graph.Value {
	return s.node("Transpose", []*graph.Value{x}, graph.Ints("perm", perm...))
}

func (s *sketch) split(x *graph.Value, axis int64, sizes ...int64) []*graph.Value {
	n := s.g.NewNode("Split", s.g.UniqueName("Split"))
	n.SetInput(0, x)
	n.SetInput(1, s.ints(sizes...))
	n.SetAttr(graph.Int("axis", axis))
	for range sizes {
		n.AddOutput(s.g.UniqueName("piece"))
	}
	return n.Outputs()
}

// heads turns [B, 6, 2·w] into [B, 2, 6, w].
func (s *sketch) heads(x *graph.Value, w int64) *graph.Value {
	return s.transpose(s.reshape(x, 0, 0, 2, w), 0, 2, 1, 3)
}

// mix is softmax(q·kᵀ)·v of [B, 2, 6, w] each, back as [B, 6, 2·w].
func (s *sketch) mix(q, k, v *graph.Value, w int64) *graph.Value {
	p := s.node("Softmax", []*graph.Value{s.node("MatMul", []*graph.Value{q, s.transpose(k, 0, 1, 3, 2)})}, graph.Int("axis", -1))
	return s.reshape(s.transpose(s.node("MatMul", []*graph.Value{p, v}), 0, 2, 1, 3), 0, 0, 2*w)
}

// attend is attention with three linear maps to two heads of width 4.
func (s *sketch) attend(x *graph.Value, in int64) *graph.Value {
	q, k, v := s.heads(s.linear(x, in, 8), 4), s.heads(s.linear(x, in, 8), 4), s.heads(s.linear(x, in, 8), 4)
	return s.linear(s.mix(q, k, v, 4), 8, 8)
}

func (s *sketch) done(outputs ...*graph.Value) *graph.Model {
	for _, y := range outputs {
		s.g.AddOutput(y)
	}
	return s.m
}

// Networks with one trap each: what is pruned equals the masked network, and
// what is expected to be declined is.
func TestTraps(t *testing.T) {
	cases := []struct {
		name   string
		build  func() *graph.Model
		pruned [3]int // attentions with q/k, with v/o, and hidden layers that can be pruned
		reason string // part of a reason that must be given
	}{
		{"constants, reshapes and a split over both halves of a gated layer", func() *graph.Model {
			s, x := newSketch(17)
			h := s.node("Mul", []*graph.Value{s.linear(x, 8, 24), s.weights(24)})
			h = s.reshape(s.reshape(h, 0, 2, 3, 24), 0, 6, 24)
			h = s.node("Add", []*graph.Value{h, s.weights(6, 24)})
			p := s.split(h, 2, 12, 12)
			return s.done(s.linear(s.node("Mul", []*graph.Value{s.node("Sigmoid", p[:1]), p[1]}), 12, 8))
		}, [3]int{0, 0, 1}, ""},
		{"a gated layer cut by slices in either order", func() *graph.Model {
			s, x := newSketch(17)
			h := s.linear(x, 8, 24)
			cut := func(from, to int64) *graph.Value {
				return s.node("Slice", []*graph.Value{h, s.ints(0, from), s.ints(99, to), s.ints(1, -1)})
			}
			return s.done(s.linear(s.node("Mul", []*graph.Value{s.node("Tanh", []*graph.Value{cut(12, 99)}), cut(-99, 12)}), 12, 8))
		}, [3]int{0, 0, 1}, ""},
		{"tokens reversed by the slice that cuts the hidden channels", func() *graph.Model {
			s, x := newSketch(17)
			h := s.linear(x, 8, 24)
			a := s.node("Slice", []*graph.Value{h, s.ints(-1, 0), s.ints(-99, 12), s.ints(1, 2), s.ints(-1, 1)})
			b := s.node("Slice", []*graph.Value{h, s.ints(12), s.ints(24), s.ints(2)})
			return s.done(s.linear(s.node("Mul", []*graph.Value{s.node("Relu", []*graph.Value{a}), b}), 12, 8))
		}, [3]int{0, 0, 0}, "pieces that are not understood"},
		{"tokens before batch, flattened for Gemm", func() *graph.Model {
			s, x := newSketch(14)
			x = s.reshape(s.transpose(x, 1, 0, 2), -1, 8)
			side := func() *graph.Value { // [6·B, 8] → [6, B·2, 4] → [B·2, 6, 4]
				y := s.node("Gemm", []*graph.Value{x, s.weights(8, 8), s.weights(8)})
				return s.transpose(s.reshape(y, 6, -1, 4), 1, 0, 2)
			}
			q, k, v := side(), side(), side()
			p := s.node("Softmax", []*graph.Value{s.node("MatMul", []*graph.Value{q, s.transpose(k, 0, 2, 1)})}, graph.Int("axis", -1))
			o := s.reshape(s.transpose(s.node("MatMul", []*graph.Value{p, v}), 1, 0, 2), -1, 8)
			return s.done(s.transpose(s.reshape(s.node("Gemm", []*graph.Value{o, s.weights(8, 8), s.weights(8)}), 6, -1, 8), 1, 0, 2))
		}, [3]int{1, 1, 0}, ""},
		{"three linear maps in a chain", func() *graph.Model {
			s, x := newSketch(17)
			h := s.node("Relu", []*graph.Value{s.linear(x, 8, 16)})
			h = s.node("Relu", []*graph.Value{s.linear(h, 16, 20)})
			return s.done(s.linear(h, 20, 8))
		}, [3]int{0, 0, 1}, "is also part of the hidden layer"},
		{"an output projection that is the first map of a hidden layer", func() *graph.Model {
			s, x := newSketch(17)
			return s.done(s.linear(s.node("Relu", []*graph.Value{s.attend(x, 8)}), 8, 8))
		}, [3]int{1, 1, 0}, "is also part of the attention"},
		{"a hidden layer that ends in the values of an attention", func() *graph.Model {
			s, x := newSketch(17)
			h := s.node("Relu", []*graph.Value{s.linear(x, 8, 12)})
			q, k, v := s.heads(s.linear(x, 8, 8), 4), s.heads(s.linear(x, 8, 8), 4), s.heads(s.linear(h, 12, 8), 4)
			return s.done(s.linear(s.mix(q, k, v, 4), 8, 8))
		}, [3]int{1, 1, 0}, "is also part of the attention"},
		{"attention behind attention, and a hidden layer behind both", func() *graph.Model {
			s, x := newSketch(17)
			x = s.attend(s.attend(x, 8), 8)
			return s.done(s.linear(s.node("Relu", []*graph.Value{s.linear(x, 8, 12)}), 12, 8))
		}, [3]int{2, 2, 1}, ""},
		{"one map for the keys and values of two attentions", func() *graph.Model {
			s, x := newSketch(17)
			p := s.split(s.linear(x, 8, 32), 2, 8, 8, 8, 8)
			a := s.mix(s.heads(s.linear(x, 8, 8), 4), s.heads(p[0], 4), s.heads(p[1], 4), 4)
			b := s.mix(s.heads(s.linear(x, 8, 8), 4), s.heads(p[2], 4), s.heads(p[3], 4), 4)
			return s.done(s.node("Add", []*graph.Value{s.linear(a, 8, 8), s.linear(b, 8, 8)}))
		}, [3]int{1, 1, 0}, "is also part of the attention"},
		{"two softmaxes of one product", func() *graph.Model {
			s, x := newSketch(17)
			q, k := s.heads(s.linear(x, 8, 8), 4), s.heads(s.linear(x, 8, 8), 4)
			logits := s.node("MatMul", []*graph.Value{q, s.transpose(k, 0, 1, 3, 2)})
			var sum []*graph.Value
			for range 2 {
				p := s.node("Softmax", []*graph.Value{logits}, graph.Int("axis", -1))
				o := s.node("MatMul", []*graph.Value{p, s.heads(s.linear(x, 8, 8), 4)})
				sum = append(sum, s.linear(s.reshape(s.transpose(o, 0, 2, 1, 3), 0, 0, 8), 8, 8))
			}
			return s.done(s.node("Add", sum))
		}, [3]int{1, 2, 0}, "is also part of the attention"},
		{"half of every head goes to the projection", func() *graph.Model {
			s, x := newSketch(17)
			q, k, v := s.heads(s.linear(x, 8, 8), 4), s.heads(s.linear(x, 8, 8), 4), s.heads(s.linear(x, 8, 8), 4)
			p := s.node("Softmax", []*graph.Value{s.node("MatMul", []*graph.Value{q, s.transpose(k, 0, 1, 3, 2)})}, graph.Int("axis", -1))
			o := s.node("Slice", []*graph.Value{s.node("MatMul", []*graph.Value{p, v}), s.ints(0), s.ints(2), s.ints(3)})
			return s.done(s.linear(s.reshape(s.transpose(o, 0, 2, 1, 3), 0, 0, 4), 4, 8))
		}, [3]int{1, 0, 0}, "only a part of each head"},
		{"the width of a head taken apart and put together", func() *graph.Model {
			s, x := newSketch(17)
			q, k := s.linear(x, 8, 8), s.linear(x, 8, 8)
			q = s.reshape(s.transpose(s.reshape(q, 0, 0, 2, 2, 2), 0, 2, 1, 4, 3), 0, 0, 0, 4) // channels of q in another order
			k = s.reshape(s.transpose(s.reshape(k, 0, 0, 2, 2, 2), 0, 2, 1, 4, 3), 0, 0, 0, 4)
			return s.done(s.linear(s.mix(q, k, s.heads(s.linear(x, 8, 8), 4), 4), 8, 8))
		}, [3]int{1, 1, 0}, ""},
		{"heads of the keys in reverse", func() *graph.Model {
			s, x := newSketch(17)
			k := s.node("Gather", []*graph.Value{s.heads(s.linear(x, 8, 8), 4), s.ints(1, 0)}, graph.Int("axis", 1))
			return s.done(s.linear(s.mix(s.heads(s.linear(x, 8, 8), 4), k, s.heads(s.linear(x, 8, 8), 4), 4), 8, 8))
		}, [3]int{0, 1, 0}, "keys: "},
		{"heads slow in the queries and fast in the keys", func() *graph.Model {
			s, x := newSketch(17)
			k := s.transpose(s.reshape(s.linear(x, 8, 8), 0, 0, 4, 2), 0, 3, 1, 2) // channel = position·2 + head
			return s.done(s.linear(s.mix(s.heads(s.linear(x, 8, 8), 4), k, s.heads(s.linear(x, 8, 8), 4), 4), 8, 8))
		}, [3]int{1, 1, 0}, ""},
		{"Gemm of opset 10 with a bias of zeros", func() *graph.Model {
			s, x := newSketch(10)
			x = s.reshape(x, -1, 8)
			side := func() *graph.Value {
				y := s.node("Gemm", []*graph.Value{x, s.weights(8, 8), s.g.AddConst("zeros", graph.NewTensor([]int64{8}, make([]float32, 8)))})
				return s.transpose(s.reshape(y, -1, 6, 2, 4), 0, 2, 1, 3)
			}
			o := s.reshape(s.mix(side(), side(), side(), 4), -1, 8)
			return s.done(s.reshape(s.node("Gemm", []*graph.Value{o, s.weights(8, 8), s.weights(8)}), -1, 6, 8))
		}, [3]int{1, 1, 0}, ""},
		{"Gemm with factors, and a bias that is one number", func() *graph.Model {
			s, x := newSketch(13)
			gemm := func(x *graph.Value, in, out int64) *graph.Value {
				return s.node("Gemm", []*graph.Value{x, s.weights(out, in), s.weights(1)}, graph.Int("transB", 1), graph.Float("alpha", 0.5), graph.Float("beta", 2))
			}
			h := s.node("Sigmoid", []*graph.Value{gemm(s.reshape(x, -1, 8), 8, 12)})
			return s.done(s.reshape(gemm(h, 12, 8), -1, 6, 8))
		}, [3]int{0, 0, 1}, ""},
		{"hidden channels on an axis of their own, tokens mixed", func() *graph.Model {
			s, x := newSketch(17)
			h := s.node("HardSwish", []*graph.Value{s.linear(s.transpose(x, 0, 2, 1), 6, 10)})
			return s.done(s.transpose(s.linear(h, 10, 6), 0, 2, 1))
		}, [3]int{0, 0, 1}, ""},
		{"a hidden layer whose activation also leaves the model", func() *graph.Model {
			s, x := newSketch(17)
			h := s.node("Relu", []*graph.Value{s.linear(x, 8, 12)})
			return s.done(s.linear(h, 12, 8), h)
		}, [3]int{0, 0, 0}, "is an output of the graph"},
		{"hidden channels divided by a sum over them", func() *graph.Model {
			s, x := newSketch(17)
			h := s.node("Exp", []*graph.Value{s.linear(x, 8, 12)})
			h = s.node("Div", []*graph.Value{h, s.node("ReduceSum", []*graph.Value{h, s.ints(2)})})
			return s.done(s.linear(h, 12, 8))
		}, [3]int{0, 0, 0}, "normalizes over the hidden channels"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			base := c.build()
			passtest.Load(t, plantedCases(t)[0].Path()) // ONNX Runtime
			vit := passtest.Find(t, base)
			if got := prunable(vit); got != c.pruned {
				t.Errorf("can prune %v (q/k, v/o, hidden), want %v; reasons: %q", got, c.pruned, reasonsOf(vit))
			}
			if all := strings.Join(reasonsOf(vit), "\n"); !strings.Contains(all, c.reason) || c.reason == "" && all != "" {
				t.Errorf("reasons %q, want %q", all, c.reason)
			}
			for seed := range uint64(4) {
				var c tally
				if err := tryPruning(t, base.Clone(), rand.New(rand.NewPCG(seed, 4)), "", nil, &c); err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
				if c.valid != 1 {
					t.Fatal("the model does not run")
				}
			}
		})
	}
}

func prunable(vit *structure.ViT) (n [3]int) {
	for _, a := range vit.Attentions {
		if a.QKReason == "" {
			n[0]++
		}
		if a.VOReason == "" {
			n[1]++
		}
	}
	for _, p := range vit.MLPs {
		if p.Reason == "" {
			n[2]++
		}
	}
	return n
}

func reasonsOf(vit *structure.ViT) []string {
	var all []string
	add := func(r string) {
		if r != "" {
			all = append(all, r)
		}
	}
	for _, a := range vit.Attentions {
		add(a.QKReason)
		add(a.VOReason)
	}
	for _, p := range vit.MLPs {
		add(p.Reason)
	}
	for _, d := range vit.Declined {
		add(d.Reason)
	}
	return all
}
