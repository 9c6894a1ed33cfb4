package exporter_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"nuwa/exporter"
	"nuwa/graph"
	"nuwa/importer"
	"nuwa/internal/fault"

	"golang.org/x/sys/unix"
)

// weighty is a model with two large weights, a small one, and a large constant
// inside a node.
func weighty() *graph.Model {
	m := graph.NewModel(graph.Opset{Version: 17})
	x := m.Graph.AddInput("x", graph.TensorType(graph.Float32, graph.Sym("n"), graph.Fixed(100)))
	fill := func(n int, seed float32) []float32 {
		xs := make([]float32, n)
		for i := range xs {
			xs[i] = seed + float32(i)
		}
		return xs
	}
	w1 := m.Graph.AddConst("w1", graph.NewTensor([]int64{100, 30}, fill(3000, 1)))
	w2 := m.Graph.AddConst("w2", graph.NewTensor([]int64{30, 50}, fill(1500, 2)))
	b := m.Graph.AddConst("b", graph.NewTensor([]int64{50}, fill(50, 3)))
	h := m.Graph.Add("MatMul", "fc1", []*graph.Value{x, w1}).Output(0)
	h = m.Graph.Add("MatMul", "fc2", []*graph.Value{h, w2}).Output(0)
	c := m.Graph.Add("Constant", "c", nil, graph.TensorAttr("value", graph.NewTensor([]int64{400, 50}, fill(20000, 4)))).Output(0)
	h = m.Graph.Add("Gemm", "g", []*graph.Value{h, c, b}, graph.Int("transB", 0)).Output(0)
	m.Graph.AddOutput(h)
	return m
}

