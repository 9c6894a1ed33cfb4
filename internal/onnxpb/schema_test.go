package onnxpb

import (
	"bufio"
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// describe prints every field of every message that Python's ONNX knows.
const describe = `
import onnx
kinds = {1: "double", 2: "float", 3: "int64", 4: "uint64", 5: "int32", 9: "string", 11: "message", 12: "bytes", 14: "enum"}
def walk(d):
    for f in d.fields:
        packed = f.GetOptions().packed
        print(d.full_name.split(".", 1)[1], f.name, f.number, kinds[f.type], "list" if f.label == 3 else "one",
              "packed" if packed else "plain", f.message_type.full_name.split(".", 1)[1] if f.message_type else "-")
    for n in d.nested_types:
        walk(n)
for d in onnx.onnx_ml_pb2.DESCRIPTOR.message_types_by_name.values():
    walk(d)
`

// TestSchemaIsONNXs compares the schema with that of Python's ONNX package,
// field by field. Fields newer than the package are not compared.
func TestSchemaIsONNXs(t *testing.T) {
	var out []byte
	for _, python := range []string{"python3", "/usr/bin/python3"} { // the first may be another than the system's
		if b, err := exec.Command(python, "-c", describe).Output(); err == nil {
			out = b
			break
		}
	}
	if out == nil {
		t.Skip("no python3 with the onnx package (Debian: python3-onnx) to compare with")
	}
	left := map[string]bool{ // what the schema leaves to the unknown fields
		"ModelProto.training_info": true, "TensorProto.segment": true, "TypeProto.opaque_type": true,
		"TypeProto.Opaque": true, "TensorProto.Segment": true, "TrainingInfoProto": true,
	}
	known := map[string]protoreflect.MessageDescriptor{}
	var walk func(protoreflect.MessageDescriptors)
	walk = func(ms protoreflect.MessageDescriptors) {
		for i := range ms.Len() {
			m := ms.Get(i)
			known[strings.TrimPrefix(string(m.FullName()), "nuwa.onnx.")] = m
			walk(m.Messages())
		}
	}
	walk(File_nuwa_onnx_proto.Messages())

	fields := 0
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var msg, name, kind, label, packed, of string
		var num int
		if _, err := fmt.Sscan(lines.Text(), &msg, &name, &num, &kind, &label, &packed, &of); err != nil {
			t.Fatal(err)
		}
		if left[msg] || left[msg+"."+name] {
			continue
		}
		fields++
		if known[msg] == nil {
			t.Errorf("no message %s", msg)
			continue
		}
		f := known[msg].Fields().ByName(protoreflect.Name(name))
		if f == nil {
			t.Errorf("%s has no field %s", msg, name)
			continue
		}
		got := fmt.Sprintf("%d %s", f.Number(), f.Kind())
		want := fmt.Sprintf("%d %s", num, strings.Replace(kind, "enum", "int32", 1))
		if f.Kind() == protoreflect.MessageKind {
			got += " " + strings.TrimPrefix(string(f.Message().FullName()), "nuwa.onnx.")
			want += " " + of
		}
		got += fmt.Sprint(" ", f.IsList(), f.IsPacked())
		want += fmt.Sprint(" ", label == "list", packed == "packed")
		if got != want {
			t.Errorf("%s.%s is %s, want %s", msg, name, got, want)
		}
	}
	if fields < 90 {
		t.Errorf("compared %d fields, want at least 90", fields)
	}
}
