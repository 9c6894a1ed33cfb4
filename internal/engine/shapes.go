package engine

import (
	"context"
	"fmt"

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

// Shapes infers the shape of every value by execution: a copy of m in which
// each value is followed by Shape is run at two batch sizes. Element types are
// those that ONNX Runtime infers when it loads the model.
func (e *Engine) Shapes(ctx context.Context, m *graph.Model) (*Shapes, error) {
	o, err := e.Observe(ctx, m, nil, 1, 2, 3)
	if err != nil {
		return nil, err
	}
	return o.Shapes, nil
}

// elemTypes loads a copy of m that returns every value and reads the element
// types that ONNX Runtime reports; values that are no tensors are left out.
func (e *Engine) elemTypes(m *graph.Model) (map[string]graph.DType, error) {
	types := map[string]graph.DType{}
	c := m.Clone()
	declared := dropOutputs(c.Graph)
	c.Graph.Infos = nil
	for _, v := range c.Graph.Inputs() {
		if v.Type != nil && v.Type.Kind == graph.TensorKind {
			types[v.Name()] = v.Type.Elem
		}
	}
	for _, n := range c.Graph.Nodes() {
		for _, v := range n.Outputs() {
			if v != nil {
				v.Type = declared[v]
				c.Graph.AddOutput(v)
			}
		}
	}
	if len(c.Graph.Outputs()) == 0 {
		return types, nil
	}
	outputs, err := e.outputTypes(c)
	if err != nil {
		return nil, err
	}
	for _, info := range outputs {
		types[info.Name] = info.Type
	}
	return types, nil
}

// outputTypes returns the types of m's outputs. The large weights are left out,
// unless ONNX Runtime needs to know one of them.
func (e *Engine) outputTypes(m *graph.Model) ([]ort.Info, error) {
	if err := Safe(m); err != nil {
		return nil, err
	}
	c := m.Clone()
	weights, err := lift(c.Graph)
	if err != nil {
		return nil, err
	}
	data, err := exporter.Encode(c)
	if err != nil {
		return nil, err
	}
	outputs, err := ort.OutputTypes(data, ort.Options{})
	if len(weights) > 0 && fault.KindOf(err) == fault.Runtime {
		if data, err = exporter.Encode(m); err == nil {
			outputs, err = ort.OutputTypes(data, ort.Options{})
		}
	}
	return outputs, err
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
