package passes

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/passes/cleanup"
)

// How far an exact pass may move an output, relative to its largest element:
// the rounding that comes of sums being taken in another order, when a weight
// is packed that was computed before. Integers must be equal.
const (
	Tolerance     = 1e-5
	HalfTolerance = 5e-3 // of 16-bit floats
)

// proofSeed and proofBatches choose the inputs that passes are checked on.
const proofSeed = 11

var proofBatches = []int{1, 4}

const report = "please report this model"

// checker holds passes to their word.
type checker struct {
	state     *State
	skipProof bool
}

// check verifies the model after p changed it and returns how far its outputs
// moved.
func (c *checker) check(ctx context.Context, p Pass, before *graph.Model) (drift float64, err error) {
	m := c.state.Model
	cleanup.Dead(m)
	if err := m.Graph.Sort(); err != nil {
		return 0, &fault.Error{Kind: fault.Internal, Err: err, Remedy: report}
	}
	if err := m.Check(); err != nil {
		return 0, &fault.Error{Kind: fault.Internal, Got: "an unsound graph", Err: err, Remedy: report}
	}
	if err := sameSignature(before, m, p.Signature); err != nil {
		return 0, err
	}
	if c.skipProof {
		c.state.known = nil
		shapes, err := c.state.Engine.Shapes(ctx, m)
		if err == nil {
			declare(m, shapes)
		}
		return 0, err
	}
	proof := len(cleanup.Random(m)) == 0
	var names []string
	if proof {
		names = outputNames(m)
	}
	after, err := c.state.Engine.Observe(ctx, m, names, proofSeed, proofBatches...)
	if err != nil {
		return 0, err
	}
	declare(m, after.Shapes)
	known := c.state.known
	c.state.known = nil
	if !proof {
		return 0, nil
	}
	if !p.Signature {
		if known == nil {
			if known, err = c.run(ctx, before, after.Batches); err != nil {
				return 0, err
			}
		}
		if drift, err = compare(p, known, after); err != nil {
			return 0, err
		}
	}
	c.state.known = after.Values
	return drift, nil
}

// run returns the outputs of m at the given batch sizes.
func (c *checker) run(ctx context.Context, m *graph.Model, batches []int) ([]map[string]*graph.Tensor, error) {
	var feeds []map[string]*graph.Tensor
	for _, b := range batches {
		f, err := engine.Inputs(m, b, proofSeed)
		if err != nil {
			return nil, err
		}
		feeds = append(feeds, f)
	}
	return c.state.Engine.Compute(ctx, m, outputNames(m), feeds...)
}

// compare returns the largest difference of any output, relative to that
// output's largest element. One that an exact pass may not make is an error.
func compare(p Pass, before []map[string]*graph.Tensor, after *engine.Observation) (drift float64, err error) {
	for i, batch := range after.Batches {
		for name, x := range before[i] {
			moved, at, err := Distance(x, after.Values[i][name])
			if err != nil {
				return 0, err
			}
			drift = max(drift, moved)
			limit := 0.0
			switch x.Type {
			case graph.Float32, graph.Float64:
				limit = Tolerance
			case graph.Float16, graph.BFloat16:
				limit = HalfTolerance
			}
			if p.Effect == Exact && !(moved <= limit) {
				return 0, &fault.Error{Kind: fault.Internal, Where: fmt.Sprintf("output %q at batch %d", name, batch),
					Got:  fmt.Sprintf("%s, moved by %.2g of its largest element", at, moved),
					Want: fmt.Sprintf("at most %.0e from a pass that is exact", limit), Remedy: report}
			}
		}
	}
	return drift, nil
}

// Distance returns the largest difference between x and y, relative to the
// largest element of x, and says where it is. It is infinite where dimensions
// differ, or one is finite and the other is not; element types may differ.
func Distance(x, y *graph.Tensor) (moved float64, at string, err error) {
	if y == nil || !slices.Equal(x.Dims, y.Dims) {
		got := "nothing"
		if y != nil {
			got = y.Shape()
		}
		return math.Inf(1), fmt.Sprintf("%s where there was %s", got, x.Shape()), nil
	}
	if x.Type == graph.String {
		for i, s := range x.Strings {
			if string(s) != string(y.Strings[i]) {
				return math.Inf(1), fmt.Sprintf("element %d is %q, was %q", i, y.Strings[i], s), nil
			}
		}
		return 0, "", nil
	}
	xs, err := x.Floats()
	if err != nil {
		return 0, "", err
	}
	ys, err := y.Floats()
	if err != nil {
		return 0, "", err
	}
	top, diff := 0.0, 0.0
	for i, a := range xs {
		b := ys[i]
		if !math.IsInf(a, 0) && a == a {
			top = max(top, math.Abs(a))
		}
		if a == b || a != a && b != b {
			continue
		}
		d := math.Abs(a - b)
		if d != d {
			d = math.Inf(1)
		}
		if d > diff {
			diff, at = d, fmt.Sprintf("element %d is %g, was %g", i, b, a)
		}
	}
	if diff == 0 {
		return 0, "", nil
	}
	return diff / max(top, math.SmallestNonzeroFloat32), at, nil
}

