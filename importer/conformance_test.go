package importer_test

import (
	"archive/zip"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"nuwa/graph"
	"nuwa/importer"
	"nuwa/importer/onnxgo"
	"nuwa/internal/onnxpb"

	"github.com/owulveryck/onnx-go/backend/testbackend"
	_ "github.com/owulveryck/onnx-go/backend/testbackend/onnx"
)

// The three corpora. Each case is imported and exported again, which must give
// the same model; then both models run in ONNX Runtime and must agree with each
// other and with the expected outputs, where the corpus has some. Cases that
// cannot pass are listed with their reasons in testdata; the lists are held to
// be exact.

// TestOnnxGoCorpus takes the operator cases that onnx-go carries, of opsets 9
// and 10.
func TestOnnxGoCorpus(t *testing.T) {
	all := testbackend.GetAllRegisteredTests()
	var cases []conformanceCase
	for _, make := range all {
		tc := make()
		cases = append(cases, conformanceCase{name: tc.Title, model: tc.ModelB, feed: func(m *graph.Model) (map[string]*graph.Tensor, error) {
			var inputs []*graph.Value
			for _, v := range m.Graph.Inputs() {
				if v.Default() == nil {
					inputs = append(inputs, v)
				}
			}
			return named(inputs, len(tc.Input), func(i int) (*graph.Tensor, error) {
				x, err := onnxgo.Tensor(tc.Input[i])
				if dims, ok := inputs[i].Type.Dims(); err == nil && ok && graph.Elements(dims) == x.Len() {
					x.Dims = dims // the corpus has single elements as scalars
				}
				return x, err
			})
		}, expect: func(m *graph.Model) (map[string]*graph.Tensor, error) {
			return named(m.Graph.Outputs(), len(tc.ExpectedOutput), func(i int) (*graph.Tensor, error) { return onnxgo.Tensor(tc.ExpectedOutput[i]) })
		}})
	}
	conform(t, "onnxgo", 348, cases)
}

// TestNodeCorpus takes the official operator cases, up to opset 24.
func TestNodeCorpus(t *testing.T) {
	files := unzip(t, "../../shared/onnx-node-tests.zip")
	var cases []conformanceCase
	for name, model := range files {
		if path.Base(name) != "model.onnx" {
			continue
		}
		dir := path.Dir(name)
		load := func(kind string) func(int) (*graph.Tensor, error) {
			return func(i int) (*graph.Tensor, error) {
				file := fmt.Sprintf("%s/test_data_set_0/%s_%d.pb", dir, kind, i)
				data, ok := files[file]
				if !ok {
					return nil, fmt.Errorf("no file %s", file)
				}
				return fromFile(file, data)
			}
		}
		count := func(kind string) int {
			n := 0
			for files[fmt.Sprintf("%s/test_data_set_0/%s_%d.pb", dir, kind, n)] != nil {
				n++
			}
			return n
		}
		cases = append(cases, conformanceCase{name: dir, model: model, feed: func(m *graph.Model) (map[string]*graph.Tensor, error) {
			return named(m.Graph.Inputs(), count("input"), load("input"))
		}, expect: func(m *graph.Model) (map[string]*graph.Tensor, error) {
			return named(m.Graph.Outputs(), count("output"), load("output"))
		}})
	}
	conform(t, "node", 326, cases)
}

// TestWildCorpus takes files that other people's tools wrote. They come without
// data: inputs are made up, and some models cannot run on such.
func TestWildCorpus(t *testing.T) {
	var cases []conformanceCase
	for name, model := range unzip(t, "../../shared/onnx-wild.zip") {
		if path.Ext(name) == ".onnx" {
			cases = append(cases, conformanceCase{name: name, model: model})
		}
	}
	conform(t, "wild", 266, cases)
}

// TestModels takes the models of this repository and of its optional
// neighbour, on made-up inputs.
func TestModels(t *testing.T) {
	var cases []conformanceCase
	for _, pattern := range []string{"../testmodels/*.onnx", "../testmodels/*/*.onnx", "../../shared/models/*.onnx"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			cases = append(cases, conformanceCase{name: file, model: data, dir: filepath.Dir(file)})
		}
	}
	conform(t, "models", len(cases), cases)
	if len(cases) == 0 {
		t.Error("no models")
	}
}

// unzip returns the files in an archive beside the repository.
func unzip(t *testing.T, archive string) map[string][]byte {
	t.Helper()
	z, err := zip.OpenReader(archive)
	if err != nil {
		t.Skipf("the corpus is not here: %v", err)
	}
	defer z.Close()
	files := map[string][]byte{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if files[f.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	return files
}

// named gives the first n values their tensors.
func named(vs []*graph.Value, n int, at func(int) (*graph.Tensor, error)) (map[string]*graph.Tensor, error) {
	if n > len(vs) {
		return nil, fmt.Errorf("%d tensors for %d values", n, len(vs))
	}
	ts := map[string]*graph.Tensor{}
	for i, v := range vs[:n] {
		t, err := at(i)
		if err != nil {
			return nil, err
		}
		ts[v.Name()] = t
	}
	return ts, nil
}

// fromFile reads a serialized tensor. Sequences and optional values, which
// ONNX's test data also has, are errors.
func fromFile(name string, data []byte) (*graph.Tensor, error) {
	var p onnxpb.TensorProto
	if err := onnxpb.Unmarshal(data, &p); err != nil || p.DataType == nil {
		return nil, fmt.Errorf("the data is no tensor")
	}
	p.Name = ptr("value")
	m := model(&onnxpb.GraphProto{Initializer: []*onnxpb.TensorProto{&p}})
	pieces, _, err := onnxpb.Marshal(m)
	if err != nil {
		return nil, err
	}
	g, err := importer.Decode(name, slices.Concat(pieces...), "")
	if err != nil {
		return nil, err
	}
	return g.Graph.Value("value").Const(), nil
}
