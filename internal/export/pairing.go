package export

import (
	"context"
	"fmt"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/ort"
	"nuwa/passes"
)

// pairing runs two models that shall compute the same on the same samples, even
// where one wants them in another batch, layout or element type.
type pairing struct {
	eng           *engine.Engine
	before, after *graph.Model
	widened       bool                     // ONNX Runtime runs before, but not its file
	feeds         map[string]*graph.Tensor // to run on; nil for random ones
	batches       []int
}

// original opens the model in the file at path as it was.
func (p *pairing) original(path string) (*ort.Session, error) {
	if p.widened {
		return p.eng.Open(p.before)
	}
	return ort.NewSessionFile(path, ort.Options{Name: path, Threads: p.eng.Threads, Providers: p.eng.Providers, Provider: p.eng.Provider})
}

// run returns the largest difference of any output, relative to that output's
// largest element, and says where it is.
func (p *pairing) run(ctx context.Context, before, after string) (diff float64, where string, err error) {
	a, err := p.original(before)
	if err != nil {
		return 0, "", err
	}
	defer a.Close()
	b, err := ort.NewSessionFile(after, ort.Options{Name: "the result", Threads: p.eng.Threads, Providers: p.eng.Providers, Provider: p.eng.Provider})
	if err != nil {
		return 0, "", err
	}
	defer b.Close()
	was, is := engine.FixedBatch(p.before), engine.FixedBatch(p.after)
	switch {
	case was > 0 && is == 0:
		p.batches = []int{was, 3 * was}
	case is > 0:
		p.batches = []int{max(was, is)}
	default:
		p.batches = []int{1, 3}
	}
	for _, t := range p.feeds {
		p.batches = []int{int(t.Dims[0])}
	}
	for _, n := range p.batches {
		feeds, err := p.feeds, error(nil)
		if feeds == nil {
			feeds, err = samples(p.before, n)
		}
		if err != nil {
			return 0, "", err
		}
		want, err := inBatches(ctx, a, feeds, n, was)
		if err != nil {
			return 0, "", err
		}
		turned := map[string]*graph.Tensor{}
		for _, v := range engine.Feeds(p.after) {
			if turned[v.Name()], err = p.adapt(ctx, feeds[v.Name()], v); err != nil {
				return 0, "", err
			}
		}
		got, err := inBatches(ctx, b, turned, n, is)
		if err != nil {
			return 0, "", err
		}
		for _, v := range p.before.Graph.Outputs() {
			d, _, err := passes.Distance(want[v.Name()], got[v.Name()])
			if err != nil {
				return 0, "", err
			}
			if d > diff || where == "" || d != d {
				diff, where = d, fmt.Sprintf("output %q at batch %d", v.Name(), n)
			}
		}
	}
	return diff, where, nil
}

// samples draws n samples of m's inputs.
func samples(m *graph.Model, n int) (map[string]*graph.Tensor, error) {
	decl := graph.NewModel()
	for _, v := range engine.Feeds(m) {
		t := v.Type.Clone()
		if dims, ok := t.Dims(); ok && len(dims) > 0 {
			t.Shape.Dims[0] = graph.Fixed(int64(n))
		}
		decl.Graph.AddInput(v.Name(), t)
	}
	return engine.Inputs(decl, n, 23)
}

// adapt gives a tensor the element type and the layout of an input.
func (p *pairing) adapt(ctx context.Context, t *graph.Tensor, in *graph.Value) (*graph.Tensor, error) {
	dims, _ := in.Type.Dims()
	var perm []int64
	for i := 1; i < len(dims); i++ {
		if dims[i] >= 0 && dims[i] != t.Dims[i] {
			perm = []int64{0, 3, 1, 2}
			if dims[3] == t.Dims[1] {
				perm = []int64{0, 2, 3, 1}
			}
		}
	}
	if perm == nil && in.Type.Elem == t.Type {
		return t, nil
	}
	m := graph.NewModel(graph.Opset{Version: 13})
	m.IRVersion = 7
	open := make([]graph.Dim, len(t.Dims))
	v := m.Graph.AddInput("x", graph.TensorType(t.Type, open...))
	if perm != nil {
		v = m.Graph.Add("Transpose", "turned", []*graph.Value{v}, graph.Ints("perm", perm...)).Output(0)
	}
	v = m.Graph.Add("Cast", "cast", []*graph.Value{v}, graph.Int("to", int64(in.Type.Elem))).Output(0)
	v.Type = graph.TensorType(in.Type.Elem, open...)
	m.Graph.AddOutput(v)
	out, err := p.eng.Run(ctx, m, map[string]*graph.Tensor{"x": t})
	if err != nil {
		return nil, err
	}
	return out["cast"], nil
}

// inBatches runs n samples, as many at once as the model is fixed to.
func inBatches(ctx context.Context, s *ort.Session, feeds map[string]*graph.Tensor, n, fixed int) (map[string]*graph.Tensor, error) {
	if fixed == 0 || fixed == n {
		return s.Run(ctx, feeds, nil)
	}
	if n%fixed != 0 {
		return nil, &fault.Error{Kind: fault.Unsupported, Got: fmt.Sprintf("models of fixed batch %d and %d", n, fixed), Want: "one a multiple of the other, to compare them"}
	}
	var all map[string]*graph.Tensor
	for at := 0; at < n; at += fixed {
		part := map[string]*graph.Tensor{}
		for name, t := range feeds {
			each := len(t.Data) / n
			dims := slices.Clone(t.Dims)
			dims[0] = int64(fixed)
			part[name] = &graph.Tensor{Type: t.Type, Dims: dims, Data: t.Data[at*each : (at+fixed)*each]}
		}
		out, err := s.Run(ctx, part, nil)
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = out
			continue
		}
		for name, t := range out {
			if len(t.Dims) == 0 {
				continue
			}
			all[name].Data = append(all[name].Data, t.Data...)
			all[name].Dims[0] += t.Dims[0]
		}
	}
	return all, nil
}
