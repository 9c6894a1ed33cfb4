package importer

import (
	"nuwa/graph"
	"nuwa/internal/onnxpb"
)

// typeOf converts a declared type; nil stays nil.
func typeOf(p *onnxpb.TypeProto) *graph.Type {
	if p == nil {
		return nil
	}
	t := &graph.Type{Wire: wireOf(p)}
	t.Denotation = take(&t.Wire, 6, p.Denotation)
	switch v := p.Value.(type) {
	case *onnxpb.TypeProto_TensorType:
		t.Kind, t.InnerWire = graph.TensorKind, wireOf(v.TensorType)
		t.Elem = graph.DType(take(&t.InnerWire, 1, v.TensorType.ElemType))
		t.Shape = shapeOf(v.TensorType.Shape)
	case *onnxpb.TypeProto_SparseTensorType:
		t.Kind, t.InnerWire = graph.SparseTensorKind, wireOf(v.SparseTensorType)
		t.Elem = graph.DType(take(&t.InnerWire, 1, v.SparseTensorType.ElemType))
		t.Shape = shapeOf(v.SparseTensorType.Shape)
	case *onnxpb.TypeProto_SequenceType:
		t.Kind, t.InnerWire = graph.SequenceKind, wireOf(v.SequenceType)
		t.Inner = typeOf(v.SequenceType.ElemType)
	case *onnxpb.TypeProto_OptionalType:
		t.Kind, t.InnerWire = graph.OptionalKind, wireOf(v.OptionalType)
		t.Inner = typeOf(v.OptionalType.ElemType)
	case *onnxpb.TypeProto_MapType:
		t.Kind, t.InnerWire = graph.MapKind, wireOf(v.MapType)
		t.Elem = graph.DType(take(&t.InnerWire, 1, v.MapType.KeyType))
		t.Inner = typeOf(v.MapType.ValueType)
	default:
		t.Kind = graph.OtherKind
	}
	return t
}

func shapeOf(p *onnxpb.TensorShapeProto) *graph.Shape {
	if p == nil {
		return nil
	}
	s := &graph.Shape{Dims: make([]graph.Dim, len(p.Dim)), Wire: wireOf(p)}
	for i, pd := range p.Dim {
		d := &s.Dims[i]
		d.Wire = wireOf(pd)
		d.Denotation = take(&d.Wire, 3, pd.Denotation)
		switch v := pd.Value.(type) {
		case *onnxpb.TensorShapeProto_Dimension_DimValue:
			d.Kind, d.Value = graph.FixedDim, v.DimValue
		case *onnxpb.TensorShapeProto_Dimension_DimParam:
			d.Kind, d.Param = graph.SymbolDim, v.DimParam
		}
	}
	return s
}
