package exporter

import (
	"nuwa/graph"
	"nuwa/internal/onnxpb"
)

func typeProto(t *graph.Type) *onnxpb.TypeProto {
	if t == nil {
		return nil
	}
	p := &onnxpb.TypeProto{Denotation: give(t.Wire, 6, t.Denotation)}
	elem := give(t.InnerWire, 1, int32(t.Elem))
	switch t.Kind {
	case graph.TensorKind:
		p.Value = &onnxpb.TypeProto_TensorType{TensorType: finish(
			&onnxpb.TypeProto_Tensor{ElemType: elem, Shape: shapeProto(t.Shape)}, t.InnerWire)}
	case graph.SparseTensorKind:
		p.Value = &onnxpb.TypeProto_SparseTensorType{SparseTensorType: finish(
			&onnxpb.TypeProto_SparseTensor{ElemType: elem, Shape: shapeProto(t.Shape)}, t.InnerWire)}
	case graph.SequenceKind:
		p.Value = &onnxpb.TypeProto_SequenceType{SequenceType: finish(
			&onnxpb.TypeProto_Sequence{ElemType: typeProto(t.Inner)}, t.InnerWire)}
	case graph.OptionalKind:
		p.Value = &onnxpb.TypeProto_OptionalType{OptionalType: finish(
			&onnxpb.TypeProto_Optional{ElemType: typeProto(t.Inner)}, t.InnerWire)}
	case graph.MapKind:
		p.Value = &onnxpb.TypeProto_MapType{MapType: finish(
			&onnxpb.TypeProto_Map{KeyType: elem, ValueType: typeProto(t.Inner)}, t.InnerWire)}
	}
	return finish(p, t.Wire)
}

func shapeProto(s *graph.Shape) *onnxpb.TensorShapeProto {
	if s == nil {
		return nil
	}
	p := &onnxpb.TensorShapeProto{Dim: list(s.Dims, func(d graph.Dim) *onnxpb.TensorShapeProto_Dimension {
		pd := &onnxpb.TensorShapeProto_Dimension{Denotation: give(d.Wire, 3, d.Denotation)}
		switch d.Kind {
		case graph.FixedDim:
			pd.Value = &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: d.Value}
		case graph.SymbolDim:
			pd.Value = &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: d.Param}
		}
		return finish(pd, d.Wire)
	})}
	return finish(p, s.Wire)
}
