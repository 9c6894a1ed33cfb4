package graph

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"unsafe"
)

// DType is the element type of a tensor. The numbers are those of ONNX
// (TensorProto.DataType).
type DType int32

// The element types of ONNX.
const (
	Undefined      DType = 0
	Float32        DType = 1
	Uint8          DType = 2
	Int8           DType = 3
	Uint16         DType = 4
	Int16          DType = 5
	Int32          DType = 6
	Int64          DType = 7
	String         DType = 8
	Bool           DType = 9
	Float16        DType = 10
	Float64        DType = 11
	Uint32         DType = 12
	Uint64         DType = 13
	Complex64      DType = 14
	Complex128     DType = 15
	BFloat16       DType = 16
	Float8E4M3FN   DType = 17
	Float8E4M3FNUZ DType = 18
	Float8E5M2     DType = 19
	Float8E5M2FNUZ DType = 20
	Uint4          DType = 21
	Int4           DType = 22
	Float4E2M1     DType = 23
	Float8E8M0     DType = 24
	Uint2          DType = 25
	Int2           DType = 26
)

var dtypes = map[DType]struct {
	name string
	bits int
}{
	Float32: {"f32", 32}, Uint8: {"u8", 8}, Int8: {"i8", 8}, Uint16: {"u16", 16}, Int16: {"i16", 16},
	Int32: {"i32", 32}, Int64: {"i64", 64}, String: {"str", 0}, Bool: {"bool", 8}, Float16: {"f16", 16},
	Float64: {"f64", 64}, Uint32: {"u32", 32}, Uint64: {"u64", 64}, Complex64: {"c64", 64},
	Complex128: {"c128", 128}, BFloat16: {"bf16", 16}, Float8E4M3FN: {"f8e4m3fn", 8},
	Float8E4M3FNUZ: {"f8e4m3fnuz", 8}, Float8E5M2: {"f8e5m2", 8}, Float8E5M2FNUZ: {"f8e5m2fnuz", 8},
	Uint4: {"u4", 4}, Int4: {"i4", 4}, Float4E2M1: {"f4e2m1", 4}, Float8E8M0: {"f8e8m0", 8},
	Uint2: {"u2", 2}, Int2: {"i2", 2},
}

// String returns the short name used in printed graphs, such as "f32".
func (t DType) String() string {
	if d, ok := dtypes[t]; ok {
		return d.name
	}
	return fmt.Sprintf("dtype(%d)", int32(t))
}

// Bits returns the width of one element in bits; 0 for strings and unknown types.
func (t DType) Bits() int { return dtypes[t].bits }

// IsFloat reports whether t is a floating-point type that ViT weights are
// stored in: f32, f64, f16 or bf16.
func (t DType) IsFloat() bool {
	return t == Float32 || t == Float64 || t.IsHalf()
}

// IsHalf reports whether t is one of the 16-bit floating-point types.
func (t DType) IsHalf() bool { return t == Float16 || t == BFloat16 }

// ByteLen returns the number of bytes that n packed elements of type t take.
func (t DType) ByteLen(n int64) int64 { return (n*int64(t.Bits()) + 7) / 8 }

// Storage says how a tensor's elements were, and will be, serialized. It
// never changes their meaning.
type Storage uint8

// The ways ONNX stores elements.
const (
	StoreRaw      Storage = iota // one packed byte string
	StoreTyped                   // a repeated field of the element's own type
	StoreExternal                // bytes in a file beside the model
)

// Tensor is a constant. Data holds the elements in little-endian order, packed
// as ONNX packs raw data; it is shared between clones and with the file it was
// mapped from, so it must never be written to. Make a new tensor instead.
type Tensor struct {
	Name     string // only inside attributes and sparse tensors; an initializer is named by its Value
	Doc      string
	Type     DType
	Dims     []int64
	Data     []byte
	Strings  [][]byte // the elements, when Type is String
	Storage  Storage
	External []Entry // the location entries, when Storage is StoreExternal
	Metadata []Entry
	Wire     Wire

	// Stored is the 16-bit type that the file holds these single-precision
	// elements in, behind a Cast, and that their successors go back to;
	// Undefined for none. It says nothing about how they are computed with.
	Stored DType
}

// Len returns the number of elements that Dims describes.
func (t *Tensor) Len() int64 { return Elements(t.Dims) }

// Rows returns the part of t from row i to before row j of its first axis, in t's
// memory. Elements are whole bytes, and no strings.
func (t *Tensor) Rows(i, j int) *Tensor {
	each := len(t.Data) / int(max(1, t.Dims[0]))
	dims := append([]int64{int64(j - i)}, t.Dims[1:]...)
	return &Tensor{Type: t.Type, Dims: dims, Data: t.Data[i*each : j*each : j*each]}
}

// Elements returns the product of dims: 1 for a scalar.
func Elements(dims []int64) int64 {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	return n
}

