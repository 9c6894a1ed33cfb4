package focus_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/internal/fault"
	"nuwa/passes/focus"
	"nuwa/passes/passtest"
	"nuwa/passes/structure"
	"nuwa/testmodels"
)

// wanted are classes in an order of their own.
var wanted = []int{7, 0, 4}

// rows are the numbers of an output, one row per image.
func rows(t *testing.T, x *graph.Tensor) [][]float64 {
	t.Helper()
	xs, err := x.Floats()
	if err != nil {
		t.Fatal(err)
	}
	n := int(x.Dims[len(x.Dims)-1])
	return slices.Collect(slices.Chunk(xs, n))
}

// check narrows m both ways and compares every output with the base's wanted
// classes. Probabilities are shared out anew among them.
func check(t *testing.T, m *graph.Model, heads int, tol float64) {
	t.Helper()
	sliced, masked := m.Clone(), m.Clone()
	for _, x := range []struct {
		m    *graph.Model
		edit func(*graph.Model, []*structure.Classifier, []int) error
	}{{sliced, focus.Slice}, {masked, focus.Mask}} {
		ks := passtest.Find(t, x.m).Classifiers
		if len(ks) != heads {
			t.Fatalf("%d classifiers found, want %d", len(ks), heads)
		}
		if err := x.edit(x.m, ks, wanted); err != nil {
			t.Fatal(err)
		}
		passtest.Tidy(t, x.m)
	}
	for i, v := range m.Graph.Outputs() {
		for what, w := range map[string]*graph.Value{"sliced": sliced.Graph.Outputs()[i], "masked": masked.Graph.Outputs()[i]} {
			if w.Name() != v.Name() {
				t.Errorf("%s: output %d is called %q, was %q", what, i, w.Name(), v.Name())
			}
		}
		if dims, ok := sliced.Graph.Outputs()[i].Type.Dims(); ok && dims[len(dims)-1] != int64(len(wanted)) {
			t.Errorf("output %q is declared as %s", v.Name(), sliced.Graph.Outputs()[i].Type)
		}
	}
	softmax := map[string]bool{}
	for _, k := range passtest.Find(t, m).Classifiers {
		softmax[k.Output.Name()] = k.Softmax
	}
	bases, ss, ks := passtest.Run(t, m), passtest.Run(t, sliced), passtest.Run(t, masked)
	for i, base := range bases {
		s, k := ss[i], ks[i]
		for name := range base {
			for r, all := range rows(t, base[name]) {
				var want []float64
				sum := 0.0
				for _, c := range wanted {
					want = append(want, all[c])
					sum += all[c]
				}
				if softmax[name] {
					for i := range want {
						want[i] /= sum
					}
				}
				near(t, "sliced "+name, want, rows(t, s[name])[r], tol)
				full := rows(t, k[name])[r]
				var got []float64
				for _, c := range wanted {
					got = append(got, full[c])
				}
				near(t, "masked "+name, want, got, tol)
				for c, x := range full {
					if !slices.Contains(wanted, c) && (x > slices.Min(got)-100 && !softmax[name] || softmax[name] && x != 0) {
						t.Errorf("masked %s: class %d, which is not wanted, has %g beside %v", name, c, x, got)
					}
				}
			}
		}
	}
}

func near(t *testing.T, what string, want, got []float64, tol float64) {
	t.Helper()
	if len(want) != len(got) {
		t.Errorf("%s: %d numbers, want %d", what, len(got), len(want))
		return
	}
	for i := range want {
		if !(math.Abs(want[i]-got[i]) <= tol*math.Max(1, math.Abs(want[i]))) {
			t.Errorf("%s: %v, want %v", what, got, want)
			return
		}
	}
}

func TestFocusKeepsTheWantedLogits(t *testing.T) {
	for file, heads := range map[string]int{
		"packed_14_dynamic.onnx": 1, "separate_11_static.onnx": 1, "torchvision_17_dynamic.onnx": 1, "mean_17_dynamic.onnx": 1,
		"window.onnx": 1, "two_heads.onnx": 2, "softmax_head.onnx": 1, "no_constant_folding.onnx": 1, "cnn.onnx": 1,
	} {
		t.Run(file, func(t *testing.T) {
			m := passtest.Tiny(t, file)
			passtest.Clean(t, m)
			passtest.Tidy(t, m)
			check(t, m, heads, 1e-5)
		})
	}
}

// head builds small classifiers by hand on features [B, 6].
type head struct {
	m   *graph.Model
	g   *graph.Graph
	rng *rand.Rand
}

