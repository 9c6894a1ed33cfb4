package engine

import (
	"context"
	"errors"
	"fmt"

	"nuwa/graph"
	"nuwa/internal/fault"
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
	s := &Shapes{Batch: [2]int{2, 3}, dims: map[string][]Size{}, types: map[string]graph.DType{}}
	if !DynamicBatch(m) {
		s.Batch = [2]int{1, 1}
	}
	if err := e.elemTypes(m, s); err != nil {
		return nil, err
	}
	probe := m.Clone()
	g := probe.Graph
	g.ClearOutputs()
	of := map[string]string{} // output of a Shape node → value
	ask := func(v *graph.Value) {
		if v == nil || s.types[v.Name()] == graph.Undefined {
			return
		}
		out := g.Add("Shape", v.Name()+"_shape", []*graph.Value{v}).Output(0)
		g.AddOutput(out)
		of[out.Name()] = v.Name()
	}
	nodes := append([]*graph.Node(nil), g.Nodes()...)
	for _, v := range g.Inputs() {
		ask(v)
	}
	for _, n := range nodes {
		for _, v := range n.Outputs() {
			ask(v)
		}
	}
	session, err := e.Open(probe)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	var seen [2]map[string]*graph.Tensor
	for i, b := range s.Batch {
		if i == 1 && b == s.Batch[0] {
			seen[1] = seen[0]
			break
		}
		feeds, err := Inputs(m, b, 1)
		if err != nil {
			return nil, err
		}
		if seen[i], err = session.Run(ctx, feeds, nil); err != nil {
			return nil, err
		}
	}
	for out, name := range of {
		a, err1 := seen[0][out].Ints()
		b, err2 := seen[1][out].Ints()
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		if len(a) != len(b) {
			continue
		}
		dims := make([]Size, len(a))
		for i := range a {
			dims[i].Fixed = a[i]
			if step := int64(s.Batch[1] - s.Batch[0]); step > 0 {
				dims[i].PerBatch = (b[i] - a[i]) / step
				dims[i].Fixed = a[i] - dims[i].PerBatch*int64(s.Batch[0])
			}
		}
		s.dims[name] = dims
	}
	return s, nil
}

// elemTypes loads a copy of m that returns every value and reads the element
// types that ONNX Runtime reports; values that are no tensors are left out.
func (e *Engine) elemTypes(m *graph.Model, s *Shapes) error {
	c := m.Clone()
	c.Graph.ClearOutputs()
	for _, v := range c.Graph.Inputs() {
		if v.Type != nil && v.Type.Kind == graph.TensorKind {
			s.types[v.Name()] = v.Type.Elem
		}
	}
	for _, n := range c.Graph.Nodes() {
		for _, v := range n.Outputs() {
			if v != nil {
				v.Type = nil
				c.Graph.AddOutput(v)
			}
		}
	}
	c.Graph.Infos = nil
	plain := Engine{Threads: 1, Plain: true}
	session, err := plain.Open(c)
	if err != nil {
		return err
	}
	defer session.Close()
	for _, info := range session.Outputs() {
		s.types[info.Name] = info.Type
	}
	return nil
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
