package engine

import (
	"context"
	"slices"

	"nuwa/graph"
)

// Observation is what running a model at several batch sizes showed.
type Observation struct {
	Batches []int
	Shapes  *Shapes
	Values  []map[string]*graph.Tensor // for each batch size: the values asked for
}

// Observe runs m at each of the given batch sizes, two or more for a model
// whose batch is open, and returns the shapes of all values of its main graph
// and the contents of those called names. A model of a fixed batch is run once,
// at that batch. Feeds are those that Inputs draws with the seed. Nodes run one
// by one as they stand, so that equal graphs give equal bits.
//
// Names of values that are no tensors, or of types that nothing here reads
// (8-bit floats, 4-bit integers, complex numbers), are left out of Values.
func (e *Engine) Observe(ctx context.Context, m *graph.Model, names []string, seed uint64, batches ...int) (*Observation, error) {
	return e.observe(ctx, m, nil, nil, names, seed, Batches(m, batches...))
}

// Batches returns the batch sizes to run m at: those wanted, or its own, which
// counts as one.
func Batches(m *graph.Model, batches ...int) []int {
	if !DynamicBatch(m) {
		return []int{1}
	}
	return batches
}

// observe is Observe where the types of all values, and the sizes of some, may be
// known already. Only what tells the rest is run.
func (e *Engine) observe(ctx context.Context, m *graph.Model, types map[string]graph.DType, known sizes,
	names []string, seed uint64, batches []int) (*Observation, error) {
	if types == nil {
		var err error
		if types, err = e.typesOf(m); err != nil {
			return nil, err
		}
	}
	p := newProbe(m, types)
	for _, name := range names {
		p.askElements(name)
	}
	// ONNX Runtime runs what the last node needs first. In this order the size of
	// each value is taken as soon as it is there, and its memory given back.
	for _, v := range slices.Backward(p.values) {
		if !known.complete(v.Name()) {
			p.askShape(v)
		}
	}
	seen, err := p.run(ctx, e, m, batches, seed)
	if err != nil {
		return nil, err
	}
	found := sizes{}
	for _, v := range p.values {
		if name := v.Name(); known.complete(name) {
			found[name] = known[name]
		}
	}
	if err := p.sizes(found, seen); err != nil {
		return nil, err
	}
	o := &Observation{Batches: batches, Shapes: found.fit(batches, p.types), Values: make([]map[string]*graph.Tensor, len(batches))}
	for i, outs := range seen {
		if o.Values[i], err = p.elements(outs); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// Compute runs m on several feeds, in the way that Observe does, and returns
// the values called names for each. Nothing else is computed.
func (e *Engine) Compute(ctx context.Context, m *graph.Model, names []string, feeds ...map[string]*graph.Tensor) ([]map[string]*graph.Tensor, error) {
	types := map[string]graph.DType{}
	for _, v := range m.Graph.Outputs() {
		if v.Type != nil && v.Type.Kind == graph.TensorKind {
			types[v.Name()] = v.Type.Elem
		}
	}
	var err error
	if slices.ContainsFunc(names, func(name string) bool { return types[name] == graph.Undefined }) {
		if types, err = e.typesOf(m); err != nil {
			return nil, err
		}
	}
	if m, err = Tap(m, names...); err != nil {
		return nil, err
	}
	p := newProbe(m, types)
	for _, name := range names {
		p.askElements(name)
	}
	all := make([]map[string]*graph.Tensor, len(feeds))
	if len(p.model.Graph.Outputs()) == 0 {
		return all, nil
	}
	outs, err := e.Runs(ctx, p.model, feeds...)
	if err != nil {
		return nil, err
	}
	for i := range feeds {
		if all[i], err = p.elements(outs[i]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// probe is a copy of a model whose outputs tell about its values. Contents
// leave it as vectors of common types beside their shapes, since neither
// scalars nor 16-bit floats need then be known beforehand.
type probe struct {
	model  *graph.Model
	opset  int64
	types  map[string]graph.DType
	values []*graph.Value    // inputs and results, of the copy
	shape  map[string]string // value → the output that holds its shape
	elems  map[string]string // value → the output that holds its elements
	flat   *graph.Value      // the constant [-1]
}

func newProbe(m *graph.Model, types map[string]graph.DType) *probe {
	p := &probe{model: m.Clone(), opset: m.Opset(""), types: types, shape: map[string]string{}, elems: map[string]string{}}
	g := p.model.Graph
	read := map[*graph.Value]bool{} // a further result that nothing reads need not be given, unless all are parts of one
	for _, n := range g.Nodes() {
		for i, v := range n.Outputs() {
			read[v] = v != nil && (i == 0 || n.Is("Split") || len(v.Uses()) > 0)
		}
	}
	dropOutputs(g)
	p.values = append(p.values, g.Inputs()...)
	for _, n := range g.Nodes() {
		for _, v := range n.Outputs() {
			if read[v] {
				p.values = append(p.values, v)
			}
		}
	}
	return p
}

func (p *probe) askShape(v *graph.Value) {
	name := v.Name()
	if p.shape[name] != "" || p.types[name] == graph.Undefined {
		return
	}
	p.shape[name] = p.output(p.add("Shape", name+"_shape", v), graph.Int64)
}

func (p *probe) askElements(name string) {
	v := p.model.Graph.Value(name)
	if v == nil || p.elems[name] != "" {
		return
	}
	typ := p.types[name]
	if t := v.Default(); t != nil {
		typ = t.Type
	}
	switch typ {
	case graph.Float16, graph.BFloat16:
		p.types[name] = typ
		v = p.add("Cast", name+"_wide", v, graph.Int("to", int64(graph.Float32)))
		typ = graph.Float32
	case graph.Float32, graph.Float64, graph.Int8, graph.Int16, graph.Int32, graph.Int64,
		graph.Uint8, graph.Uint16, graph.Uint32, graph.Uint64, graph.Bool, graph.String:
		p.types[name] = typ
	default:
		return
	}
	p.askShape(p.model.Graph.Value(name))
	if p.opset < 5 {
		v = p.add("Reshape", name+"_flat", v, graph.Ints("shape", -1))
	} else {
		if p.flat == nil {
			p.flat = p.model.Graph.AddConst("flat", graph.NewTensor([]int64{1}, []int64{-1}))
		}
		n := p.model.Graph.Add("Reshape", name+"_flat", []*graph.Value{v, p.flat})
		v = n.Output(0)
	}
	p.elems[name] = p.output(v, typ)
}

func (p *probe) add(op, name string, v *graph.Value, attrs ...*graph.Attr) *graph.Value {
	return p.model.Graph.Add(op, name, []*graph.Value{v}, attrs...).Output(0)
}

func (p *probe) output(v *graph.Value, typ graph.DType) string {
	v.Type = graph.TensorType(typ, graph.Dim{})
	p.model.Graph.AddOutput(v)
	return v.Name()
}

// run runs what was asked of m at each batch size.
func (p *probe) run(ctx context.Context, e *Engine, m *graph.Model, batches []int, seed uint64) ([]map[string]*graph.Tensor, error) {
	feeds := make([]map[string]*graph.Tensor, len(batches))
	if len(p.model.Graph.Outputs()) == 0 {
		return feeds, nil
	}
	Trim(p.model.Graph)
	for i, b := range batches {
		var err error
		if feeds[i], err = Inputs(m, b, seed); err != nil {
			return nil, err
		}
	}
	return e.Runs(ctx, p.model, feeds...)
}

// sizes adds to found the dimensions that runs showed.
func (p *probe) sizes(found sizes, seen []map[string]*graph.Tensor) error {
	for name, out := range p.shape {
		found[name] = make([][]int64, len(seen))
		for i := range seen {
			var err error
			if found[name][i], err = seen[i][out].Ints(); err != nil {
				return err
			}
		}
	}
	return nil
}

func fitSizes(batches []int, dims [][]int64) ([]Size, bool) {
	for _, d := range dims {
		if len(d) != len(dims[0]) {
			return nil, false
		}
	}
	sizes := make([]Size, len(dims[0]))
	column := make([]int64, len(batches))
	for i := range sizes {
		for k := range batches {
			column[k] = dims[k][i]
		}
		var ok bool
		if sizes[i], ok = Fit(batches, column); !ok {
			return nil, false
		}
	}
	return sizes, true
}

// Fit finds the size that is xs[i] at batch size batches[i]; ok is false when
// no affine function with integer coefficients is.
func Fit(batches []int, xs []int64) (s Size, ok bool) {
	s.Fixed = xs[0]
	if len(batches) > 1 {
		step := int64(batches[1] - batches[0])
		if (xs[1]-xs[0])%step != 0 {
			return s, false
		}
		s.PerBatch = (xs[1] - xs[0]) / step
		s.Fixed -= s.PerBatch * int64(batches[0])
	}
	for i, b := range batches {
		if s.At(b) != xs[i] {
			return s, false
		}
	}
	return s, true
}

// elements gives the contents that were asked for their shapes and types back.
func (p *probe) elements(outs map[string]*graph.Tensor) (map[string]*graph.Tensor, error) {
	values := make(map[string]*graph.Tensor, len(p.elems))
	for name, out := range p.elems {
		t := outs[out]
		dims := t.Dims
		if shape := outs[p.shape[name]]; shape != nil {
			var err error
			if dims, err = shape.Ints(); err != nil {
				return nil, err
			}
		} else if c := p.model.Graph.Value(name).Default(); c != nil {
			dims = c.Dims
		}
		if typ := p.types[name]; typ != t.Type {
			xs, err := t.Floats()
			if err == nil {
				t, err = graph.FromFloats(typ, dims, xs)
			}
			if err != nil {
				return nil, err
			}
		}
		t = t.Clone() // the outputs may be a Memo's
		t.Dims = dims
		values[name] = t
	}
	return values, nil
}