func newHead(t *testing.T, typ graph.DType) (*head, *graph.Value) {
	passtest.Load(t, mustPath(t)) // ONNX Runtime
	m := graph.NewModel(graph.Opset{Version: 14})
	return &head{m, m.Graph, rand.New(rand.NewPCG(1, 1))}, m.Graph.AddInput("x", graph.TensorType(typ, graph.Sym("batch"), graph.Fixed(6)))
}

func mustPath(t *testing.T) string {
	cases, err := testmodels.Tiny()
	if err != nil {
		t.Fatal(err)
	}
	return cases[0].Path()
}

func (h *head) node(op string, ins []*graph.Value, attrs ...*graph.Attr) *graph.Value {
	return h.g.Add(op, "", ins, attrs...).Output(0)
}

func (h *head) floats(typ graph.DType, dims ...int64) *graph.Value {
	xs := make([]float64, graph.Elements(dims))
	for i := range xs {
		xs[i] = h.rng.NormFloat64()
	}
	t, _ := graph.FromFloats(typ, dims, xs)
	return h.g.AddConst("w", t)
}

func (h *head) number(x float32) *graph.Value { return h.g.AddConst("number", graph.Scalar(x)) }

// logits is a linear map to ten classes.
func (h *head) logits(x *graph.Value, typ graph.DType) *graph.Value {
	return h.node("Gemm", []*graph.Value{x, h.floats(typ, 6, 10), h.floats(typ, 10)})
}

func (h *head) done(outputs ...*graph.Value) *graph.Model {
	for _, v := range outputs {
		h.g.AddOutput(v)
	}
	return h.m
}

func TestFocusOnHeadsOfAllKinds(t *testing.T) {
	const f32 = graph.Float32
	for _, c := range []struct {
		name  string
		heads int
		tol   float64
		build func(t *testing.T) *graph.Model
	}{
		{"two heads averaged", 1, 1e-5, func(t *testing.T) *graph.Model {
			h, x := newHead(t, f32)
			return h.done(h.node("Div", []*graph.Value{h.node("Add", []*graph.Value{h.logits(x, f32), h.logits(h.node("Tanh", []*graph.Value{x}), f32)}), h.number(2)}))
		}},
		{"the mean of two heads, shifted", 1, 1e-5, func(t *testing.T) *graph.Model {
			h, x := newHead(t, f32)
			y := h.node("Mean", []*graph.Value{h.logits(x, f32), h.logits(x, f32)})
			return h.done(h.node("Sub", []*graph.Value{h.node("Mul", []*graph.Value{h.number(3), y}), h.number(-1)}))
		}},
		{"logits and probabilities", 2, 1e-5, func(t *testing.T) *graph.Model {
			h, x := newHead(t, f32)
			y := h.logits(x, f32)
			return h.done(y, h.node("Softmax", []*graph.Value{y}, graph.Int("axis", -1)))
		}},
		{"a Reshape that states the number of classes", 1, 1e-5, func(t *testing.T) *graph.Model {
			h, x := newHead(t, f32)
			y := h.node("Reshape", []*graph.Value{h.logits(x, f32), h.g.AddConst("dims", graph.NewTensor([]int64{3}, []int64{-1, 1, 10}))})
			return h.done(h.node("Reshape", []*graph.Value{y, h.g.AddConst("dims", graph.NewTensor([]int64{2}, []int64{-1, 10}))}))
		}},
		{"no bias, an axis of one", 1, 1e-5, func(t *testing.T) *graph.Model {
			h, x := newHead(t, f32)
			y := h.node("Unsqueeze", []*graph.Value{x, h.g.AddConst("axes", graph.NewTensor([]int64{1}, []int64{1}))})
			return h.done(h.node("Identity", []*graph.Value{h.node("MatMul", []*graph.Value{y, h.floats(f32, 6, 10)})}))
		}},
		{"half precision", 1, 5e-3, func(t *testing.T) *graph.Model {
			h, x := newHead(t, graph.Float16)
			return h.done(h.logits(x, graph.Float16))
		}},
		{"half precision, widened at the end", 1, 5e-3, func(t *testing.T) *graph.Model {
			h, x := newHead(t, graph.Float16)
			return h.done(h.node("Cast", []*graph.Value{h.logits(x, graph.Float16)}, graph.Int("to", int64(f32))))
		}},
	} {
		t.Run(c.name, func(t *testing.T) { check(t, c.build(t), c.heads, c.tol) })
	}
}

