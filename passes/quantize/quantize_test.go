package quantize_test

import (
	"testing"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/passes/passtest"
	"nuwa/passes/quantize"
)

// A model of two blocks, all its linear maps in integers, stays near to itself
// on what it was calibrated on; each weight takes a byte.
func TestConvert(t *testing.T) {
	for _, tail := range []float64{0, 1e-3} {
		m := passtest.CleanTiny(t, "packed_17_dynamic.onnx")
		shapes, err := passtest.Engine.Shapes(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		sites, left := quantize.Find(m, shapes)
		if len(sites) != 9 || len(left) != 1 { // four maps per block and the classifier; the patch embedding
			t.Fatalf("%d sites, want 9; left: %v", len(sites), left)
		}
		var feeds []map[string]*graph.Tensor
		for _, b := range []int{1, 3} { // those that passtest runs on
			f, err := engine.Inputs(m, b, 7)
			if err != nil {
				t.Fatal(err)
			}
			feeds = append(feeds, f)
		}
		ranges, err := quantize.Measure(t.Context(), passtest.Engine, m, sites, tail, shapes, feeds)
		if err != nil {
			t.Fatal(err)
		}
		for x, r := range ranges {
			if r.Low > 0 || r.High < 0 || r.Low == r.High {
				t.Errorf("%s has the range %v", x, r)
			}
		}
		q := m.Clone()
		if err := quantize.Convert(q, sites, ranges); err != nil {
			t.Fatal(err)
		}
		if err := q.Check(); err != nil {
			t.Fatal(err)
		}
		eight := 0
		for _, v := range q.Graph.Consts() {
			if c := v.Const(); c != nil && c.Type == graph.Int8 && len(c.Dims) == 2 {
				eight++
			} else if c != nil && c.Type == graph.Float32 && len(c.Dims) == 2 && c.Len() > 64 && v.Users()[0].Is("MatMul", "Gemm") {
				t.Errorf("the weight %q is still in single precision", v.Name())
			}
		}
		if eight != len(sites) {
			t.Errorf("%d weights in integers, want %d", eight, len(sites))
		}
		passtest.Near(t, "in integers", passtest.Run(t, m), passtest.Run(t, q), 5e-2)
	}
}

// One matrix whose products are exact in integers stays exact.
func TestExact(t *testing.T) {
	passtest.Start(t)
	m := graph.NewModel(graph.Opset{Version: 13})
	x := m.Graph.AddInput("x", graph.TensorType(graph.Float32, graph.Fixed(1), graph.Fixed(2)))
	w := m.Graph.AddConst("w", graph.NewTensor([]int64{2, 2}, []float32{127, 0.5, -64, -63.5}))
	m.Graph.AddOutput(m.Graph.Add("MatMul", "y", []*graph.Value{x, w}).Output(0))
	m.Graph.Outputs()[0].Type = &graph.Type{Elem: graph.Float32}
	q := m.Clone()
	if err := quantize.Convert(q, []quantize.Site{{Node: m.Graph.Nodes()[0], Name: "y"}}, map[string]quantize.Range{"x": {Low: -55, High: 200}}); err != nil {
		t.Fatal(err)
	}
	feeds := map[string]*graph.Tensor{"x": graph.NewTensor([]int64{1, 2}, []float32{200, -55})}
	want, err := passtest.Engine.Run(t.Context(), m, feeds)
	if err != nil {
		t.Fatal(err)
	}
	got, err := passtest.Engine.Run(t.Context(), q, feeds)
	if err != nil {
		t.Fatal(err)
	}
	if d := passtest.Distance(want, got); !(d <= 1e-6) {
		t.Errorf("got %v, want %v", got["y"].Data, want["y"].Data)
	}
}

func TestOldOpset(t *testing.T) {
	m := graph.NewModel(graph.Opset{Version: 12})
	if err := quantize.Convert(m, nil, nil); fault.KindOf(err) != fault.Unsupported {
		t.Errorf("got %v, want an error about the opset", err)
	}
}