// CheckDims reports a negative dimension, and dims whose elements are too many
// to be counted.
func CheckDims(dims []int64) error {
	n := int64(1)
	for _, d := range dims {
		if d < 0 {
			return fmt.Errorf("the dimension %d is negative", d)
		}
		if d > 0 && n > maxElements/d {
			return fmt.Errorf("dims %v describe more than %d elements", dims, int64(maxElements))
		}
		n *= max(d, 1)
	}
	return nil
}

// maxElements keeps the number of bits of any tensor within int64.
const maxElements = math.MaxInt64 / 128

// Clone returns a copy that shares the element bytes.
func (t *Tensor) Clone() *Tensor {
	if t == nil {
		return nil
	}
	c := *t
	c.Dims = slices.Clone(t.Dims)
	c.External = slices.Clone(t.External)
	c.Metadata = slices.Clone(t.Metadata)
	return &c
}

// Check reports dims or data that contradict each other.
func (t *Tensor) Check() error {
	if err := CheckDims(t.Dims); err != nil {
		return fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	if t.Type == String {
		if int64(len(t.Strings)) != t.Len() {
			return fmt.Errorf("tensor %q %s holds %d strings, want %d", t.Name, t.Shape(), len(t.Strings), t.Len())
		}
		return nil
	}
	if t.Type.Bits() == 0 {
		return fmt.Errorf("tensor %q has the unknown element type %d", t.Name, int32(t.Type))
	}
	if want := t.Type.ByteLen(t.Len()); int64(len(t.Data)) != want {
		return fmt.Errorf("tensor %q %s holds %d bytes, want %d", t.Name, t.Shape(), len(t.Data), want)
	}
	return nil
}

// Shape returns the printed form of type and dims, such as "f32[197,384]".
func (t *Tensor) Shape() string {
	var b strings.Builder
	b.WriteString(t.Type.String())
	b.WriteByte('[')
	for i, d := range t.Dims {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprint(&b, d)
	}
	b.WriteByte(']')
	return b.String()
}

// NewTensor makes a raw tensor from elements in row-major order. The element
// type follows from T.
func NewTensor[T float32 | float64 | int32 | int64 | uint8 | int8 | bool](dims []int64, elems []T) *Tensor {
	t := &Tensor{Dims: slices.Clone(dims)}
	switch any(elems).(type) {
	case []float32:
		t.Type = Float32
	case []float64:
		t.Type = Float64
	case []int32:
		t.Type = Int32
	case []int64:
		t.Type = Int64
	case []uint8:
		t.Type = Uint8
	case []int8:
		t.Type = Int8
	case []bool:
		t.Type = Bool
	}
	t.Data, _ = binary.Append(make([]byte, 0, t.Type.ByteLen(int64(len(elems)))), binary.LittleEndian, elems)
	return t
}

// Scalar makes a tensor of rank 0.
func Scalar[T float32 | float64 | int32 | int64 | uint8 | int8 | bool](x T) *Tensor {
	return NewTensor(nil, []T{x})
}

// FromFloats makes a tensor of the given float type from float64 elements,
// rounding each to nearest, ties to even.
func FromFloats(typ DType, dims []int64, elems []float64) (*Tensor, error) {
	t := &Tensor{Type: typ, Dims: slices.Clone(dims)}
	switch typ {
	case Float64:
		return NewTensor(dims, elems), nil
	case Float32:
		t.Data = make([]byte, 4*len(elems))
		for i, x := range elems {
			binary.LittleEndian.PutUint32(t.Data[4*i:], math.Float32bits(float32(x)))
		}
	case Float16:
		t.Data = make([]byte, 2*len(elems))
		for i, x := range elems {
			binary.LittleEndian.PutUint16(t.Data[2*i:], halfBits(x))
		}
	case BFloat16:
		t.Data = make([]byte, 2*len(elems))
		for i, x := range elems {
			binary.LittleEndian.PutUint16(t.Data[2*i:], bfloatBits(x))
		}
	default:
		return nil, fmt.Errorf("cannot store floats as %s", typ)
	}
	return t, nil
}

// With returns a tensor of other elements, rounded to t's type, that stands for
// t and is stored like it.
func (t *Tensor) With(dims []int64, elems []float64) (*Tensor, error) {
	c, err := FromFloats(t.Type, dims, elems)
	if err == nil {
		c.Stored = t.Stored
	}
	return c, err
}

// Floats returns the elements as float64. It fails for strings, complex and
// 8-bit or narrower floating types.
func (t *Tensor) Floats() ([]float64, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	n := int(t.Len())
	out := make([]float64, n)
	le := binary.LittleEndian
	switch t.Type {
	case Float32:
		for i := range out {
			out[i] = float64(math.Float32frombits(le.Uint32(t.Data[4*i:])))
		}
	case Float64:
		for i := range out {
			out[i] = math.Float64frombits(le.Uint64(t.Data[8*i:]))
		}
	case Float16:
		for i := range out {
			out[i] = halfFloat(le.Uint16(t.Data[2*i:]))
		}
	case BFloat16:
		for i := range out {
			out[i] = float64(math.Float32frombits(uint32(le.Uint16(t.Data[2*i:])) << 16))
		}
	case Uint64:
		for i := range out {
			out[i] = float64(le.Uint64(t.Data[8*i:]))
		}
	default:
		ints, err := t.Ints()
		if err != nil {
			return nil, err
		}
		for i, x := range ints {
			out[i] = float64(x)
		}
	}
	return out, nil
}

// Ints returns the elements of an integer or bool tensor as int64.
func (t *Tensor) Ints() ([]int64, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	out := make([]int64, t.Len())
	le := binary.LittleEndian
	if t.Type == Int64 || t.Type == Uint64 {
		for i := range out {
			out[i] = int64(le.Uint64(t.Data[8*i:]))
		}
		return out, nil
	}
	for i := range out {
		switch t.Type {
		case Int32:
			out[i] = int64(int32(le.Uint32(t.Data[4*i:])))
		case Uint32:
			out[i] = int64(le.Uint32(t.Data[4*i:]))
		case Int16:
			out[i] = int64(int16(le.Uint16(t.Data[2*i:])))
		case Uint16:
			out[i] = int64(le.Uint16(t.Data[2*i:]))
		case Int8:
			out[i] = int64(int8(t.Data[i]))
		case Uint8, Bool:
			out[i] = int64(t.Data[i])
		default:
			return nil, fmt.Errorf("tensor %q of type %s holds no integers", t.Name, t.Type)
		}
	}
	return out, nil
}

// Float32s returns the elements of an f32 tensor, sharing memory with Data
// where alignment allows. The result must not be written to.
func (t *Tensor) Float32s() ([]float32, error) {
	return shared(t, Float32, func(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) })
}

