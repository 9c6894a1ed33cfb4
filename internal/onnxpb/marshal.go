package onnxpb

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Marshal returns the wire form of m in pieces, to be written one after the
// other, and their total size in bytes. Large byte fields are shared with m,
// not copied. Fields come in the order of their numbers, unknown ones last, as
// protobuf's C++ and Python runtimes write them, so the bytes are a function
// of m alone.
func Marshal(m proto.Message) (pieces [][]byte, size int64, err error) {
	var w writer
	w.fields(m.ProtoReflect())
	w.flush()
	return w.pieces, w.size, w.err
}

// writer collects the wire form of one message.
type writer struct {
	pieces [][]byte
	open   []byte // what follows the pieces, still growing
	size   int64  // of pieces and open
	err    error
}

func (w *writer) flush() {
	if len(w.open) > 0 {
		w.pieces = append(w.pieces, w.open)
		w.open = nil
	}
}

// grow counts what was appended to open since it had n bytes.
func (w *writer) grow(n int) { w.size += int64(len(w.open) - n) }

func (w *writer) tag(num protowire.Number, typ protowire.Type) {
	n := len(w.open)
	w.open = protowire.AppendTag(w.open, num, typ)
	w.grow(n)
}

func (w *writer) varint(x uint64) {
	n := len(w.open)
	w.open = protowire.AppendVarint(w.open, x)
	w.grow(n)
}

func (w *writer) bytes(b []byte) {
	w.size += int64(len(b))
	if len(b) < shareFrom {
		w.open = append(w.open, b...)
		return
	}
	w.flush()
	w.pieces = append(w.pieces, b)
}

func (w *writer) fields(m protoreflect.Message) {
	for _, fd := range sortedFields(m.Descriptor()) {
		if !m.Has(fd) {
			continue
		}
		v := m.Get(fd)
		switch {
		case fd.IsPacked():
			w.packed(m, fd, v)
		case fd.IsList():
			list := v.List()
			for i := range list.Len() {
				w.field(fd, list.Get(i))
			}
		default:
			w.field(fd, v)
		}
	}
	w.bytes(m.GetUnknown())
}

// packed writes a packed list through the runtime, which has fast paths for
// each element type.
func (w *writer) packed(m protoreflect.Message, fd protoreflect.FieldDescriptor, v protoreflect.Value) {
	only := m.New()
	only.Set(fd, v)
	b, err := proto.Marshal(only.Interface())
	if err != nil {
		w.err = err
	}
	w.bytes(b)
}

func (w *writer) field(fd protoreflect.FieldDescriptor, v protoreflect.Value) {
	num := fd.Number()
	switch fd.Kind() {
	case protoreflect.Int32Kind, protoreflect.Int64Kind:
		w.tag(num, protowire.VarintType)
		w.varint(uint64(v.Int()))
	case protoreflect.FloatKind:
		w.tag(num, protowire.Fixed32Type)
		n := len(w.open)
		w.open = protowire.AppendFixed32(w.open, math.Float32bits(float32(v.Float())))
		w.grow(n)
	case protoreflect.StringKind:
		w.tag(num, protowire.BytesType)
		w.varint(uint64(len(v.String())))
		w.bytes([]byte(v.String()))
	case protoreflect.BytesKind:
		w.tag(num, protowire.BytesType)
		w.varint(uint64(len(v.Bytes())))
		w.bytes(v.Bytes())
	case protoreflect.MessageKind:
		var c writer
		c.fields(v.Message())
		w.tag(num, protowire.BytesType)
		w.varint(uint64(c.size))
		w.append(&c)
	default:
		w.err = fmt.Errorf("%s is of kind %s, which no field of ONNX is", fd.FullName(), fd.Kind())
	}
}

// append moves what c collected to the end of w.
func (w *writer) append(c *writer) {
	c.flush()
	for _, p := range c.pieces {
		w.bytes(p)
	}
	if c.err != nil {
		w.err = c.err
	}
}

// sortedFields returns the fields of a message type by number.
func sortedFields(d protoreflect.MessageDescriptor) []protoreflect.FieldDescriptor {
	if fds, ok := sorted.Load(d.FullName()); ok {
		return fds.([]protoreflect.FieldDescriptor)
	}
	fds := make([]protoreflect.FieldDescriptor, d.Fields().Len())
	for i := range fds {
		fds[i] = d.Fields().Get(i)
	}
	slices.SortFunc(fds, func(a, b protoreflect.FieldDescriptor) int { return int(a.Number() - b.Number()) })
	sorted.Store(d.FullName(), fds)
	return fds
}

var sorted sync.Map // of protoreflect.FullName to []protoreflect.FieldDescriptor