// unchanged reports a change that no pass owned up to.
func unchanged(before, after *graph.Model) error {
	a, b := before.String(), after.String()
	if a != b {
		x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
		for i := range x {
			if i >= len(y) || x[i] != y[i] {
				return &fault.Error{Kind: fault.Internal, Got: "a change that is not reported, near " + strings.TrimSpace(x[i]), Remedy: report}
			}
		}
		return &fault.Error{Kind: fault.Internal, Got: "an addition that is not reported", Remedy: report}
	}
	for i, v := range before.Graph.Consts() {
		if w := after.Graph.Consts()[i]; v.Default() != nil && !sameBytes(v.Default(), w.Default()) {
			return &fault.Error{Kind: fault.Internal, Got: fmt.Sprintf("a change of %q that is not reported", v.Name()), Remedy: report}
		}
	}
	return nil
}

// sameBytes reports whether two tensors share their elements.
func sameBytes(a, b *graph.Tensor) bool {
	return b != nil && len(a.Data) == len(b.Data) && (len(a.Data) == 0 || &a.Data[0] == &b.Data[0])
}

func outputNames(m *graph.Model) []string {
	var names []string
	for _, v := range m.Graph.Outputs() {
		names = append(names, v.Name())
	}
	return names
}

// sameSignature compares the names of inputs and outputs, and their types, but
// for those of outputs where the pass may change them.
func sameSignature(before, after *graph.Model, mayChange bool) error {
	for _, side := range []struct {
		what  string
		a, b  []*graph.Value
		types bool
	}{
		{"inputs", engine.Feeds(before), engine.Feeds(after), true},
		{"outputs", before.Graph.Outputs(), after.Graph.Outputs(), !mayChange},
	} {
		want, got := signature(side.a, side.types), signature(side.b, side.types)
		if want != got {
			return &fault.Error{Kind: fault.Internal, Got: fmt.Sprintf("%s %s", side.what, got), Want: want, Remedy: report}
		}
	}
	return nil
}

func signature(vs []*graph.Value, types bool) string {
	s := make([]string, len(vs))
	for i, v := range vs {
		s[i] = v.Name()
		if types {
			s[i] += ":" + v.Type.String()
		}
	}
	return strings.Join(s, " ")
}

// declare corrects the types that the file declares for inner values, and
// drops those of values that are gone or no longer known.
func declare(m *graph.Model, shapes *engine.Shapes) {
	batch := graph.Dim{}
	if v := engine.OpenBatch(m); v != nil {
		batch = v.Type.Shape.Dims[engine.BatchAxis(v)]
	}
	var infos []*graph.Value
	for _, v := range m.Graph.Infos {
		if v.Graph() != m.Graph || m.Graph.Value(v.Name()) != v {
			continue
		}
		sizes, ok := shapes.Of(v)
		if !ok {
			if v.Type != nil && v.Type.Kind != graph.TensorKind {
				infos = append(infos, v)
			}
			continue
		}
		if v.Producer() != nil && !v.IsOutput() {
			v.Type = typeOf(shapes.Elem(v), sizes, batch)
		}
		infos = append(infos, v)
	}
	m.Graph.Infos = infos
}

// typeOf declares sizes; the batch has its symbol, what else depends on it none.
func typeOf(elem graph.DType, sizes []engine.Size, batch graph.Dim) *graph.Type {
	dims := make([]graph.Dim, len(sizes))
	for i, s := range sizes {
		switch {
		case !s.Dynamic():
			dims[i] = graph.Fixed(s.Fixed)
		case s == engine.Size{PerBatch: 1}:
			dims[i] = batch
		}
	}
	return graph.TensorType(elem, dims...)
}
