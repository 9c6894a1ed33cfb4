package half_test

import (
	"testing"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/passes/half"
	"nuwa/passes/passtest"
)

func convert(t *testing.T, m *graph.Model) (halves, islands int) {
	t.Helper()
	shapes, err := passtest.Engine.Shapes(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	feeds, err := engine.Inputs(m, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	peak, err := half.Measure(t.Context(), passtest.Engine, m, shapes, feeds)
	if err != nil {
		t.Fatal(err)
	}
	halves, islands, err = half.Convert(m, shapes, peak)
	if err != nil {
		t.Fatal(err)
	}
	passtest.Tidy(t, m)
	return halves, islands
}

func TestConvert(t *testing.T) {
	for _, file := range []string{"packed_11_dynamic.onnx", "torchvision_17_dynamic.onnx"} {
		m := passtest.CleanTiny(t, file)
		want := passtest.Run(t, m)
		halves, islands := convert(t, m)
		if halves == 0 || islands == 0 {
			t.Errorf("%s: %d nodes in half precision, %d in single", file, halves, islands)
		}
		for _, v := range m.Graph.Consts() {
			if c := v.Const(); c != nil && c.Type == graph.Float32 && len(c.Dims) > 1 && c.Dims[0] > 1 {
				t.Errorf("%s: the weight %q is still in single precision", file, v.Name())
			}
		}
		passtest.Near(t, file, want, passtest.Run(t, m), 5e-3)
		if n := half.Ports(m); n != 2 {
			t.Errorf("%s: %d inputs and outputs in half precision, want 2", file, n)
		}
		passtest.Tidy(t, m)
		for _, out := range passtest.Run(t, m) {
			for name, y := range out {
				if y.Type != graph.Float16 {
					t.Errorf("%s: %q is %s", file, name, y.Type)
				}
			}
		}
	}
}

// Values that half precision cannot hold stay in single precision.
func TestLarge(t *testing.T) {
	passtest.Start(t)
	m := graph.NewModel(graph.Opset{Version: 13})
	x := m.Graph.AddInput("x", graph.TensorType(graph.Float32, graph.Fixed(2), graph.Fixed(4)))
	y := m.Graph.Add("Mul", "up", []*graph.Value{x, m.Graph.AddConst("k", graph.Scalar(float32(1e5)))}).Output(0)
	y = m.Graph.Add("Mul", "down", []*graph.Value{y, m.Graph.AddConst("j", graph.Scalar(float32(1e-5)))}).Output(0)
	y = m.Graph.Add("Tanh", "y", []*graph.Value{y}).Output(0)
	y.Type = graph.TensorType(graph.Float32, graph.Fixed(2), graph.Fixed(4))
	m.Graph.AddOutput(y)
	want := passtest.Run(t, m)
	if halves, islands := convert(t, m); halves != 1 || islands != 2 {
		t.Errorf("%d nodes in half precision and %d in single, want 1 and 2", halves, islands)
	}
	passtest.Near(t, "large", want, passtest.Run(t, m), 2e-3)
}
