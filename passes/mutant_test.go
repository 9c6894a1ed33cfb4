package passes_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/passes/passtest"
	"nuwa/passes/structure"
)

// stock is a model that mutants are made of, with the values at which an
// assumption can be broken.
type stock struct {
	name   string
	raw    bool // not cleaned yet
	model  *graph.Model
	shapes *engine.Shapes
	places [][]string // names of values, by the part of the network they are in
	linear []string   // results of linear maps
	heads  []string   // operands of attention products
}

// rawStock is a stock of a model as its exporter wrote it.
func rawStock(t *testing.T, f file) *stock {
	m := passtest.Load(t, f.path)
	if err := m.Graph.Sort(); err != nil {
		t.Fatal(err)
	}
	shapes, err := passtest.Engine.Shapes(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	s := &stock{name: "raw " + f.name, raw: true, model: m, shapes: shapes}
	s.everywhere()
	return s
}

func newStock(t *testing.T, f file) *stock {
	m := passtest.Load(t, f.path)
	vit := passtest.Clean(t, m)
	passtest.Tidy(t, m)
	s := &stock{name: f.name, model: m, shapes: vit.Shapes}
	between := func(to *graph.Value, from ...*graph.Value) {
		if names := namesBetween(to, from); len(names) > 0 {
			s.places = append(s.places, names)
		}
	}
	for _, a := range vit.Attentions {
		for _, n := range []*graph.Node{a.QK, a.PV} {
			for _, v := range n.Inputs() {
				if v.Const() == nil {
					s.heads = append(s.heads, v.Name())
				}
			}
		}
		between(a.PV.Input(0), a.QK.Output(0))
		for _, o := range []*structure.Operand{a.Q, a.K, a.V} {
			if o != nil {
				between(o.Leaf.Value, o.Linear.In)
			}
		}
		if a.Out != nil {
			between(a.Out.Linear.Out, a.PV.Output(0))
		}
	}
	for _, p := range vit.MLPs {
		var from []*graph.Value
		for _, l := range p.First {
			from = append(from, l.In)
		}
		between(p.Second.Out, from...)
	}
	for _, k := range vit.Classifiers {
		between(k.Output, k.Linears[0].In)
	}
	s.everywhere()
	return s
}

// everywhere adds all values as a place, and finds the linear maps.
func (s *stock) everywhere() {
	var all []string
	for _, n := range s.model.Graph.Nodes() {
		for _, v := range n.Outputs() {
			if v != nil {
				all = append(all, v.Name())
			}
		}
		if n.Is("MatMul", "Gemm", "Conv") && n.Input(1).Const() != nil {
			s.linear = append(s.linear, n.Output(0).Name())
		}
	}
	s.places = append(s.places, all)
}

// namesBetween lists the values on all ways back from to, until one of from.
func namesBetween(to *graph.Value, from []*graph.Value) []string {
	var names []string
	seen := map[*graph.Value]bool{}
	var walk func(v *graph.Value)
	walk = func(v *graph.Value) {
		if v == nil || v.Producer() == nil || seen[v] || slices.Contains(from, v) || len(names) > 60 {
			return
		}
		seen[v] = true
		names = append(names, v.Name())
		for _, x := range v.Producer().Inputs() {
			walk(x)
		}
	}
	walk(to)
	return names
}

// mutant is a model under change.
type mutant struct {
	*stock
	m   *graph.Model
	g   *graph.Graph
	rng *rand.Rand
	did string // what was changed, for people
}

// A mutation breaks one assumption. It reports false where it does not apply.
type mutation struct {
	name  string
	apply func(x *mutant) bool
}

// mutations are drawn from with chances that make up for how few of a kind give
// a model that runs.
var mutations = slices.Concat(
	slices.Repeat([]mutation{{"insert", (*mutant).insert}}, 8),
	slices.Repeat([]mutation{{"consumer", (*mutant).consumer}}, 3),
	slices.Repeat([]mutation{{"share", (*mutant).share}}, 2),
	slices.Repeat([]mutation{{"heads", (*mutant).permuteHeads}}, 3),
	slices.Repeat([]mutation{{"convolution", (*mutant).convolution}}, 4),
	slices.Repeat([]mutation{{"rewire", (*mutant).rewire}}, 4),
	slices.Repeat([]mutation{{"chain", (*mutant).chain}}, 2),
	slices.Repeat([]mutation{{"attribute", (*mutant).attribute}}, 16),
	slices.Repeat([]mutation{{"target", (*mutant).target}}, 12),
	slices.Repeat([]mutation{{"swap", (*mutant).swap}}, 16),
)

// mutate returns a mutant of s and the name of what was done, nil where the
// draw did not apply.
func (s *stock) mutate(rng *rand.Rand) (*mutant, string) {
	x := &mutant{stock: s, m: s.model.Clone(), rng: rng}
	x.g = x.m.Graph
	mu := mutations[rng.IntN(len(mutations))]
	if !mu.apply(x) {
		return nil, mu.name
	}
	return x, mu.name
}

func pickOne[T any](rng *rand.Rand, xs []T) T { return xs[rng.IntN(len(xs))] }

// place draws a floating-point value somewhere in the network.
func (x *mutant) place() (*graph.Value, []engine.Size) {
	v := x.g.Value(pickOne(x.rng, pickOne(x.rng, x.places)))
	d, ok := x.shapes.Of(v)
	if !ok || len(d) == 0 || !x.shapes.Elem(v).IsFloat() {
		return nil, nil
	}
	return v, d
}

// fixedAxis draws an axis of d that does not grow with the batch and is larger
// than one; −1 if there is none.
func (x *mutant) fixedAxis(d []engine.Size) int {
	var axes []int
	for i, s := range d {
		if !s.Dynamic() && s.Fixed > 1 {
			axes = append(axes, i)
		}
	}
	if len(axes) == 0 {
		return -1
	}
	return pickOne(x.rng, axes)
}

func (x *mutant) node(op string, ins []*graph.Value, attrs ...*graph.Attr) *graph.Value {
	return x.g.Add(op, "mutant_"+op, ins, attrs...).Output(0)
}

func (x *mutant) ints(xs ...int64) *graph.Value {
	return x.g.AddConst("mutant_ints", graph.NewTensor([]int64{int64(len(xs))}, xs))
}

// floats makes a constant of v's type with numbers about one.
func (x *mutant) floats(v *graph.Value, dims ...int64) *graph.Value {
	xs := make([]float64, graph.Elements(dims))
	for i := range xs {
		xs[i] = 1 + 0.3*x.rng.NormFloat64()
	}
	t, err := graph.FromFloats(x.shapes.Elem(v), dims, xs)
	if err != nil {
		panic(err) // the place is of a floating-point type
	}
	return x.g.AddConst("mutant_floats", t)
}

// squares makes n numbers of v's type that are not negative.
func (x *mutant) squares(v *graph.Value, n int64) *graph.Tensor {
	xs := make([]float64, n)
	for i := range xs {
		xs[i] = 0.5 + x.rng.Float64()
	}
	t, err := graph.FromFloats(x.shapes.Elem(v), []int64{n}, xs)
	if err != nil {
		panic(err) // the place is of a floating-point type
	}
	return t
}

// reduce spells a reduction over one axis for the model's opset; a negative
// axis reduces all.
func (x *mutant) reduce(op string, v *graph.Value, axis int, keep int64) *graph.Value {
	n := x.g.Add(op, "mutant_"+op, []*graph.Value{v}, graph.Int("keepdims", keep))
	switch {
	case axis < 0:
	case op == "ReduceSum" && x.m.Opset("") >= 13:
		n.SetInput(1, x.ints(int64(axis)))
	default:
		n.SetAttr(graph.Ints("axes", int64(axis)))
	}
	return n.Output(0)
}

func (x *mutant) slice(v *graph.Value, axis int, start, end, step int64) *graph.Value {
	return x.node("Slice", []*graph.Value{v, x.ints(start), x.ints(end), x.ints(int64(axis)), x.ints(step)})
}

func (x *mutant) permute(v *graph.Value, axis int, size int64) *graph.Value {
	perm := make([]int64, size)
	for i, p := range x.rng.Perm(int(size)) {
		perm[i] = int64(p)
	}
	return x.node("Gather", []*graph.Value{v, x.ints(perm...)}, graph.Int("axis", int64(axis)))
}

func (x *mutant) roll(v *graph.Value, axis int, by int64) *graph.Value {
	return x.node("Concat", []*graph.Value{x.slice(v, axis, by, 1<<30, 1), x.slice(v, axis, 0, by, 1)}, graph.Int("axis", int64(axis)))
}

// inserts are operators that leave the shape of v, of sizes d, as it is. All
// get an axis whose size is fixed.
var inserts = map[string]func(x *mutant, v *graph.Value, d []engine.Size, axis int) *graph.Value{
	"Neg": func(x *mutant, v *graph.Value, _ []engine.Size, _ int) *graph.Value {
		return x.node("Neg", []*graph.Value{v})
	},
	"Relu": func(x *mutant, v *graph.Value, _ []engine.Size, _ int) *graph.Value {
		return x.node("Relu", []*graph.Value{v})
	},
	"Tanh": func(x *mutant, v *graph.Value, _ []engine.Size, _ int) *graph.Value {
		return x.node("Tanh", []*graph.Value{v})
	},
	"Dropout": func(x *mutant, v *graph.Value, _ []engine.Size, _ int) *graph.Value {
		return x.node("Dropout", []*graph.Value{v})
	},
	"Cast there and back": func(x *mutant, v *graph.Value, _ []engine.Size, _ int) *graph.Value {
		w := x.node("Cast", []*graph.Value{v}, graph.Int("to", int64(graph.Float64)))
		return x.node("Cast", []*graph.Value{w}, graph.Int("to", int64(x.shapes.Elem(v))))
	},
	"minus its mean": func(x *mutant, v *graph.Value, _ []engine.Size, axis int) *graph.Value {
		return x.node("Sub", []*graph.Value{v, x.reduce("ReduceMean", v, axis, 1)})
	},
	"times its largest": func(x *mutant, v *graph.Value, _ []engine.Size, axis int) *graph.Value {
		return x.node("Mul", []*graph.Value{v, x.reduce("ReduceMax", v, axis, 1)})
	},
	"Softmax": func(x *mutant, v *graph.Value, _ []engine.Size, axis int) *graph.Value {
		return x.node("Softmax", []*graph.Value{v}, graph.Int("axis", int64(axis)))
	},
	"CumSum": func(x *mutant, v *graph.Value, _ []engine.Size, axis int) *graph.Value {
		return x.node("CumSum", []*graph.Value{v, x.g.AddConst("mutant_axis", graph.Scalar(int64(axis)))})
	},
	"scale": func(x *mutant, v *graph.Value, _ []engine.Size, _ int) *graph.Value {
		return x.node("Mul", []*graph.Value{x.floats(v), v})
	},
	"scale along an axis": func(x *mutant, v *graph.Value, d []engine.Size, axis int) *graph.Value {
		return x.node(pickOne(x.rng, []string{"Mul", "Div"}), []*graph.Value{v, x.along(v, d, axis)})
	},
	"shift along an axis": func(x *mutant, v *graph.Value, d []engine.Size, axis int) *graph.Value {
		return x.node(pickOne(x.rng, []string{"Add", "Sub"}), []*graph.Value{v, x.along(v, d, axis)})
	},
	"subtract from": func(x *mutant, v *graph.Value, d []engine.Size, axis int) *graph.Value {
		return x.node("Sub", []*graph.Value{x.along(v, d, axis), v})
	},
	"shift everywhere": func(x *mutant, v *graph.Value, d []engine.Size, _ int) *graph.Value {
		dims := make([]int64, len(d))
		for i, s := range d {
			dims[i] = 1
			if !s.Dynamic() {
				dims[i] = s.Fixed
			}
		}
		return x.node("Add", []*graph.Value{v, x.floats(v, dims...)})
	},
	"BatchNormalization": func(x *mutant, v *graph.Value, d []engine.Size, _ int) *graph.Value {
		if len(d) < 2 || d[1].Dynamic() {
			return nil
		}
		n := d[1].Fixed
		return x.node("BatchNormalization", []*graph.Value{v, x.floats(v, n), x.floats(v, n), x.floats(v, n), x.g.AddConst("mutant_variance", x.squares(v, n))})
	},
	"depthwise convolution": func(x *mutant, v *graph.Value, d []engine.Size, _ int) *graph.Value {
		return x.conv(v, d, 1)
	},
	"convolution of pairs": func(x *mutant, v *graph.Value, d []engine.Size, _ int) *graph.Value {
		return x.conv(v, d, 2)
	},
	"Gather permutes": func(x *mutant, v *graph.Value, d []engine.Size, axis int) *graph.Value {
		return x.permute(v, axis, d[axis].Fixed)
	},
	"reverse": func(x *mutant, v *graph.Value, _ []engine.Size, axis int) *graph.Value {
		return x.slice(v, axis, -1, -(1 << 30), -1)
	},
	"roll": func(x *mutant, v *graph.Value, d []engine.Size, axis int) *graph.Value {
		return x.roll(v, axis, 1+x.rng.Int64N(d[axis].Fixed-1))
	},
	"plus itself permuted": func(x *mutant, v *graph.Value, d []engine.Size, axis int) *graph.Value {
		return x.node("Add", []*graph.Value{v, x.permute(v, axis, d[axis].Fixed)})
	},
	"times itself rolled": func(x *mutant, v *graph.Value, d []engine.Size, axis int) *graph.Value {
		return x.node("Mul", []*graph.Value{v, x.roll(v, axis, d[axis].Fixed/2)})
	},
	"half twice": func(x *mutant, v *graph.Value, d []engine.Size, axis int) *graph.Value {
		n := d[axis].Fixed
		a, b := x.slice(v, axis, 0, n/2, 1), x.slice(v, axis, 0, n-n/2, 1)
		return x.node("Concat", []*graph.Value{a, b}, graph.Int("axis", int64(axis)))
	},
	"Reshape interleaves": func(x *mutant, v *graph.Value, d []engine.Size, _ int) *graph.Value {
		i := len(d) - 2
		if i < 0 || d[i].Dynamic() || d[i+1].Dynamic() {
			return nil
		}
		dims := make([]int64, len(d))
		perm := make([]int64, len(d))
		for j := range d {
			perm[j] = int64(j)
		}
		dims[i], dims[i+1] = d[i+1].Fixed, d[i].Fixed
		perm[i], perm[i+1] = perm[i+1], perm[i]
		w := x.node("Reshape", []*graph.Value{v, x.ints(dims...)})
		return x.node("Transpose", []*graph.Value{w}, graph.Ints("perm", perm...))
	},
	"flatten and back": func(x *mutant, v *graph.Value, d []engine.Size, _ int) *graph.Value {
		dims := make([]int64, len(d))
		for j, s := range d {
			dims[j] = s.Fixed
			if s.Dynamic() {
				dims[j] = -1
			}
		}
		return x.node("Reshape", []*graph.Value{x.node("Flatten", []*graph.Value{v}, graph.Int("axis", int64(len(d)-1))), x.ints(dims...)})
	},
}

// conv puts a convolution with a kernel of three, along all axes behind the
// channels, into groups of the given number of channels.
func (x *mutant) conv(v *graph.Value, d []engine.Size, width int64) *graph.Value {
	if len(d) < 3 || len(d) > 4 || d[1].Dynamic() || d[1].Fixed%width != 0 {
		return nil
	}
	dims := []int64{d[1].Fixed, width}
	var pads []int64
	for range d[2:] {
		dims, pads = append(dims, 3), append(pads, 1, 1)
	}
	return x.node("Conv", []*graph.Value{v, x.floats(v, dims...)}, graph.Int("group", d[1].Fixed/width), graph.Ints("pads", pads...))
}

// permuteHeads exchanges the heads of one operand of an attention product.
func (x *mutant) permuteHeads() bool {
	if len(x.stock.heads) == 0 {
		return false
	}
	v := x.g.Value(pickOne(x.rng, x.stock.heads))
	d, ok := x.shapes.Of(v)
	if !ok || len(d) < 3 || d[len(d)-3].Dynamic() || d[len(d)-3].Fixed < 2 || v.IsOutput() {
		return false
	}
	uses := slices.Clone(v.Uses())
	w := x.permute(v, len(d)-3, d[len(d)-3].Fixed)
	x.did = fmt.Sprintf("the heads of %q change places", v.Name())
	return x.redirect(uses, w)
}

// convolution changes what a convolution does: how far apart it reads, or how
// many channels it mixes.
func (x *mutant) convolution() bool {
	var nodes []*graph.Node
	for _, n := range x.g.Nodes() {
		if n.Is("Conv") && n.Input(1).Const() != nil {
			nodes = append(nodes, n)
		}
	}
	if len(nodes) == 0 {
		return false
	}
	n := pickOne(x.rng, nodes)
	w, group := n.Input(1).Const().Dims, n.IntAttr("group", 1)
	spatial := len(w) - 2
	switch {
	case group > 1 && x.rng.IntN(2) == 0: // channels of two groups are mixed
		if group%2 != 0 {
			return false
		}
		dims := slices.Clone(w)
		dims[1] *= 2
		n.SetAttr(graph.Int("group", group/2))
		n.SetInput(1, x.floats(n.Output(0), dims...))
	case w[2] > 1:
		n.SetAttr(graph.Ints("dilations", slices.Repeat([]int64{2}, spatial)...))
		n.SetAttr(graph.Ints("pads", slices.Repeat([]int64{w[2] - 1}, 2*spatial)...))
	default:
		n.SetAttr(graph.Ints("strides", slices.Repeat([]int64{2}, spatial)...))
	}
	x.did = fmt.Sprintf("%s works otherwise", n)
	return true
}

// along makes a constant that broadcasts along one axis of d.
func (x *mutant) along(v *graph.Value, d []engine.Size, axis int) *graph.Value {
	dims := []int64{d[axis].Fixed}
	for range d[axis+1:] {
		dims = append(dims, 1)
	}
	return x.floats(v, dims...)
}

// insert puts an operator behind a value, for all of its readers or one.
func (x *mutant) insert() bool {
	v, d := x.place()
	if v == nil {
		return false
	}
	axis := x.fixedAxis(d)
	if axis < 0 {
		return false
	}
	uses := slices.Clone(v.Uses())
	name := pickOne(x.rng, sortedNames(inserts))
	w := inserts[name](x, v, d, axis)
	if w == nil {
		return false
	}
	if x.rng.IntN(4) == 0 && len(uses) > 0 {
		uses = []graph.Use{pickOne(x.rng, uses)}
	}
	x.did = fmt.Sprintf("%s behind %q, axis %d, for %d readers", name, v.Name(), axis, len(uses))
	return x.redirect(uses, w)
}

// redirect makes the given readers read w. An output of the graph keeps its
// name.
func (x *mutant) redirect(uses []graph.Use, w *graph.Value) bool {
	for _, u := range uses {
		if u.Node != nil {
			u.Node.SetInput(u.Index, w)
			continue
		}
		old := x.g.Outputs()[u.Index]
		name := old.Name()
		x.g.Rename(old, x.g.UniqueName(name+"_inner"))
		x.g.Rename(w, name)
		w.Type = old.Type.Clone()
		x.g.SetOutput(u.Index, w)
	}
	return len(uses) > 0
}

// consumer gives a value one more reader.
func (x *mutant) consumer() bool {
	v, d := x.place()
	if v == nil || v.IsOutput() {
		return false
	}
	switch x.rng.IntN(3) {
	case 0:
		v.Type = nil
		out := x.node("Identity", []*graph.Value{x.reduce("ReduceMean", v, -1, 0)})
		x.g.AddOutput(out)
		x.did = fmt.Sprintf("an output of the mean of %q", v.Name())
	case 1:
		y := x.g.Outputs()[0]
		uses := slices.Clone(y.Uses())
		x.redirect(uses, x.node("Add", []*graph.Value{y, x.reduce("ReduceMean", v, -1, 0)}))
		x.did = fmt.Sprintf("the mean of %q added to the output", v.Name())
	default:
		w := x.sameShape(v, d, false)
		if w == nil {
			return false
		}
		uses := slices.Clone(w.Uses())
		x.redirect(uses, x.node("Add", []*graph.Value{w, v}))
		x.did = fmt.Sprintf("%q added to %q", v.Name(), w.Name())
	}
	return true
}

// sameShape draws another value of v's type and sizes, computed before v or
// after it.
func (x *mutant) sameShape(v *graph.Value, d []engine.Size, before bool) *graph.Value {
	var found []*graph.Value
	at := slices.Index(x.g.Nodes(), v.Producer())
	for i, n := range x.g.Nodes() {
		for _, w := range n.Outputs() {
			if w == nil || w == v || before != (i < at) {
				continue
			}
			if e, ok := x.shapes.Of(w); ok && slices.Equal(d, e) && x.shapes.Elem(w) == x.shapes.Elem(v) {
				found = append(found, w)
			}
		}
	}
	if len(found) == 0 {
		return nil
	}
	return pickOne(x.rng, found)
}

// rewire makes one reader of a value read an earlier one of the same shape.
func (x *mutant) rewire() bool {
	v, d := x.place()
	if v == nil || len(v.Uses()) == 0 {
		return false
	}
	w := x.sameShape(v, d, true)
	if w == nil {
		return false
	}
	u := pickOne(x.rng, v.Uses())
	if u.Node == nil {
		return false
	}
	x.did = fmt.Sprintf("%s reads %q instead of %q", u.Node, w.Name(), v.Name())
	u.Node.SetInput(u.Index, w)
	return true
}

// share lets two linear maps use one weight or one bias, or gives a weight
// another reader.
func (x *mutant) share() bool {
	if len(x.linear) < 2 {
		return false
	}
	a, b := x.g.Value(pickOne(x.rng, x.linear)).Producer(), x.g.Value(pickOne(x.rng, x.linear)).Producer()
	wa, wb := a.Input(1), b.Input(1)
	switch {
	case x.rng.IntN(3) == 0:
		y := x.g.Outputs()[0]
		x.redirect(slices.Clone(y.Uses()), x.node("Add", []*graph.Value{y, x.reduce("ReduceMean", wa, -1, 0)}))
		x.did = fmt.Sprintf("the weight of %s also feeds the output", a)
	case a == b || !slices.Equal(wa.Const().Dims, wb.Const().Dims):
		return false
	default:
		b.SetInput(1, wa)
		x.did = fmt.Sprintf("%s uses the weight of %s", b, a)
	}
	return true
}

// attribute changes an axis or a permutation.
func (x *mutant) attribute() bool {
	v, _ := x.place()
	if v == nil || v.Producer() == nil {
		return false
	}
	n := v.Producer()
	before := n.String()
	if perm, ok := n.IntsAttr("perm"); ok && len(perm) > 1 {
		perm = slices.Clone(perm)
		i, j := x.rng.IntN(len(perm)), x.rng.IntN(len(perm))
		perm[i], perm[j] = perm[j], perm[i]
		n.SetAttr(graph.Ints("perm", perm...))
		x.did = fmt.Sprintf("%s permutes %v", before, perm)
		return i != j
	}
	if n.Attr("axis") == nil && !n.Is("Softmax") {
		return false
	}
	d, _ := x.shapes.Of(v)
	axis := int64(x.rng.IntN(2*len(d)) - len(d))
	n.SetAttr(graph.Int("axis", axis))
	x.did = fmt.Sprintf("%s works on axis %d", before, axis)
	return true
}

// target swaps two numbers of a constant that says where elements go.
func (x *mutant) target() bool {
	var nodes []*graph.Node
	for _, n := range x.g.Nodes() {
		if n.Is("Reshape", "Slice", "Split", "Gather") && n.Input(1) != nil && n.Input(1).Const() != nil {
			nodes = append(nodes, n)
		}
	}
	if len(nodes) == 0 {
		return false
	}
	n := pickOne(x.rng, nodes)
	old := n.Input(1).Const()
	xs, err := old.Ints()
	if err != nil || len(xs) < 2 {
		return false
	}
	i, j := x.rng.IntN(len(xs)), x.rng.IntN(len(xs))
	if xs[i] == xs[j] {
		return false
	}
	xs[i], xs[j] = xs[j], xs[i]
	n.SetInput(1, x.g.AddConst("mutant_target", graph.NewTensor(old.Dims, xs)))
	x.did = fmt.Sprintf("%s has the target %v", n, xs)
	return true
}

// swap exchanges two operands of a node, or two results.
func (x *mutant) swap() bool {
	v, _ := x.place()
	if v == nil || v.Producer() == nil {
		return false
	}
	n := v.Producer()
	if outs := n.Outputs(); len(outs) > 1 {
		i := x.rng.IntN(len(outs) - 1)
		a, b := slices.Clone(outs[i].Uses()), slices.Clone(outs[i+1].Uses())
		x.did = fmt.Sprintf("results %d and %d of %s change places", i, i+1, n)
		return x.redirect(a, outs[i+1]) && x.redirect(b, outs[i])
	}
	if len(n.Inputs()) < 2 || n.Is("Add", "Mul") {
		return false
	}
	a, b := n.Input(0), n.Input(1)
	n.SetInput(0, b)
	n.SetInput(1, a)
	x.did = fmt.Sprintf("the operands of %s change places", n)
	return true
}

// chain puts a further linear map, with or without an activation, behind a
// linear map.
func (x *mutant) chain() bool {
	v := x.g.Value(pickOne(x.rng, x.linear))
	d, ok := x.shapes.Of(v)
	if !ok || len(d) < 2 || d[len(d)-1].Dynamic() || v.IsOutput() {
		return false
	}
	n := d[len(d)-1].Fixed
	w := v
	if x.rng.IntN(2) == 0 {
		w = x.node("Relu", []*graph.Value{w})
	}
	xs := make([]float64, n*n)
	for i := range xs {
		xs[i] = x.rng.NormFloat64() / float64(n)
	}
	t, err := graph.FromFloats(x.shapes.Elem(v), []int64{n, n}, xs)
	if err != nil {
		return false
	}
	uses := slices.Clone(v.Uses())
	w = x.node("MatMul", []*graph.Value{w, x.g.AddConst("mutant_weight", t)})
	uses = slices.DeleteFunc(uses, func(u graph.Use) bool { return u.Node == w.Producer() })
	x.did = fmt.Sprintf("a further linear map behind %q", v.Name())
	return x.redirect(uses, w)
}

func sortedNames[T any](m map[string]T) []string {
	var names []string
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}
