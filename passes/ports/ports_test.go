package ports_test

import (
	"slices"
	"testing"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/passes/passtest"
	"nuwa/passes/ports"
)

func run(t *testing.T, m *graph.Model, x *graph.Tensor) *graph.Tensor {
	t.Helper()
	out, err := passtest.Engine.Run(t.Context(), m, map[string]*graph.Tensor{engine.Feeds(m)[0].Name(): x})
	if err != nil {
		t.Fatal(err)
	}
	return out[m.Graph.Outputs()[0].Name()]
}

// A model of batch 1 that is opened gives three samples what it gives each
// alone, and fixed to three it does so too.
func TestBatch(t *testing.T) {
	for _, file := range []string{"packed_11_static.onnx", "chunk_17_static.onnx", "interleaved_14_static.onnx"} {
		m := passtest.Tiny(t, file)
		passtest.Clean(t, m)
		open := m.Clone()
		shapes, err := passtest.Engine.Shapes(t.Context(), open)
		if err != nil {
			t.Fatal(err)
		}
		if err := ports.OpenBatch(open, shapes); err != nil {
			t.Fatal(err)
		}
		if !engine.DynamicBatch(open) {
			t.Errorf("%s: the batch is not open", file)
		}
		feeds, err := engine.Inputs(open, 3, 9)
		if err != nil {
			t.Fatal(err)
		}
		x := feeds[engine.Feeds(open)[0].Name()]
		var each []byte
		for i := range 3 {
			part := &graph.Tensor{Type: x.Type, Dims: append([]int64{1}, x.Dims[1:]...), Data: x.Data[i*len(x.Data)/3 : (i+1)*len(x.Data)/3]}
			each = append(each, run(t, m, part).Data...)
		}
		want := run(t, open, x)
		if d := passtest.Distance(passtest.Outputs{"y": want}, passtest.Outputs{"y": {Type: want.Type, Dims: want.Dims, Data: each}}); !(d <= 1e-5) {
			t.Errorf("%s: three samples differ from one at a time by %.2g", file, d)
		}
		if err := ports.FixBatch(open, 3); err != nil {
			t.Fatal(err)
		}
		if d := passtest.Distance(passtest.Outputs{"y": want}, passtest.Outputs{"y": run(t, open, x)}); !(d <= 1e-5) || engine.DynamicBatch(open) {
			t.Errorf("%s: fixed to its batch it gives something else, or is not fixed", file)
		}
		if err := ports.FixBatch(open, 2); err == nil {
			t.Errorf("%s: a fixed batch was changed", file)
		}
	}
}

func TestLayout(t *testing.T) {
	m := passtest.Tiny(t, "packed_17_dynamic.onnx")
	feeds, err := engine.Inputs(m, 2, 9)
	if err != nil {
		t.Fatal(err)
	}
	x := feeds[engine.Feeds(m)[0].Name()]
	want := run(t, m, x)
	if err := ports.Layout(m, "nhwc"); err != nil {
		t.Fatal(err)
	}
	n, c, h, w := int(x.Dims[0]), int(x.Dims[1]), int(x.Dims[2]), int(x.Dims[3])
	y := &graph.Tensor{Type: x.Type, Dims: []int64{x.Dims[0], x.Dims[2], x.Dims[3], x.Dims[1]}, Data: make([]byte, len(x.Data))}
	for i := range n * c * h * w {
		b, k, r, s := i/(c*h*w), i/(h*w)%c, i/w%h, i%w
		copy(y.Data[4*(((b*h+r)*w+s)*c+k):][:4], x.Data[4*i:])
	}
	if got := run(t, m, y); !slices.Equal(got.Data, want.Data) {
		t.Error("images with channels last give something else")
	}
	if err := ports.Layout(m, "nchw"); err != nil {
		t.Fatal(err)
	}
	if got := run(t, m, x); !slices.Equal(got.Data, want.Data) {
		t.Error("brought back, the model gives something else")
	}
}