func encode(t *testing.T, m *graph.Model) []byte {
	t.Helper()
	b, err := exporter.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func load(t *testing.T, path string) *graph.Model {
	t.Helper()
	m, err := importer.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// files lists the names in dir.
func files(t *testing.T, dir string) string {
	t.Helper()
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range es {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func kind(t *testing.T, err error, want fault.Kind) {
	t.Helper()
	var e *fault.Error
	if !errors.As(err, &e) || e.Kind != want || e.Remedy == "" {
		t.Errorf("got %v (kind %s), want kind %s with a remedy", err, fault.KindOf(err), want)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	m := weighty()
	info, err := exporter.Write(m, path, exporter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	whole := encode(t, m)
	if got := read(t, path); !bytes.Equal(got, whole) || info.Bytes != int64(len(whole)) || info.DataPath != "" {
		t.Errorf("wrote %d bytes, reports %+v; Encode gives %d bytes", len(got), info, len(whole))
	}
	if !bytes.Equal(whole, encode(t, m.Clone())) || !bytes.Equal(whole, encode(t, load(t, path))) {
		t.Error("the same model is not always written as the same bytes")
	}
	_, err = exporter.Write(m, path, exporter.Options{})
	kind(t, err, fault.Exists)
	if _, err := exporter.Write(m, path, exporter.Options{Force: true}); err != nil {
		t.Error(err)
	}
	_, err = exporter.Write(m, dir, exporter.Options{Force: true})
	kind(t, err, fault.Exists)
	if got := files(t, dir); got != "m.onnx" {
		t.Errorf("the folder holds %s", got)
	}
}

func TestWriteExternal(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	m := weighty()
	info, err := exporter.Write(m, path, exporter.Options{Weights: exporter.External, Validate: func(tmp string) error {
		load(t, tmp) // finds its data
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if got := files(t, dir); got != "m.onnx m.onnx.data" || info.DataPath != path+".data" || info.DataBytes != 3*4096+6000 {
		t.Errorf("the folder holds %s, reported as %+v", got, info)
	}
	ext := load(t, path)
	for name, storage := range map[string]graph.Storage{"w1": graph.StoreExternal, "w2": graph.StoreExternal, "b": graph.StoreRaw} {
		got, want := ext.Graph.Value(name).Const(), m.Graph.Value(name).Const()
		if got.Storage != storage || !bytes.Equal(got.Data, want.Data) {
			t.Errorf("%s comes back in storage %d with %d bytes", name, got.Storage, len(got.Data))
		}
	}
	for _, d := range diff(t, encode(t, m), encode(t, ext)) {
		t.Error(d)
	}

	again := filepath.Join(dir, "again.onnx")
	if _, err := exporter.Write(ext, again, exporter.Options{}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, again+".data"), read(t, path+".data")) {
		t.Error("external data does not stay external")
	}
	one := filepath.Join(dir, "one.onnx")
	if _, err := exporter.Write(ext, one, exporter.Options{Weights: exporter.Embedded}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, one), encode(t, m)) {
		t.Error("embedding external data gives another model")
	}
	_, err = exporter.Write(ext, path, exporter.Options{})
	kind(t, err, fault.Exists)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	_, err = exporter.Write(ext, path, exporter.Options{}) // the data file is still there
	kind(t, err, fault.Exists)
	if _, err := exporter.Write(ext, path, exporter.Options{Force: true}); err != nil { // over the file ext is mapped from
		t.Fatal(err)
	}
	for _, d := range diff(t, encode(t, m), encode(t, load(t, path))) {
		t.Error(d)
	}
}

func TestFailedValidationLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	no := errors.New("not good enough")
	opt := exporter.Options{Weights: exporter.External, Force: true, Validate: func(string) error { return no }}
	if _, err := exporter.Write(weighty(), path, opt); !errors.Is(err, no) {
		t.Errorf("got %v", err)
	}
	if got := files(t, dir); got != "" {
		t.Errorf("left behind: %s", got)
	}
	for _, name := range []string{path, path + ".data"} {
		if err := os.WriteFile(name, []byte("before"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := exporter.Write(weighty(), path, opt); !errors.Is(err, no) {
		t.Errorf("got %v", err)
	}
	if string(read(t, path)) != "before" || string(read(t, path+".data")) != "before" {
		t.Error("what was there before is gone")
	}
}

// TestFailedRenameRestores has the model's name taken by a folder after the
// check, so that only the last step fails.
func TestFailedRenameRestores(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	if err := os.WriteFile(path+".data", []byte("before"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := exporter.Write(weighty(), path, exporter.Options{Weights: exporter.External, Force: true, Validate: func(string) error {
		return os.Mkdir(path, 0o755)
	}})
	kind(t, err, fault.IO)
	if got := files(t, dir); got != "m.onnx m.onnx.data" || string(read(t, path+".data")) != "before" {
		t.Errorf("the folder holds %s", got)
	}
}

func TestUnwritable(t *testing.T) {
	_, err := exporter.Write(weighty(), filepath.Join(t.TempDir(), "gone", "m.onnx"), exporter.Options{})
	kind(t, err, fault.IO)
	if _, err := os.Stat("/proc/self"); err == nil { // a folder that even root cannot write to
		_, err := exporter.Write(weighty(), "/proc/self/m.onnx", exporter.Options{})
		kind(t, err, fault.IO)
	}
}

// TestDiskFull writes to a file system of 64 KB.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("nuwa", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	defer unix.Unmount(dir, 0)
	for _, weights := range []exporter.Weights{exporter.Embedded, exporter.External} {
		_, err := exporter.Write(weighty(), filepath.Join(dir, "m.onnx"), exporter.Options{Weights: weights})
		kind(t, err, fault.IO)
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free some disk space") {
			t.Errorf("got %v", err)
		}
		if got := files(t, dir); got != "" {
			t.Errorf("left behind: %s", got)
		}
	}
}

// limited is set in the environment of the child that writes to the folder it
// names under a limit on the size of files.
const limited = "NUWA_TEST_LIMITED"

func TestMain(m *testing.M) {
	if dir := os.Getenv(limited); dir != "" {
		limit := unix.Rlimit{Cur: 20000, Max: 20000}
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
			panic(err)
		}
		_, err := exporter.Write(weighty(), filepath.Join(dir, "m.onnx"), exporter.Options{})
		if err != nil {
			os.Stderr.WriteString(err.Error())
		}
		os.Exit(fault.ExitCode(err))
	}
	os.Exit(m.Run())
}

// TestFileTooLarge reaches the limit on file sizes in the middle of the model.
func TestFileTooLarge(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", `trap "" XFSZ; exec "$0"`, os.Args[0]) // an ignored signal makes the write fail instead
	cmd.Env = append(os.Environ(), limited+"="+dir)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != int(fault.IO) || !strings.Contains(string(out), "limit on file sizes") {
		t.Errorf("%v: %s", err, out)
	}
	if got := files(t, dir); got != "" {
		t.Errorf("left behind: %s", got)
	}
}

// TestOverTheLimit has a model too large for one file under a lowered limit.
func TestOverTheLimit(t *testing.T) {
	m := weighty()
	size := int64(len(encode(t, m)))
	defer exporter.LimitModel(size - 1)()
	_, err := exporter.Encode(m)
	kind(t, err, fault.Model)
	path := filepath.Join(t.TempDir(), "m.onnx")
	_, err = exporter.Write(m, path, exporter.Options{Weights: exporter.Embedded})
	kind(t, err, fault.Model)
	info, err := exporter.Write(m, path, exporter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if info.DataPath == "" || info.Bytes > size-1 {
		t.Errorf("wrote %+v", info)
	}
	exporter.LimitModel(size)
	for _, d := range diff(t, encode(t, m), encode(t, load(t, path))) {
		t.Error(d)
	}
	exporter.LimitModel(1000) // less than what cannot go outside
	_, err = exporter.Write(m, path, exporter.Options{Force: true})
	kind(t, err, fault.Model)
}

// TestOver2GB is the same with the real limit. It maps zeros as weights, so it
// takes no memory to speak of, but it writes 2.2 GB.
func TestOver2GB(t *testing.T) {
	if os.Getenv("NUWA_TEST_LARGE") == "" {
		t.Skip("writes 2.2 GB; set NUWA_TEST_LARGE=1 to run it")
	}
	dir := t.TempDir()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Bavail*uint64(st.Bsize) < 4<<30 {
		t.Skip("needs 4 GB of free disk space")
	}
	const n = 275 << 20 // elements of each of two weights
	zeros, err := unix.Mmap(-1, 0, 4*n, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(zeros)
	m := weighty()
	for range 2 {
		w := m.Graph.AddConst("big", &graph.Tensor{Type: graph.Float32, Dims: []int64{n}, Data: zeros})
		m.Graph.AddOutput(w)
	}
	_, err = exporter.Encode(m)
	kind(t, err, fault.Model)
	path := filepath.Join(dir, "m.onnx")
	_, err = exporter.Write(m, path, exporter.Options{Weights: exporter.Embedded})
	kind(t, err, fault.Model)
	info, err := exporter.Write(m, path, exporter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path + ".data"); err != nil || st.Size() < 8*n || st.Size() != info.DataBytes {
		t.Errorf("the data file: %v, %v, reported as %+v", st, err, info)
	}
	back := load(t, path)
	if got := back.Graph.Value("w1").Const(); !bytes.Equal(got.Data, m.Graph.Value("w1").Const().Data) {
		t.Error("w1 is another tensor")
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
