package exporter_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"nuwa/exporter"
	"nuwa/graph"
	"nuwa/importer"
	"nuwa/internal/onnxpb"
)

// models lists the model files that this repository and its optional
// neighbour hold.
func models(t *testing.T) []string {
	var files []string
	for _, pattern := range []string{"../testmodels/*.onnx", "../testmodels/*/*.onnx", "../testmodels/*/*/*.onnx", "../../shared/models/*.onnx"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		t.Skip("no models in testmodels or ../shared/models")
	}
	return files
}

func TestModelsComeOutByteForByte(t *testing.T) {
	for _, path := range models(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			in, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			m, err := importer.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Check(); err != nil {
				t.Fatal(err)
			}
			out := keep(t, m)
			for _, d := range diff(t, in, out) {
				t.Error(d)
			}
			if !bytes.Equal(in, out) {
				t.Error("the same model, but other bytes")
			}
		})
	}
}

// keep serializes m with external data left where it was.
func keep(t *testing.T, m *graph.Model) []byte {
	t.Helper()
	p, err := exporter.Proto(m)
	if err != nil {
		t.Fatal(err)
	}
	pieces, _, err := onnxpb.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Join(pieces, nil)
}

// diff lists the differences of two serialized models; nodes may be sorted.
func diff(t *testing.T, a, b []byte) []string {
	t.Helper()
	diffs, err := exporter.Diff(a, b)
	if err != nil {
		t.Fatal(err)
	}
	return diffs
}