// Int64s returns the elements of an i64 tensor, as Float32s does.
func (t *Tensor) Int64s() ([]int64, error) {
	return shared(t, Int64, func(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) })
}

// shared returns the elements of a tensor of type typ, in t's memory where the
// machine can read them there, else read one by one.
func shared[T any](t *Tensor, typ DType, read func([]byte) T) ([]T, error) {
	if t.Type != typ {
		return nil, fmt.Errorf("tensor %q is %s, want %s", t.Name, t.Type, typ)
	}
	if err := t.Check(); err != nil {
		return nil, err
	}
	var one T
	size := int(unsafe.Sizeof(one))
	n := len(t.Data) / size
	if n == 0 {
		return nil, nil
	}
	if p := unsafe.Pointer(unsafe.SliceData(t.Data)); uintptr(p)%uintptr(size) == 0 && littleEndian {
		return unsafe.Slice((*T)(p), n), nil
	}
	out := make([]T, n)
	for i := range out {
		out[i] = read(t.Data[size*i:])
	}
	return out, nil
}

var littleEndian = func() bool {
	x := uint16(1)
	return *(*byte)(unsafe.Pointer(&x)) == 1
}()

// halfFloat decodes IEEE 754 binary16.
func halfFloat(h uint16) float64 {
	sign := 1.0
	if h&0x8000 != 0 {
		sign = -1
	}
	exp, frac := int(h>>10)&0x1f, float64(h&0x3ff)
	switch exp {
	case 0:
		return sign * math.Ldexp(frac, -24)
	case 0x1f:
		if frac != 0 {
			return math.NaN()
		}
		return math.Inf(int(sign))
	}
	return sign * math.Ldexp(1024+frac, exp-25)
}

// halfBits encodes IEEE 754 binary16, rounding to nearest even; too large a
// magnitude becomes infinity.
func halfBits(x float64) uint16 {
	var sign uint16
	if math.Signbit(x) {
		sign, x = 0x8000, -x
	}
	switch {
	case math.IsNaN(x):
		return sign | 0x7e00
	case x >= 65520:
		return sign | 0x7c00
	case x < math.Ldexp(1, -14):
		return sign | uint16(math.RoundToEven(math.Ldexp(x, 24)))
	}
	frac, exp := math.Frexp(x) // x = frac·2^exp, frac in [0.5, 1)
	m := uint16(math.RoundToEven(math.Ldexp(frac, 11)))
	return sign + uint16(exp+14-1)<<10 + m // a mantissa of 2048 carries into the exponent
}

// bfloatBits encodes bfloat16, rounding to nearest even.
func bfloatBits(x float64) uint16 {
	f := float32(x)
	b := math.Float32bits(f)
	if f != f {
		return uint16(b>>16) | 0x40
	}
	b += 0x7fff + b>>16&1
	return uint16(b >> 16)
}
