package exporter

import (
	"encoding/binary"
	"fmt"

	"nuwa/graph"
	"nuwa/internal/onnxpb"
)

// placement says where the elements of t go: into the model when external is
// nil, else to where the entries say.
type placement func(t *graph.Tensor) (external []graph.Entry)

// inside puts all elements into the model.
func inside(*graph.Tensor) []graph.Entry { return nil }

// stay leaves external what the file had external.
func stay(t *graph.Tensor) []graph.Entry {
	if t.Storage == graph.StoreExternal {
		return t.External
	}
	return nil
}

// tensor converts t under the given name.
func (e *encoder) tensor(t *graph.Tensor, name *string) *onnxpb.TensorProto {
	if t == nil {
		return nil
	}
	w := t.Wire
	p := &onnxpb.TensorProto{
		Dims: t.Dims, DataType: give(w, 2, int32(t.Type)), Name: name,
		DocString: give(w, 12, t.Doc), MetadataProps: list(t.Metadata, entry),
	}
	external := e.place(t)
	switch {
	case external != nil:
		p.DataLocation = new(int32)
		*p.DataLocation = 1
		p.ExternalData = list(external, entry)
		if w.Present>>9&1 == 1 && t.Storage == graph.StoreExternal {
			p.RawData = []byte{}
		}
	default:
		if t.Storage != graph.StoreExternal {
			p.ExternalData = list(t.External, entry)
			p.DataLocation = give(w, 14, int32(0))
		}
		switch {
		case t.Type == graph.String:
			p.StringData = t.Strings
		case t.Storage == graph.StoreTyped:
			e.typed(p, t)
			if w.Present>>9&1 == 1 {
				p.RawData = []byte{}
			}
		default:
			p.RawData = t.Data
			if p.RawData == nil {
				p.RawData = []byte{}
			}
		}
	}
	return finish(p, w)
}

// typed puts the elements into the field of their own type.
func (e *encoder) typed(p *onnxpb.TensorProto, t *graph.Tensor) {
	var err error
	switch le := binary.LittleEndian; t.Type {
	case graph.Float32, graph.Complex64:
		p.FloatData = make([]float32, len(t.Data)/4)
		_, err = binary.Decode(t.Data, le, p.FloatData)
	case graph.Float64, graph.Complex128:
		p.DoubleData = make([]float64, len(t.Data)/8)
		_, err = binary.Decode(t.Data, le, p.DoubleData)
	case graph.Int64:
		p.Int64Data = make([]int64, len(t.Data)/8)
		_, err = binary.Decode(t.Data, le, p.Int64Data)
	case graph.Uint64:
		p.Uint64Data = make([]uint64, len(t.Data)/8)
		_, err = binary.Decode(t.Data, le, p.Uint64Data)
	case graph.Uint32:
		p.Uint64Data = make([]uint64, len(t.Data)/4)
		for i := range p.Uint64Data {
			p.Uint64Data[i] = uint64(le.Uint32(t.Data[4*i:]))
		}
	default:
		p.Int32Data = unpackInt32(t)
	}
	if err != nil {
		e.fail(fmt.Errorf("tensor %s: %w", t.Shape(), err))
	}
}

// unpackInt32 gives one int32 for each element of a narrow type: signed
// integers as such, anything else as the unsigned number with the same bits.
// Elements narrower than a byte stay packed, one number a byte.
func unpackInt32(t *graph.Tensor) []int32 {
	le := binary.LittleEndian
	switch t.Type.Bits() {
	case 32:
		xs := make([]int32, len(t.Data)/4)
		for i := range xs {
			xs[i] = int32(le.Uint32(t.Data[4*i:]))
		}
		return xs
	case 16:
		xs := make([]int32, len(t.Data)/2)
		for i := range xs {
			u := le.Uint16(t.Data[2*i:])
			if xs[i] = int32(u); t.Type == graph.Int16 {
				xs[i] = int32(int16(u))
			}
		}
		return xs
	}
	xs := make([]int32, len(t.Data))
	for i, u := range t.Data {
		if xs[i] = int32(u); t.Type == graph.Int8 {
			xs[i] = int32(int8(u))
		}
	}
	return xs
}

func (e *encoder) sparse(s *graph.SparseTensor, name *string) *onnxpb.SparseTensorProto {
	p := &onnxpb.SparseTensorProto{Dims: s.Dims, Values: e.tensor(s.Values, name)}
	if s.Indices != nil {
		p.Indices = e.tensor(s.Indices, give(s.Indices.Wire, 8, s.Indices.Name))
	}
	return finish(p, s.Wire)
}
