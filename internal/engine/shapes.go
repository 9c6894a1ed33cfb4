package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"nuwa/exporter"
	"nuwa/graph"
	"nuwa/internal/fault"
	"nuwa/internal/ort"
)

// Size is one dimension of a value as a function of the batch size B:
// Fixed + PerBatch·B.
type Size struct{ Fixed, PerBatch int64 }

// At returns the size at batch B.
func (s Size) At(batch int) int64 { return s.Fixed + s.PerBatch*int64(batch) }

// Dynamic reports whether the size depends on the batch.
func (s Size) Dynamic() bool { return s.PerBatch != 0 }

// Shapes knows the dimensions and element type of every value of a model's
// main graph, constants included.
type Shapes struct {
	Batch [2]int // the batch sizes that were run; equal when the batch is fixed
	dims  map[string][]Size
	types map[string]graph.DType
}

// Of returns v's dimensions; ok is false for a value that is no tensor, or
// whose rank changes with the batch.
func (s *Shapes) Of(v *graph.Value) (dims []Size, ok bool) {
	if v == nil {
		return nil, false
	}
	if t := v.Default(); t != nil {
		for _, d := range t.Dims {
			dims = append(dims, Size{Fixed: d})
		}
		return dims, true
	}
	dims, ok = s.dims[v.Name()]
	return dims, ok
}

// At returns v's dimensions at one batch size.
func (s *Shapes) At(v *graph.Value, batch int) (dims []int64, ok bool) {
	sizes, ok := s.Of(v)
	if !ok {
		return nil, false
	}
	dims = make([]int64, len(sizes))
	for i, d := range sizes {
		dims[i] = d.At(batch)
	}
	return dims, true
}

// Elem returns v's element type, Undefined when it is not known.
func (s *Shapes) Elem(v *graph.Value) graph.DType {
	if t := v.Default(); t != nil {
		return t.Type
	}
	return s.types[v.Name()]
}

// Shapes finds the sizes of all values of m. ONNX Runtime infers them when it loads
// m for a batch of one, two and three, which costs little however large the model
// is; what it cannot tell beforehand is run, as Observe does. Element types are
// those that it infers.
func (e *Engine) Shapes(ctx context.Context, m *graph.Model) (*Shapes, error) {
	batches := Batches(m, 1, 2, 3)
	known := sizes{}
	var types map[string]graph.DType
	inferred, _ := e.infer(m, batches...) // of what went wrong, a run will tell
	for i, infos := range inferred {
		types = elemTypes(infos)
		for name, info := range infos {
			if known[name] == nil {
				known[name] = make([][]int64, len(batches))
			}
			known[name][i] = info.Dims
		}
	}
	o, err := e.observe(ctx, m, types, known, nil, 0, batches)
	if err != nil {
		return nil, err
	}
	return o.Shapes, nil
}

// sizes holds the dimensions of values, by name and batch size.
type sizes map[string][][]int64

// complete reports whether the dimensions of a value are known at every batch size.
func (s sizes) complete(name string) bool {
	return s[name] != nil && !slices.ContainsFunc(s[name], func(dims []int64) bool {
		return dims == nil || slices.ContainsFunc(dims, func(d int64) bool { return d < 0 })
	})
}

// fit gives each dimension as an affine function of the batch size. A value that
// does not follow one at every batch size is left out.
func (s sizes) fit(batches []int, types map[string]graph.DType) *Shapes {
	last := min(1, len(batches)-1)
	shapes := &Shapes{Batch: [2]int{batches[0], batches[last]}, dims: map[string][]Size{}, types: types}
	for name, dims := range s {
		if fitted, ok := fitSizes(batches, dims); ok {
			shapes.dims[name] = fitted
		}
	}
	return shapes
}

