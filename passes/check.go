package passes

import (
	"context"
	"fmt"
	"strings"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/passes/cleanup"
)

// proofSeed and proofBatches choose the inputs that passes are checked on.
const proofSeed = 11

var proofBatches = []int{1, 2}

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
	known := c.state.known
	c.state.known = nil
	c.state.undeclare()
	if c.skipProof {
		return 0, c.state.Engine.Load(m)
	}
	after, err := c.run(ctx, m)
	if err != nil || len(cleanup.Random(m)) > 0 {
		return 0, err
	}
	if !p.Signature {
		if known == nil {
			if known, err = c.run(ctx, before); err != nil {
				return 0, err
			}
		}
		if drift, err = c.compare(ctx, p, before, known, after); err != nil {
			return 0, err
		}
	}
	c.state.known = after
	return drift, nil
}

// run returns the outputs of m at the batch sizes of proofs.
func (c *checker) run(ctx context.Context, m *graph.Model) ([]map[string]*graph.Tensor, error) {
	var feeds []map[string]*graph.Tensor
	for _, b := range engine.Batches(m, proofBatches...) {
		f, err := engine.Inputs(m, b, proofSeed)
		if err != nil {
			return nil, err
		}
		feeds = append(feeds, f)
	}
	return c.state.Engine.Compute(ctx, m, outputNames(m), feeds...)
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

// undeclare takes away the types that the file declares for inner values, which
// may no longer hold, until redeclare.
func (s *State) undeclare() {
	g := s.Model.Graph
	for _, v := range g.Infos {
		s.declared = append(s.declared, v.Name())
	}
	g.Infos = nil
}

// redeclare gives those that are left of the values that undeclare took types
// away from theirs again.
func (s *State) redeclare(ctx context.Context) error {
	g := s.Model.Graph
	for _, name := range s.declared {
		if v := g.Value(name); v != nil {
			g.Infos = append(g.Infos, v)
		}
	}
	s.declared = nil
	if len(g.Infos) == 0 {
		return nil
	}
	shapes, err := s.Engine.Shapes(ctx, s.Model)
	if err != nil {
		return err
	}
	declare(s.Model, shapes)
	return nil
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
