package exporter_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nuwa/exporter"
	"nuwa/graph"
)

// check runs the full check of Python's ONNX on each model named as argument
// and prints those that it rejects.
const check = `
import sys, onnx
for path in sys.argv[1:]:
    try:
        onnx.checker.check_model(path, full_check=True)
    except Exception as e:
        print(path, "rejected:", e)
print("checked", len(sys.argv) - 1, "with", onnx.__version__)
`

// python returns an interpreter that has the onnx package.
func python(t *testing.T) string {
	for _, name := range []string{"python3", "/usr/bin/python3"} { // the first may be another than the system's
		if exec.Command(name, "-c", "import onnx").Run() == nil {
			return name
		}
	}
	t.Skip("no python3 with the onnx package (Debian: python3-onnx)")
	return ""
}

// TestPythonAcceptsExports holds every exported model of opset 15 or lower,
// with its weights inside and beside it, to the full check of Python's ONNX.
// Layer norms that ONNX Runtime's optimizer wrote into models of such opsets are
// none of ONNX, in the original either: it has them from 17 on.
func TestPythonAcceptsExports(t *testing.T) {
	python := python(t)
	args := []string{"-c", check}
	for _, path := range models(t) {
		m := load(t, path)
		norm := func(n *graph.Node) bool { return n.Is("LayerNormalization") }
		if m.Opset("") > 15 || m.IRVersion > 8 || slices.ContainsFunc(m.Graph.Nodes(), norm) {
			continue
		}
		for name, weights := range map[string]exporter.Weights{"inside": exporter.Embedded, "beside": exporter.External} {
			out := filepath.Join(t.TempDir(), name+"_"+filepath.Base(path))
			if _, err := exporter.Write(m, out, exporter.Options{Weights: weights}); err != nil {
				t.Fatal(err)
			}
			args = append(args, out)
		}
	}
	if len(args) == 2 {
		t.Skip("no models of opset 15 or lower")
	}
	out, err := exec.Command(python, args...).CombinedOutput()
	if err != nil || strings.Contains(string(out), "rejected") {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