// infer loads a copy of m that returns every value and reads what ONNX Runtime
// knows of each before it has run, for inputs of each of the given batch sizes, 0
// alone for an open one. Nothing is known of values that are no tensors. The large
// weights are left out, unless ONNX Runtime needs to know one of them.
func (e *Engine) infer(m *graph.Model, batches ...int) ([]map[string]ort.Info, error) {
	if err := Safe(m); err != nil {
		return nil, err
	}
	c := m.Clone()
	declared := dropOutputs(c.Graph)
	c.Graph.Infos = nil
	for _, n := range c.Graph.Nodes() {
		for _, v := range n.Outputs() {
			if v != nil {
				v.Type = declared[v]
				c.Graph.AddOutput(v)
			}
		}
	}
	light := c.Clone()
	weights, err := lift(light.Graph)
	if err != nil {
		return nil, err
	}
	all := make([]map[string]ort.Info, len(batches))
	var work errgroup.Group
	for i, b := range batches {
		if err := fix(light, m, b); err != nil {
			return nil, err
		}
		all[i] = map[string]ort.Info{}
		for _, v := range c.Graph.Inputs() {
			v = light.Graph.Value(v.Name())
			if v.Type == nil || v.Type.Kind != graph.TensorKind {
				continue
			}
			dims, _ := v.Type.Dims()
			all[i][v.Name()] = ort.Info{Name: v.Name(), Kind: ort.TensorKind, Type: v.Type.Elem, Dims: dims}
		}
		if len(c.Graph.Outputs()) == 0 {
			continue
		}
		data, err := exporter.Encode(light)
		if err != nil {
			return nil, err
		}
		work.Go(func() error {
			outputs, err := e.Memo.inferred(data)
			if len(weights) > 0 && fault.KindOf(err) == fault.Runtime {
				outputs, err = outputsOf(c.Clone(), m, b)
			}
			maps.Copy(all[i], outputs)
			return err
		})
	}
	if err := work.Wait(); err != nil {
		return nil, err
	}
	return all, nil
}

// outputsOf returns what ONNX Runtime infers of the outputs of c, a copy of m, at a
// batch size.
func outputsOf(c, m *graph.Model, batch int) (map[string]ort.Info, error) {
	if err := fix(c, m, batch); err != nil {
		return nil, err
	}
	data, err := exporter.Encode(c)
	if err != nil {
		return nil, err
	}
	return ort.Outputs(data, ort.Options{})
}

// fix gives the inputs of c, a copy of m, the sizes that they have in m at a batch
// size, 0 leaving them as they are.
func fix(c, m *graph.Model, batch int) error {
	if batch == 0 {
		return nil
	}
	for _, v := range Feeds(m) {
		typ, err := fixed(v, batch)
		if err != nil {
			return err
		}
		c.Graph.Value(v.Name()).Type = typ
	}
	return nil
}

// fixed returns the type of the input v at a batch size.
func fixed(v *graph.Value, batch int) (*graph.Type, error) {
	dims, err := inputDims(v, batch)
	if err != nil {
		return nil, err
	}
	sizes := make([]graph.Dim, len(dims))
	for i, d := range dims {
		sizes[i] = graph.Fixed(d)
	}
	return graph.TensorType(v.Type.Elem, sizes...), nil
}

// Load loads m without running it.
func (e *Engine) Load(m *graph.Model) error {
	_, err := e.typesOf(m)
	return err
}

// typesOf returns the element types of all values of m. They are asked for at a
// batch of one, as sizes are, so that one answer serves both.
func (e *Engine) typesOf(m *graph.Model) (map[string]graph.DType, error) {
	infos, err := e.infer(m, 1)
	if err != nil { // of inputs of other sizes, maybe
		infos, err = e.infer(m, 0)
	}
	if err != nil {
		return nil, err
	}
	return elemTypes(infos[0]), nil
}

func elemTypes(infos map[string]ort.Info) map[string]graph.DType {
	types := map[string]graph.DType{}
	for name, info := range infos {
		types[name] = info.Type
	}
	return types
}

// dropOutputs makes g return nothing and forget the shapes that it declares. It
// returns the element types of the former outputs, which stay declared: for the
// result of a function, ONNX Runtime may know them from there only.
func dropOutputs(g *graph.Graph) map[*graph.Value]*graph.Type {
	declared := map[*graph.Value]*graph.Type{}
	infos := []*graph.Value{}
	for _, v := range g.Outputs() {
		if v.Type != nil && v.Type.Kind == graph.TensorKind && v.Producer() != nil && declared[v] == nil {
			v.Type = &graph.Type{Elem: v.Type.Elem}
			declared[v] = v.Type
			infos = append(infos, v)
		}
	}
	g.ClearOutputs()
	g.Infos = infos
	return declared
}

// CheckFinite reports the first tensor among outs that holds a NaN or an
// infinity, as a fault of the model.
func CheckFinite(outs map[string]*graph.Tensor, names []string) error {
	for _, name := range names {
		t := outs[name]
		if t == nil || !t.Type.IsFloat() {
			continue
		}
		xs, err := t.Floats()
		if err != nil {
			return err
		}
		for _, x := range xs {
			if x-x != 0 {
				return &fault.Error{Kind: fault.Model, Where: fmt.Sprintf("output %q", name), Got: fmt.Sprint(x),
					Want: "finite numbers", Remedy: "the weights hold NaN or infinity, or overflow; export the model again"}
			}
		}
	}
	return nil
}
