package onnxpb

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// DiffOptions says which differences do not count.
type DiffOptions struct {
	AnyNodeOrder bool // the nodes of a graph may stand in another order
}

// Diff lists every difference between two messages of the same type, each with
// the path of the field, such as
//
//	graph.node[3 Conv "conv1"].attribute[0 "pads"].ints[2]: 1, then 0
//
// A field that holds its default value and an absent one are different. No
// differences give nil.
func Diff(a, b proto.Message, opt DiffOptions) []string {
	d := differ{opt: opt}
	d.message("", a.ProtoReflect(), b.ProtoReflect())
	return d.found
}

type differ struct {
	opt   DiffOptions
	found []string
}

func (d *differ) add(path, format string, args ...any) {
	d.found = append(d.found, strings.TrimPrefix(path, ".")+": "+fmt.Sprintf(format, args...))
}

func (d *differ) message(path string, a, b protoreflect.Message) {
	for _, fd := range sortedFields(a.Descriptor()) {
		at := path + "." + string(fd.Name())
		switch hasA, hasB := a.Has(fd), b.Has(fd); {
		case !hasA && !hasB:
		case fd.IsList():
			d.list(at, fd, a.Get(fd).List(), b.Get(fd).List())
		case !hasA:
			d.add(at, "absent, then %s", show(fd, b.Get(fd)))
		case !hasB:
			d.add(at, "%s, then absent", show(fd, a.Get(fd)))
		default:
			d.value(at, fd, a.Get(fd), b.Get(fd))
		}
	}
	if ua, ub := a.GetUnknown(), b.GetUnknown(); !bytes.Equal(ua, ub) {
		d.add(path+".unknown fields", "%s, then %s", showBytes(ua), showBytes(ub))
	}
}

func (d *differ) list(path string, fd protoreflect.FieldDescriptor, a, b protoreflect.List) {
	if fd.Message() != nil && fd.Message().Name() == "NodeProto" && d.opt.AnyNodeOrder {
		d.nodes(path, fd, a, b)
		return
	}
	if d.numbers(path, fd, a, b) {
		return
	}
	for i := range min(a.Len(), b.Len()) {
		d.value(fmt.Sprintf("%s[%s]", path, label(i, fd, a.Get(i))), fd, a.Get(i), b.Get(i))
	}
	for i := a.Len(); i < b.Len(); i++ {
		d.add(fmt.Sprintf("%s[%s]", path, label(i, fd, b.Get(i))), "absent, then %s", show(fd, b.Get(i)))
	}
	for i := b.Len(); i < a.Len(); i++ {
		d.add(fmt.Sprintf("%s[%s]", path, label(i, fd, a.Get(i))), "%s, then absent", show(fd, a.Get(i)))
	}
}

// numbers compares long lists of numbers, reporting only how many differ and
// where the first is. It returns false for other lists.
func (d *differ) numbers(path string, fd protoreflect.FieldDescriptor, a, b protoreflect.List) bool {
	if fd.Kind() == protoreflect.MessageKind || a.Len() != b.Len() || a.Len() <= 64 {
		return false
	}
	first, count := -1, 0
	for i := range a.Len() {
		if !sameScalar(fd, a.Get(i), b.Get(i)) {
			if count++; first < 0 {
				first = i
			}
		}
	}
	if count > 0 {
		d.add(path, "%d of %d elements differ, the first at %d: %s, then %s", count, a.Len(), first,
			show(fd, a.Get(first)), show(fd, b.Get(first)))
	}
	return true
}

// nodes compares nodes by what they produce instead of where they stand.
func (d *differ) nodes(path string, fd protoreflect.FieldDescriptor, a, b protoreflect.List) {
	key := func(v protoreflect.Value) string {
		n := v.Message().Interface().(*NodeProto)
		if strings.Join(n.Output, "") == "" {
			return "\x00" + n.GetOpType() + "\x00" + strings.Join(n.Input, "\x00")
		}
		return strings.Join(n.Output, "\x00")
	}
	rest := map[string][]protoreflect.Value{}
	for i := range b.Len() {
		k := key(b.Get(i))
		rest[k] = append(rest[k], b.Get(i))
	}
	for i := range a.Len() {
		va := a.Get(i)
		k := key(va)
		at := fmt.Sprintf("%s[%s]", path, label(i, fd, va))
		if len(rest[k]) == 0 {
			d.add(at, "%s, then absent", show(fd, va))
			continue
		}
		d.value(at, fd, va, rest[k][0])
		rest[k] = rest[k][1:]
	}
	for i := range b.Len() {
		if vb := b.Get(i); slices.ContainsFunc(rest[key(vb)], func(v protoreflect.Value) bool { return v.Message() == vb.Message() }) {
			d.add(fmt.Sprintf("%s[%s]", path, label(i, fd, vb)), "absent, then %s", show(fd, vb))
		}
	}
}

func (d *differ) value(path string, fd protoreflect.FieldDescriptor, a, b protoreflect.Value) {
	if fd.Kind() == protoreflect.MessageKind {
		d.message(path, a.Message(), b.Message())
		return
	}
	if sameScalar(fd, a, b) {
		return
	}
	if fd.Kind() == protoreflect.BytesKind && len(a.Bytes()) == len(b.Bytes()) && len(a.Bytes()) > 24 {
		x, y := a.Bytes(), b.Bytes()
		first, count := -1, 0
		for i := range x {
			if x[i] != y[i] {
				if count++; first < 0 {
					first = i
				}
			}
		}
		d.add(path, "%d of %d bytes differ, the first at %d", count, len(x), first)
		return
	}
	d.add(path, "%s, then %s", show(fd, a), show(fd, b))
}

func sameScalar(fd protoreflect.FieldDescriptor, a, b protoreflect.Value) bool {
	switch fd.Kind() {
	case protoreflect.BytesKind:
		return bytes.Equal(a.Bytes(), b.Bytes())
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return math.Float64bits(a.Float()) == math.Float64bits(b.Float())
	}
	return a.Equal(b)
}

// label names element i of a list for a path.
func label(i int, fd protoreflect.FieldDescriptor, v protoreflect.Value) string {
	if fd.Kind() != protoreflect.MessageKind {
		return fmt.Sprint(i)
	}
	switch m := v.Message().Interface().(type) {
	case *NodeProto:
		return fmt.Sprintf("%d %s %q", i, m.GetOpType(), m.GetName())
	case interface{ GetName() string }:
		return fmt.Sprintf("%d %q", i, m.GetName())
	case *StringStringEntryProto:
		return fmt.Sprintf("%d %q", i, m.GetKey())
	}
	return fmt.Sprint(i)
}

func show(fd protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch fd.Kind() {
	case protoreflect.MessageKind:
		return fmt.Sprintf("%s of %d bytes", v.Message().Descriptor().Name(), proto.Size(v.Message().Interface()))
	case protoreflect.BytesKind:
		return showBytes(v.Bytes())
	case protoreflect.StringKind:
		return fmt.Sprintf("%q", v.String())
	}
	return v.String()
}

func showBytes(b []byte) string {
	if len(b) > 24 {
		return fmt.Sprintf("%d bytes %x...", len(b), b[:24])
	}
	return fmt.Sprintf("%d bytes %x", len(b), b)
}