// Where an output of one class would come to depend on another's number, the
// classifier is left alone.
func TestHeadsThatAreNoClassifiers(t *testing.T) {
	const f32 = graph.Float32
	for name, build := range map[string]func(t *testing.T) (*graph.Model, string){
		"the difference of two heads": func(t *testing.T) (*graph.Model, string) {
			h, x := newHead(t, f32)
			return h.done(h.node("Sub", []*graph.Value{h.logits(x, f32), h.logits(x, f32)})), ""
		},
		"the product of two heads": func(t *testing.T) (*graph.Model, string) {
			h, x := newHead(t, f32)
			return h.done(h.node("Mul", []*graph.Value{h.logits(x, f32), h.logits(x, f32)})), ""
		},
		"logits turned round": func(t *testing.T) (*graph.Model, string) {
			h, x := newHead(t, f32)
			return h.done(h.node("Mul", []*graph.Value{h.logits(x, f32), h.number(-1)})), ""
		},
		"one over the logits": func(t *testing.T) (*graph.Model, string) {
			h, x := newHead(t, f32)
			return h.done(h.node("Div", []*graph.Value{h.number(1), h.logits(x, f32)})), ""
		},
		"the number of the largest beside the logits": func(t *testing.T) (*graph.Model, string) {
			h, x := newHead(t, f32)
			y := h.logits(x, f32)
			return h.done(y, h.node("ArgMax", []*graph.Value{y}, graph.Int("axis", -1))), "ArgMax"
		},
		"probabilities, and their entropy beside them": func(t *testing.T) (*graph.Model, string) {
			h, x := newHead(t, f32)
			y := h.logits(x, f32)
			p := h.node("Softmax", []*graph.Value{y}, graph.Int("axis", -1))
			return h.done(y, p, h.node("ReduceSum", []*graph.Value{h.node("Log", []*graph.Value{p})}, graph.Int("keepdims", 1))), "Log"
		},
		"classes scaled one by one": func(t *testing.T) (*graph.Model, string) {
			h, x := newHead(t, f32)
			return h.done(h.node("Mul", []*graph.Value{h.logits(x, f32), h.floats(f32, 10)})), ""
		},
		"tokens, not images": func(t *testing.T) (*graph.Model, string) {
			h, x := newHead(t, f32)
			y := h.node("Reshape", []*graph.Value{x, h.g.AddConst("dims", graph.NewTensor([]int64{3}, []int64{0, 2, 3}))})
			return h.done(h.node("MatMul", []*graph.Value{y, h.floats(f32, 3, 10)})), ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, reason := build(t)
			passtest.Run(t, m)
			vit := passtest.Find(t, m)
			if len(vit.Classifiers) != 0 {
				t.Errorf("%d classifiers found, want none", len(vit.Classifiers))
			}
			if reason != "" && !slices.ContainsFunc(vit.Declined, func(d structure.Declined) bool {
				return d.What == "classifier" && strings.Contains(d.Reason, reason)
			}) {
				t.Errorf("declined %+v, want a reason that names %s", vit.Declined, reason)
			}
			err := focus.Slice(m, vit.Classifiers, wanted)
			if fault.KindOf(err) != fault.Unsupported || !strings.Contains(err.Error(), "--classes all") {
				t.Errorf("got %v, want a refusal with its remedy", err)
			}
		})
	}
}

func TestFocusRefusesClassesThatAreNotThere(t *testing.T) {
	h, x := newHead(t, graph.Float32)
	m := h.done(h.logits(x, graph.Float32))
	ks := passtest.Find(t, m).Classifiers
	for _, classes := range [][]int{{3, 10}, {-1}, {}} {
		before := m.String()
		for _, edit := range []func(*graph.Model, []*structure.Classifier, []int) error{focus.Slice, focus.Mask} {
			if err := edit(m, ks, classes); fault.KindOf(err) != fault.Data {
				t.Errorf("classes %v: got %v, want an error about data", classes, err)
			}
		}
		if m.String() != before {
			t.Errorf("classes %v: the model was changed", classes)
		}
	}
}

func TestMaskedIsWithinHalfPrecision(t *testing.T) {
	x, err := graph.FromFloats(graph.Float16, []int64{1}, []float64{focus.Masked})
	if err != nil {
		t.Fatal(err)
	}
	if xs, _ := x.Floats(); math.IsInf(xs[0], 0) || xs[0] > -5000 {
		t.Errorf("%g in half precision", xs[0])
	}
}
