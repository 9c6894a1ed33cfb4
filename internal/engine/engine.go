package engine

import (
	"context"
	"fmt"
	"math/rand/v2"

	"nuwa/exporter"
	"nuwa/graph"
	"nuwa/internal/fault"
	"nuwa/internal/ort"
)

// Engine says how graphs are run. The zero value uses every core and the CPU.
type Engine struct {
	Threads   int               // intra-op threads; 0 means all cores
	Providers []ort.Provider    // in order of preference; none means the CPU
	Provider  map[string]string // options of the first of Providers
	Plain     bool              // run nodes one by one as they stand, without ONNX Runtime's rewriting
	Memo      *Memo             // what is known of models that were looked at or run as they stand; nil for nothing
	Spare     *Cores            // cores besides those of Threads that Sweep may use while they are free; nil for none

	workers int // of Sweep; 0 counts as 1
}

// heavyBytes is the size of a model's large weights from which a session holds
// no copies of them: they are handed over with every run.
const heavyBytes = 512 << 20

// Open prepares m for many runs. The caller closes the session. Errors name no
// file, as the graph may have changed since it was read from one.
func (e *Engine) Open(m *graph.Model) (*ort.Session, error) {
	if Heavy(m) {
		s, _, err := e.openLifted(m)
		return s, err
	}
	return e.open(m, ort.Options{})
}

// Heavy reports whether m is so large that copies of its weights count.
func Heavy(m *graph.Model) bool {
	total := 0
	for _, v := range m.Graph.Consts() {
		if t := v.Default(); t != nil {
			total += len(t.Data)
		}
	}
	return total >= heavyBytes
}

func (e *Engine) open(m *graph.Model, opt ort.Options) (*ort.Session, error) {
	if err := Safe(m); err != nil {
		return nil, err
	}
	data, err := exporter.Encode(m)
	if err != nil {
		return nil, err
	}
	opt.Threads, opt.Providers, opt.Provider = e.Threads, e.Providers, e.Provider
	if e.Plain {
		opt.Optimize = ort.None
	}
	return ort.NewSession(data, opt)
}

// Ready reports whether ONNX Runtime can be used at all; the error says why not.
func (e *Engine) Ready() error {
	_, err := ort.Load("")
	return err
}

// Run runs m once and returns all its outputs by name.
func (e *Engine) Run(ctx context.Context, m *graph.Model, inputs map[string]*graph.Tensor) (map[string]*graph.Tensor, error) {
	s, err := e.Open(m)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Run(ctx, inputs, nil)
}

// Tap returns a copy of m whose outputs are the values called names, and which
// computes nothing else. Inputs that are no longer read stay, so that the same
// feeds fit.
func Tap(m *graph.Model, names ...string) (*graph.Model, error) {
	c := m.Clone()
	vs := make([]*graph.Value, len(names))
	for i, name := range names {
		if vs[i] = c.Graph.Value(name); vs[i] == nil {
			return nil, fmt.Errorf("no value is called %q", name)
		}
	}
	c.Graph.ClearOutputs()
	for _, v := range vs {
		c.Graph.AddOutput(v)
	}
	Trim(c.Graph)
	return c, nil
}

// Trim removes the nodes of g that no output depends on, then the initializers
// that nothing reads. It returns how many of each went.
func Trim(g *graph.Graph) (nodes, consts int) {
	live := map[*graph.Node]bool{}
	var mark func(v *graph.Value)
	var markNode func(n *graph.Node)
	markNode = func(n *graph.Node) {
		if n == nil || live[n] {
			return
		}
		live[n] = true
		for _, v := range n.Inputs() {
			mark(v)
		}
		for _, h := range n.Subgraphs() {
			for _, m := range h.Nodes() {
				markNode(m)
			}
			for _, v := range h.Outputs() {
				mark(v)
			}
		}
	}
	mark = func(v *graph.Value) {
		if v != nil {
			markNode(v.Producer())
		}
	}
	for _, v := range g.Outputs() {
		mark(v)
	}
	all := append([]*graph.Node(nil), g.Nodes()...)
	if g.Sort() == nil {
		all = append(all[:0], g.Nodes()...)
	}
	for i := len(all) - 1; i >= 0; i-- {
		if !live[all[i]] && all[i].Remove() == nil {
			nodes++
		}
	}
	for _, v := range append([]*graph.Value(nil), g.Consts()...) {
		if len(v.Uses()) == 0 && !v.IsInput() && g.RemoveConst(v) == nil {
			consts++
		}
	}
	return nodes, consts
}

