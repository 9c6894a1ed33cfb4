package importer_test

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"nuwa/exporter"
	"nuwa/graph"
	"nuwa/importer"
)

// large writes a model with n weights of 4 MB each and returns its path.
func large(t testing.TB, n int) string {
	m := graph.NewModel(graph.Opset{Version: 17})
	v := m.Graph.AddInput("x", graph.TensorType(graph.Float32, graph.Fixed(1024)))
	data := make([]byte, 4<<20)
	for i := range data {
		data[i] = byte(i * 2654435761 >> 13)
	}
	for range n {
		w := m.Graph.AddConst("w", &graph.Tensor{Type: graph.Float32, Dims: []int64{1024, 1024}, Data: data})
		v = m.Graph.Add("MatMul", "", []*graph.Value{v, w}).Output(0)
	}
	m.Graph.AddOutput(v)
	path := filepath.Join(t.TempDir(), "large.onnx")
	if _, err := exporter.Write(m, path, exporter.Options{}); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestWeightsAreNotCopied holds importing to allocating next to nothing beside
// the size of the weights.
func TestWeightsAreNotCopied(t *testing.T) {
	path := large(t, 8)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	m, err := importer.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("importing 32 MB of weights allocates %d bytes, want less than 1 MB", got)
	}
	runtime.ReadMemStats(&before)
	if _, err := exporter.Write(m, path+".copy", exporter.Options{}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
		t.Errorf("exporting 32 MB of weights allocates %d bytes, want less than 4 MB", got)
	}
	a, errA := os.ReadFile(path)
	b, errB := os.ReadFile(path + ".copy")
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Error("the copy differs from the file", errA, errB)
	}
}

// BenchmarkLoad350MB compares importing a large model with reading its file.
func BenchmarkLoad350MB(b *testing.B) {
	path := large(b, 88)
	for b.Loop() {
		start := time.Now()
		if _, err := os.ReadFile(path); err != nil {
			b.Fatal(err)
		}
		read := time.Since(start)
		start = time.Now()
		m, err := importer.Load(path)
		if err != nil {
			b.Fatal(err)
		}
		sum := byte(0)
		for _, v := range m.Graph.Consts() { // touch every page
			for i := 0; i < len(v.Const().Data); i += 4096 {
				sum += v.Const().Data[i]
			}
		}
		_ = sum
		b.ReportMetric(float64(time.Since(start))/float64(read), "load/read")
	}
}
