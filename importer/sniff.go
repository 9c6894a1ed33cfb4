package importer

import (
	"bytes"
	"fmt"

	"nuwa/internal/fault"
	"nuwa/internal/onnxpb"

	"google.golang.org/protobuf/encoding/protowire"
)

// lookalike recognizes what people hand over in place of an ONNX model. what
// is empty when data may be one.
func lookalike(data []byte) (what, remedy string) {
	const export = "export the model to ONNX first, for example with torch.onnx.export"
	start := data[:min(len(data), 4096)]
	has := func(at int, s string) bool { return len(start) >= at && bytes.HasPrefix(start[at:], []byte(s)) }
	text := bytes.ToLower(bytes.TrimLeft(start, " \t\r\n\ufeff"))
	switch {
	case len(data) == 0:
		return "an empty file", "download or export the model again"
	case has(0, "version https://git-lfs"):
		return "a Git LFS pointer", "fetch the file behind it with: git lfs pull"
	case has(0, "PK\x03\x04") && bytes.Contains(start, []byte("data.pkl")):
		return "a PyTorch checkpoint", export
	case has(0, "PK\x03\x04"):
		return "a zip archive", "unpack it and name the .onnx file inside"
	case has(0, "\x1f\x8b"), has(0, "BZh"), has(0, "\xfd7zXZ"), has(0, "\x28\xb5\x2f\xfd"):
		return "a compressed file", "unpack it first"
	case has(0, "\x80\x02"), has(0, "\x80\x03"), has(0, "\x80\x04"), has(0, "\x80\x05"):
		return "a Python pickle, as older PyTorch checkpoints are", export
	case has(0, "\x89HDF"):
		return "an HDF5 file, as Keras saves models", "convert the model to ONNX first, for example with tf2onnx"
	case has(4, "TFL3"):
		return "a TensorFlow Lite model", "convert the model to ONNX first, for example with tf2onnx"
	case has(4, "ORTM"):
		return "a model in ONNX Runtime's own ORT format", "use the ONNX model that it was made from"
	case has(8, "{\"") && bytes.Contains(start, []byte("data_offsets")), has(8, "{\"__metadata__"):
		return "a safetensors file, which holds weights without the model", export
	case bytes.HasPrefix(text, []byte("<!doctype html")), bytes.HasPrefix(text, []byte("<html")):
		return "an HTML page", "the download gave a web page instead of the file; download it again"
	case bytes.HasPrefix(text, []byte("<?xml")):
		return "an XML file", "name the .onnx file"
	case bytes.HasPrefix(text, []byte("{")) && bytes.Contains(text, []byte("\"")):
		return "a JSON file", "name the .onnx file"
	case has(0, "\x89PNG"), has(0, "\xff\xd8\xff"), has(0, "GIF8"):
		return "an image", "name the .onnx file"
	case has(0, "\x7fELF"), has(0, "MZ\x90"):
		return "a program", "name the .onnx file"
	case len(bytes.Trim(data[:min(len(data), 1<<20)], "\x00")) == 0:
		return "a file of zero bytes", "the download or copy was not finished; repeat it"
	}
	return "", ""
}

// isTensor reports whether data is a tensor by itself, as inputs and expected
// outputs are stored beside test models.
func isTensor(data []byte) bool {
	var p onnxpb.TensorProto
	if onnxpb.Unmarshal(data, &p) != nil || p.GetDataType() == 0 || len(p.ProtoReflect().GetUnknown()) > 0 {
		return false
	}
	_, err := new(decoder).tensor("", &p)
	return err == nil
}

// unreadable makes the error for bytes that are no protobuf message of a
// model: cut short where the outermost fields say so, or something else.
func unreadable(name string, data []byte, cause error) error {
	e := &fault.Error{Kind: fault.Model, File: name, Want: "an ONNX model"}
	if isTensor(data) {
		e.Got, e.Remedy = "a single tensor", "name the .onnx file; this one holds an input or output of a model"
		return e
	}
	for pos := 0; pos < len(data); {
		num, typ, n := protowire.ConsumeTag(data[pos:])
		if n < 0 || num > 30 {
			break
		}
		if typ == protowire.BytesType {
			size, m := protowire.ConsumeVarint(data[pos+n:])
			if left := uint64(len(data) - pos - n - max(m, 0)); m > 0 && size > left && pos > 0 && size < 1<<40 {
				e.Got = fmt.Sprintf("%d bytes, cut short: %d bytes are missing", len(data), size-left)
				e.Remedy = "the file was not copied or downloaded completely; repeat it"
				return e
			}
		}
		m := protowire.ConsumeFieldValue(num, typ, data[pos+n:])
		if m < 0 {
			break
		}
		pos += n + m
	}
	e.Got, e.Err = fmt.Sprintf("%d bytes of something else", len(data)), cause
	e.Remedy = "check that this is the model file and that it is undamaged"
	return e
}

// notModel makes the error for a message without a graph.
func notModel(name string, p *onnxpb.ModelProto) error {
	e := &fault.Error{Kind: fault.Model, File: name, Got: "a protobuf message without a graph", Want: "an ONNX model",
		Remedy: "name the .onnx file; other files of protobuf data are no models"}
	if p.IrVersion != nil && p.ProducerName != nil {
		e.Got, e.Remedy = "a model without a graph", exportAgain
	}
	return e
}
