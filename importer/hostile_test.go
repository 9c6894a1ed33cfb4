package importer_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"nuwa/importer"
	"nuwa/internal/fault"
	"nuwa/internal/onnxpb"
)

// refused holds err to being a fault of the given kind with a remedy whose
// text has every one of the words.
func refused(t *testing.T, err error, kind fault.Kind, words ...string) {
	t.Helper()
	var e *fault.Error
	if !errors.As(err, &e) {
		t.Errorf("got %v, want a refusal that says %q", err, words)
		return
	}
	if e.Kind != kind || e.Remedy == "" || e.File == "" {
		t.Errorf("the refusal %q has kind %s, file %q, remedy %q; want kind %s", e, e.Kind, e.File, e.Remedy, kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the refusal %q does not say %q", err, w)
		}
	}
}

func decode(t *testing.T, p *onnxpb.ModelProto) error {
	t.Helper()
	_, err := importer.Decode("test.onnx", serialize(t, p), "")
	return err
}

func TestNotONNX(t *testing.T) {
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	w, err := z.Create("archive/data.pkl")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for what, data := range map[string]string{
		"an empty file":           "",
		"a Git LFS pointer":       "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
		"a PyTorch checkpoint":    archive.String(),
		"a zip archive":           strings.ReplaceAll(archive.String(), "data.pkl", "data.txt"),
		"a Python pickle":         "\x80\x02}q\x00(X\x06\x00",
		"a compressed file":       "\x1f\x8b\x08\x00\x00",
		"an HDF5 file":            "\x89HDF\r\n\x1a\n",
		"a TensorFlow Lite model": "\x1c\x00\x00\x00TFL3\x14\x00",
		"ORT format":              "\x1c\x00\x00\x00ORTM\x14\x00",
		"a safetensors file":      "\x40\x00\x00\x00\x00\x00\x00\x00{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
		"an HTML page":            "\n<!DOCTYPE html><html><title>404</title></html>",
		"an XML file":             "<?xml version=\"1.0\"?>",
		"a JSON file":             "{\n  \"model_type\": \"vit\"\n}",
		"an image":                "\xff\xd8\xff\xe0\x00\x10JFIF",
		"a program":               "\x7fELF\x02\x01\x01",
		"zero bytes":              strings.Repeat("\x00", 5000),
		"something else":          "These are the release notes of version 7.",
		"a single tensor":         string(serialize(t, floats("input_0", 1, 2, 3))),
		"message without a graph": string(serialize(t, &onnxpb.ModelProto{IrVersion: ptr(int64(8))})),
		"a model without a graph": string(serialize(t, &onnxpb.ModelProto{IrVersion: ptr(int64(8)), ProducerName: ptr("p")})),
	} {
		_, err := importer.Decode("weights.bin", []byte(data), "")
		refused(t, err, fault.Model, "weights.bin", what)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for n := range 500 {
		junk := make([]byte, 1+n*3)
		for i := range junk {
			junk[i] = byte(rng.Uint32())
		}
		_, err := importer.Decode("random", junk, "")
		refused(t, err, fault.Model, "random")
	}
}

func TestTruncated(t *testing.T) {
	p := model(&onnxpb.GraphProto{
		Input: []*onnxpb.ValueInfoProto{info("x", 2)}, Output: []*onnxpb.ValueInfoProto{info("y", 2)},
		Initializer: []*onnxpb.TensorProto{{Name: ptr("w"), Dims: []int64{10000}, DataType: ptr(int32(1)), RawData: make([]byte, 40000)}},
		Node:        []*onnxpb.NodeProto{node("Add", []string{"x", "w"}, "y")},
	})
	whole := serialize(t, p)
	opsets := len(serialize(t, &onnxpb.ModelProto{OpsetImport: p.OpsetImport}))
	for _, n := range []int{len(whole) / 3, len(whole) / 2, len(whole) - opsets - 1} {
		_, err := importer.Decode("cut.onnx", whole[:n], "")
		refused(t, err, fault.Model, "cut short", "missing")
	}
	for n := range 60 {
		if _, err := importer.Decode("cut.onnx", whole[:n], ""); err == nil {
			t.Errorf("the first %d bytes pass", n)
		}
	}
}

func TestUnsoundGraphs(t *testing.T) {
	io := func(nodes ...*onnxpb.NodeProto) *onnxpb.GraphProto {
		return &onnxpb.GraphProto{Name: ptr("main"), Input: []*onnxpb.ValueInfoProto{info("x", 2)}, Output: []*onnxpb.ValueInfoProto{info("y", 2)}, Node: nodes}
	}
	named := func(name string, n *onnxpb.NodeProto) *onnxpb.NodeProto { n.Name = &name; return n }
	nested := node("If", []string{"x"}, "y")
	nested.Attribute = []*onnxpb.AttributeProto{{Name: ptr("then_branch"), Type: ptr(int32(5)), G: &onnxpb.GraphProto{
		Name: ptr("then"), Node: []*onnxpb.NodeProto{node("Relu", []string{"y"}, "b")}, Output: []*onnxpb.ValueInfoProto{info("b")}}}}
	twoInputs := io(node("Relu", []string{"x"}, "y"))
	twoInputs.Input = append(twoInputs.Input, info("x", 3))
	twoConsts := io(node("Relu", []string{"x"}, "y"))
	twoConsts.Initializer = []*onnxpb.TensorProto{floats("w", 1), floats("w", 2)}
	nameless := io(node("Relu", []string{"x"}, "y"))
	nameless.Initializer = []*onnxpb.TensorProto{floats("", 1)}
	producedConst := io(node("Relu", []string{"x"}, "y"))
	producedConst.Initializer = []*onnxpb.TensorProto{floats("y", 1)}
	for _, c := range []struct {
		g     *onnxpb.GraphProto
		words []string
	}{
		{io(named("fc1", node("MatMul", []string{"x", "weight"}, "y"))), []string{`"main"`, `MatMul "fc1"`, `input 1 "weight"`, "nothing produces"}},
		{io(node("Relu", []string{"x"}, "z")), []string{"output 0", `"y"`, "nothing produces"}},
		{io(named("a", node("Relu", []string{"x"}, "y")), named("b", node("Tanh", []string{"x"}, "y"))), []string{`Tanh "b"`, `Relu "a"`, `"y"`}},
		{io(node("Relu", []string{"x"}, "x")), []string{`"x"`, "an input of the graph"}},
		{producedConst, []string{`"y"`, "an initializer"}},
		{io(named("p", node("Add", []string{"x", "v"}, "u")), named("q", node("Relu", []string{"u"}, "v")), node("Relu", []string{"u"}, "y")),
			[]string{"cycle", `Add "p"`, `Relu "q"`}},
		{io(named("self", node("Add", []string{"y", "x"}, "y"))), []string{"cycle", `Add "self"`}},
		{io(nested), []string{"cycle", "If"}},
		{twoInputs, []string{`"x"`, "twice"}}, {twoConsts, []string{`"w"`, "two initializers"}}, {nameless, []string{"initializer 0", "no name"}},
	} {
		refused(t, decode(t, model(c.g)), fault.Model, append(c.words, "test.onnx")...)
	}
	f := model(io(node("Relu", []string{"x"}, "y")))
	f.Functions = []*onnxpb.FunctionProto{{Name: ptr("F"), Node: []*onnxpb.NodeProto{node("Relu", []string{"a"}, "b")}}}
	refused(t, decode(t, f), fault.Model, `"F"`, `"a"`)
}

func TestUnsoundTensors(t *testing.T) {
	for _, c := range []struct {
		p     *onnxpb.TensorProto
		words []string
	}{
		{&onnxpb.TensorProto{DataType: ptr(int32(1)), Dims: []int64{-1}}, []string{"-1", "negative"}},
		{&onnxpb.TensorProto{DataType: ptr(int32(1)), Dims: []int64{1 << 32, 1 << 32}}, []string{"more than"}},
		{&onnxpb.TensorProto{DataType: ptr(int32(1)), Dims: []int64{1 << 62, 4}}, []string{"more than"}},
		{&onnxpb.TensorProto{DataType: ptr(int32(1)), Dims: []int64{1 << 50}}, []string{"0 bytes, want"}},
		{&onnxpb.TensorProto{DataType: ptr(int32(1)), Dims: []int64{3}, RawData: make([]byte, 11)}, []string{"11 bytes, want 12"}},
		{&onnxpb.TensorProto{DataType: ptr(int32(8)), Dims: []int64{3}, StringData: [][]byte{{1}}}, []string{"1 strings, want 3"}},
		{&onnxpb.TensorProto{DataType: ptr(int32(8)), Dims: []int64{3}, RawData: make([]byte, 3)}, []string{"strings in raw_data"}},
		{&onnxpb.TensorProto{DataType: ptr(int32(0)), Dims: []int64{1}}, []string{"element type 0"}},
		{&onnxpb.TensorProto{DataType: ptr(int32(77)), Dims: []int64{1}}, []string{"element type 77", "newer"}},
		{&onnxpb.TensorProto{DataType: ptr(int32(1)), Dims: []int64{1}, Int64Data: []int64{1}}, []string{"int64_data", "float_data"}},
		{&onnxpb.TensorProto{DataType: ptr(int32(1)), Dims: []int64{1}, FloatData: []float32{1}, RawData: make([]byte, 4)}, []string{"float_data", "raw_data"}},
		{&onnxpb.TensorProto{DataType: ptr(int32(2)), Dims: []int64{2}, Int32Data: []int32{7, 256}}, []string{"256 as element 1", "u8"}},
		{&onnxpb.TensorProto{DataType: ptr(int32(10)), Dims: []int64{1}, Int32Data: []int32{-1}}, []string{"-1 as element 0", "f16"}},
		{&onnxpb.TensorProto{DataType: ptr(int32(12)), Dims: []int64{1}, Uint64Data: []uint64{1 << 40}}, []string{"u32"}},
		{&onnxpb.TensorProto{DataType: ptr(int32(1)), Dims: []int64{1}, DataLocation: ptr(int32(5))}, []string{"data location 5"}},
	} {
		c.p.Name = ptr("w")
		g := &onnxpb.GraphProto{Name: ptr("main"), Initializer: []*onnxpb.TensorProto{c.p}}
		refused(t, decode(t, model(g)), fault.Model, append(c.words, `initializer "w"`)...)
		n := node("Constant", nil, "y")
		n.Attribute = []*onnxpb.AttributeProto{{Name: ptr("value"), Type: ptr(int32(4)), T: c.p}}
		refused(t, decode(t, model(&onnxpb.GraphProto{Node: []*onnxpb.NodeProto{n}})), fault.Model, append(c.words, "Constant", `attribute "value"`)...)
	}
}

// TestDeepNesting has more graphs inside each other than any reader allows.
func TestDeepNesting(t *testing.T) {
	g := &onnxpb.GraphProto{}
	for range 5000 {
		n := node("If", nil)
		n.Attribute = []*onnxpb.AttributeProto{{G: g}}
		g = &onnxpb.GraphProto{Node: []*onnxpb.NodeProto{n}}
	}
	refused(t, decode(t, model(g)), fault.Model)
}

func TestExternalData(t *testing.T) {
	outside := t.TempDir()
	dir := filepath.Join(outside, "model")
	secret := filepath.Join(outside, "secret")
	write := func(path string, n int) {
		t.Helper()
		if err := os.WriteFile(path, make([]byte, n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(secret, 64)
	write(filepath.Join(dir, "w.data"), 64)
	write(filepath.Join(dir, "sub", "w.data"), 64)
	for link, to := range map[string]string{"out": secret, "up": "../secret", "in": "w.data", "dir": outside} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	load := func(kv ...string) error {
		w := &onnxpb.TensorProto{Name: ptr("w"), Dims: []int64{4}, DataType: ptr(int32(1)), DataLocation: ptr(int32(1))}
		for i := 0; i < len(kv); i += 2 {
			w.ExternalData = append(w.ExternalData, &onnxpb.StringStringEntryProto{Key: &kv[i], Value: &kv[i+1]})
		}
		path := filepath.Join(dir, "m.onnx")
		p := model(&onnxpb.GraphProto{Initializer: []*onnxpb.TensorProto{w}})
		if err := os.WriteFile(path, serialize(t, p), 0o644); err != nil {
			t.Fatal(err)
		}
		m, err := importer.Load(path)
		if err == nil && len(m.Graph.Value("w").Const().Data) != 16 {
			t.Errorf("%q gives %d bytes", kv, len(m.Graph.Value("w").Const().Data))
		}
		return err
	}
	for _, ok := range [][]string{
		{"location", "w.data"}, {"location", "w.data", "offset", "48"}, {"location", "./w.data", "offset", "16", "length", "16"},
		{"location", "sub/w.data"}, {"location", "sub/../w.data"}, {"location", "in"}, {"location", "w.data", "checksum", "00"},
	} {
		if err := load(ok...); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
	for _, c := range []struct{ entries, words []string }{
		{nil, []string{"without a location"}},
		{[]string{"location", secret}, []string{"secret", "elsewhere"}},
		{[]string{"location", "../secret"}, []string{"../secret", "elsewhere"}},
		{[]string{"location", "sub/../../secret"}, []string{"elsewhere"}},
		{[]string{"location", "out"}, []string{"links out of"}},
		{[]string{"location", "up"}, []string{"links out of"}},
		{[]string{"location", "dir/secret"}, []string{"links out of"}},
		{[]string{"location", "sub"}, []string{"no regular file"}},
		{[]string{"location", "pipe"}, []string{"no regular file"}},
		{[]string{"location", "gone.data"}, []string{"gone.data", "copy the data file"}},
		{[]string{"location", "w.data", "offset", "49"}, []string{"64 bytes", "offset 49"}},
		{[]string{"location", "w.data", "offset", "9223372036854775807"}, []string{"offset 9223372036854775807"}},
		{[]string{"location", "w.data", "offset", "-1"}, []string{`"-1"`}},
		{[]string{"location", "w.data", "offset", "99999999999999999999"}, []string{"99999999999999999999"}},
		{[]string{"location", "w.data", "length", "64"}, []string{"64 bytes", "want 16"}},
		{[]string{"location", "w.data", "length", "x"}, []string{`"x"`}},
	} {
		refused(t, load(c.entries...), fault.Model, append(c.words, "m.onnx", `"w"`)...)
	}
	w := &onnxpb.TensorProto{Name: ptr("w"), Dims: []int64{4}, DataType: ptr(int32(1)), DataLocation: ptr(int32(1)),
		ExternalData: []*onnxpb.StringStringEntryProto{{Key: ptr("location"), Value: ptr("w.data")}}}
	refused(t, decode(t, model(&onnxpb.GraphProto{Initializer: []*onnxpb.TensorProto{w}})), fault.Model, "w.data", "from its file")
}

// asNobody is set in the environment of the child that may not read the file
// it names.
const asNobody = "NUWA_TEST_UNREADABLE"

func TestMain(m *testing.M) {
	if path := os.Getenv(asNobody); path != "" {
		_, err := importer.Load(path)
		os.Stdout.WriteString(err.Error())
		os.Exit(fault.ExitCode(err))
	}
	os.Exit(m.Run())
}

func TestUnopenable(t *testing.T) {
	dir := t.TempDir()
	_, err := importer.Load(dir)
	refused(t, err, fault.IO, dir, "a folder")
	_, err = importer.Load(filepath.Join(dir, "gone.onnx"))
	refused(t, err, fault.IO, "gone.onnx", "no such file")
	pipe := filepath.Join(dir, "pipe.onnx")
	if err := syscall.Mkfifo(pipe, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = importer.Load(pipe)
	refused(t, err, fault.IO, "special file")
	empty := filepath.Join(dir, "empty.onnx")
	if err := os.WriteFile(empty, nil, 0); err != nil {
		t.Fatal(err)
	}

	cmd := exec.Command(os.Args[0])
	cmd.Env = append(slices.Clone(os.Environ()), asNobody+"="+empty)
	if os.Geteuid() == 0 { // root may read everything
		for d := dir; len(d) > len(os.TempDir()); d = filepath.Dir(d) {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, os.ErrPermission) {
		t.Skip("another user cannot run this test's program")
	}
	if code := cmd.ProcessState.ExitCode(); code != int(fault.IO) || !strings.Contains(string(out), "may not be read") {
		t.Errorf("exit code %d (%v), output %s", code, err, out)
	}
}