// Inputs draws feeds for m at the given batch size: standard normal numbers
// for floating types, zeros and ones for integers and booleans. The dimension at
// BatchAxis may be open, and is the batch then; any other open dimension is an
// error that names it.
func Inputs(m *graph.Model, batch int, seed uint64) (map[string]*graph.Tensor, error) {
	rng := rand.New(rand.NewPCG(seed, 0x6e757761))
	feeds := map[string]*graph.Tensor{}
	for _, v := range Feeds(m) {
		dims, err := inputDims(v, batch)
		if err != nil {
			return nil, err
		}
		t, err := random(v.Type.Elem, dims, rng)
		if err != nil {
			return nil, &fault.Error{Kind: fault.Unsupported, Where: fmt.Sprintf("input %q", v.Name()), Err: err}
		}
		feeds[v.Name()] = t
	}
	return feeds, nil
}

// inputDims returns the dimensions of the input v at a batch size.
func inputDims(v *graph.Value, batch int) ([]int64, error) {
	dims, ok := v.Type.Dims()
	if !ok {
		return nil, &fault.Error{Kind: fault.Model, Where: fmt.Sprintf("input %q", v.Name()), Got: "type " + v.Type.String(),
			Want: "a tensor of known rank", Remedy: "declare the input's shape when exporting"}
	}
	batched := BatchAxis(v)
	for i, d := range dims {
		switch {
		case d < 0 && i == batched:
			dims[i] = int64(batch)
		case d < 0:
			return nil, &fault.Error{Kind: fault.Model, Where: fmt.Sprintf("input %q", v.Name()),
				Got: fmt.Sprintf("the open dimension %d of %s", i, v.Type), Want: "a size",
				Remedy: "give the image size with --size, or export with a fixed size"}
		}
	}
	return dims, nil
}

// Feeds returns the inputs of m that a caller must give.
func Feeds(m *graph.Model) []*graph.Value {
	var vs []*graph.Value
	for _, v := range m.Graph.Inputs() {
		if v.Default() == nil && v.Sparse() == nil {
			vs = append(vs, v)
		}
	}
	return vs
}

// BatchAxis returns the axis of the input v on which samples lie: the first, or
// the second of [tokens, batch, width] where that alone is open.
func BatchAxis(v *graph.Value) int {
	if d, ok := v.Type.Dims(); ok && len(d) == 3 && d[0] > 1 && d[1] < 0 && d[2] > 0 {
		return 1
	}
	return 0
}

// OpenBatch returns the first input of m that leaves its batch open, nil if none
// does.
func OpenBatch(m *graph.Model) *graph.Value {
	for _, v := range Feeds(m) {
		if dims, ok := v.Type.Dims(); ok && len(dims) > 0 && dims[BatchAxis(v)] < 0 {
			return v
		}
	}
	return nil
}

// DynamicBatch reports whether some input leaves its batch open.
func DynamicBatch(m *graph.Model) bool { return OpenBatch(m) != nil }

// FixedBatch returns how many samples m takes at once, 0 for any number. A
// model without an input that has a batch takes one.
func FixedBatch(m *graph.Model) int {
	if DynamicBatch(m) {
		return 0
	}
	for _, v := range Feeds(m) {
		if dims, ok := v.Type.Dims(); ok && len(dims) > 0 {
			return int(dims[0])
		}
	}
	return 1
}

func random(typ graph.DType, dims []int64, rng *rand.Rand) (*graph.Tensor, error) {
	n := graph.Elements(dims)
	if typ.IsFloat() {
		xs := make([]float64, n)
		for i := range xs {
			xs[i] = rng.NormFloat64()
		}
		return graph.FromFloats(typ, dims, xs)
	}
	if typ.Bits() < 8 {
		return nil, fmt.Errorf("cannot make up values of type %s", typ)
	}
	step := int64(typ.Bits() / 8)
	t := &graph.Tensor{Type: typ, Dims: dims, Data: make([]byte, n*step)}
	for i := int64(0); i < n; i++ {
		t.Data[i*step] = byte(rng.IntN(2))
	}
	return t, nil
}
