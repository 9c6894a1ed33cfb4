package engine

import (
	"bytes"
	"fmt"
	"unsafe"

	"nuwa/graph"
	"nuwa/internal/ort"
)

// liftBytes is the size from which a weight is handed over at each run.
const liftBytes = 64 << 10

// openLifted opens m such that the large weights are handed over with every
// run. lifted is false where there are none.
func (e *Engine) openLifted(m *graph.Model) (s *ort.Session, lifted bool, err error) {
	c := m.Clone()
	weights, err := lift(c.Graph)
	if err != nil {
		return nil, false, err
	}
	s, err = e.open(c, ort.Options{Weights: weights})
	return s, len(weights) > 0, err
}

// lift makes inputs of the large weights of g and returns their tensors.
func lift(g *graph.Graph) (map[string]*graph.Tensor, error) {
	weights := map[string]*graph.Tensor{}
	for _, v := range append([]*graph.Value(nil), g.Consts()...) {
		t := v.Const()
		if t == nil || len(t.Data) < liftBytes || t.Type.Bits() < 8 || len(t.Dims) == 0 || !liftable(v) {
			continue
		}
		dims := make([]graph.Dim, len(t.Dims))
		for i, d := range t.Dims {
			dims[i] = graph.Fixed(d)
		}
		in := g.AddInput(g.UniqueName(v.Name()+"_lifted"), graph.TensorType(t.Type, dims...))
		v.ReplaceUses(in)
		if err := g.RemoveConst(v); err != nil {
			return nil, fmt.Errorf("handing over the weight %q: %w", v.Name(), err)
		}
		weights[in.Name()] = aligned(t)
	}
	return weights, nil
}

// Align copies the large weights of m to addresses that ONNX Runtime can read
// from, once instead of for every session. Weights inside a model file lie
// anywhere; those in a data file are aligned. It reports whether any was copied.
func Align(m *graph.Model) bool {
	copied := false
	for _, v := range m.Graph.Consts() {
		t := v.Default()
		if t == nil || len(t.Data) < liftBytes {
			continue
		}
		if c := aligned(t); c != t {
			v.SetConst(c)
			copied = true
		}
	}
	return copied
}

// aligned returns t with its elements at an address that ONNX Runtime can read
// from, copying them once instead of at every run.
func aligned(t *graph.Tensor) *graph.Tensor {
	if uintptr(unsafe.Pointer(unsafe.SliceData(t.Data)))%8 == 0 {
		return t
	}
	c := t.Clone()
	c.Data = bytes.Clone(t.Data)
	return c
}

// liftable reports whether only ONNX's own operators read v. Kernels of other
// domains rely on weights being known when the model is loaded, and do not
// always check.
func liftable(v *graph.Value) bool {
	for _, n := range v.Users() {
		if !n.Is(n.Op) {
			return false
		}
	}
	return true
}
