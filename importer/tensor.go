package importer

import (
	"encoding/binary"
	"fmt"

	"nuwa/graph"
	"nuwa/internal/onnxpb"
)

// tensor converts a constant. where names it for errors.
func (d *decoder) tensor(where string, p *onnxpb.TensorProto) (*graph.Tensor, error) {
	t := &graph.Tensor{Dims: p.Dims, External: entries(p.ExternalData), Metadata: entries(p.MetadataProps), Wire: wireOf(p)}
	t.Name, t.Doc = take(&t.Wire, 8, p.Name), take(&t.Wire, 12, p.DocString)
	t.Type = graph.DType(take(&t.Wire, 2, p.DataType))
	if where == "" {
		where = "tensor " + quote(t.Name)
	}
	if err := graph.CheckDims(t.Dims); err != nil {
		return nil, d.bad(where, err.Error(), "dims of a tensor", exportAgain)
	}
	if t.Type != graph.String && t.Type.Bits() == 0 {
		return nil, d.bad(where, fmt.Sprintf("element type %d", int32(t.Type)), "one of ONNX's element types",
			"the file is damaged, or newer than this version of nuwa knows")
	}
	stores, typed := stored(p)
	if len(stores) > 1 {
		return nil, d.bad(where, fmt.Sprintf("elements in both %s and %s", stores[0], stores[1]), "in one of them", exportAgain)
	}
	if p.RawData != nil && len(p.RawData) == 0 {
		t.Wire.Present |= 1 << 9
	}
	var err error
	switch location := take(&t.Wire, 14, p.DataLocation); {
	case location == 1:
		if len(stores) > 0 {
			return nil, d.bad(where, fmt.Sprintf("elements in both %s and external data", stores[0]), "in one of them", exportAgain)
		}
		if t.Type == graph.String {
			return nil, d.bad(where, "strings in external data", "strings inside the model", exportAgain)
		}
		t.Storage = graph.StoreExternal
		t.Data, err = d.externalData(where, t.External, t.Type.ByteLen(t.Len()))
	case location != 0:
		return nil, d.bad(where, fmt.Sprintf("data location %d", location), "0 or 1", exportAgain)
	case t.Type == graph.String:
		if p.RawData != nil {
			return nil, d.bad(where, "strings in raw_data", "in string_data", exportAgain)
		}
		t.Storage, t.Strings = graph.StoreTyped, p.StringData
	case typed == "" && p.RawData != nil:
		t.Storage, t.Data = graph.StoreRaw, p.RawData
	default:
		t.Storage = graph.StoreTyped
		t.Data, err = d.typedData(where, t.Type, p, typed)
	}
	if err != nil {
		return nil, err
	}
	if err := t.Check(); err != nil {
		return nil, d.bad(where, err.Error(), "as many elements as the dims describe", exportAgain)
	}
	return t, nil
}

// stored lists the fields of p that hold elements; typed is the one that is
// not raw_data.
func stored(p *onnxpb.TensorProto) (fields []string, typed string) {
	for _, f := range []struct {
		name string
		n    int
	}{
		{"float_data", len(p.FloatData)}, {"int32_data", len(p.Int32Data)}, {"string_data", len(p.StringData)},
		{"int64_data", len(p.Int64Data)}, {"double_data", len(p.DoubleData)}, {"uint64_data", len(p.Uint64Data)},
		{"raw_data", len(p.RawData)},
	} {
		if f.n > 0 {
			fields = append(fields, f.name)
			if f.name != "raw_data" {
				typed = f.name
			}
		}
	}
	return fields, typed
}

// typedData packs the elements of a typed field as raw_data would have them.
func (d *decoder) typedData(where string, typ graph.DType, p *onnxpb.TensorProto, field string) ([]byte, error) {
	want := typedField(typ)
	if field != "" && field != want {
		return nil, d.bad(where, fmt.Sprintf("%s elements in %s", typ, field), "in "+want, exportAgain)
	}
	var data []byte
	var err error
	switch want {
	case "float_data":
		data, err = binary.Append(make([]byte, 0, 4*len(p.FloatData)), binary.LittleEndian, p.FloatData)
	case "double_data":
		data, err = binary.Append(make([]byte, 0, 8*len(p.DoubleData)), binary.LittleEndian, p.DoubleData)
	case "int64_data":
		data, err = binary.Append(make([]byte, 0, 8*len(p.Int64Data)), binary.LittleEndian, p.Int64Data)
	case "uint64_data":
		if typ == graph.Uint64 {
			data, err = binary.Append(make([]byte, 0, 8*len(p.Uint64Data)), binary.LittleEndian, p.Uint64Data)
			break
		}
		data = make([]byte, 0, 4*len(p.Uint64Data))
		for i, x := range p.Uint64Data {
			if x != uint64(uint32(x)) {
				return nil, d.outside(where, typ, i, x)
			}
			data = binary.LittleEndian.AppendUint32(data, uint32(x))
		}
	case "int32_data":
		return d.packInt32(where, typ, p.Int32Data)
	}
	return data, err
}

// packInt32 packs elements that ONNX stores as one int32 each: signed integers
// as such, everything else as the unsigned number with the same bits. Of types
// narrower than a byte, each number holds as many elements as fit in a byte.
func (d *decoder) packInt32(where string, typ graph.DType, xs []int32) ([]byte, error) {
	size := max(typ.Bits()/8, 1)
	data := make([]byte, 0, size*len(xs))
	for i, x := range xs {
		var same bool
		switch {
		case typ == graph.Int32:
			same = true
		case typ == graph.Int16:
			same = x == int32(int16(x))
		case typ == graph.Int8:
			same = x == int32(int8(x))
		case size == 1:
			same = x == int32(uint8(x))
		default:
			same = x == int32(uint16(x))
		}
		if !same {
			return nil, d.outside(where, typ, i, x)
		}
		for b := range size {
			data = append(data, byte(x>>(8*b)))
		}
	}
	return data, nil
}

func (d *decoder) outside(where string, typ graph.DType, i int, x any) error {
	return d.bad(where, fmt.Sprintf("%v as element %d", x, i), fmt.Sprintf("a number that %s holds", typ), exportAgain)
}

// typedField names the field in which ONNX stores elements of typ when it does
// not store them as raw bytes.
func typedField(typ graph.DType) string {
	switch typ {
	case graph.Float32, graph.Complex64:
		return "float_data"
	case graph.Float64, graph.Complex128:
		return "double_data"
	case graph.Int64:
		return "int64_data"
	case graph.Uint32, graph.Uint64:
		return "uint64_data"
	case graph.String:
		return "string_data"
	}
	return "int32_data"
}

func (d *decoder) sparse(where string, p *onnxpb.SparseTensorProto) (*graph.SparseTensor, error) {
	s := &graph.SparseTensor{Dims: p.Dims, Wire: wireOf(p)}
	var err error
	if p.Values != nil {
		if s.Values, err = d.tensor(where, p.Values); err != nil {
			return nil, err
		}
	}
	if p.Indices != nil {
		if s.Indices, err = d.tensor(where+", indices", p.Indices); err != nil {
			return nil, err
		}
	}
	if err := graph.CheckDims(s.Dims); err != nil {
		return nil, d.bad(where, err.Error(), "dims of a tensor", exportAgain)
	}
	return s, nil
}
