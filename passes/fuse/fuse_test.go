package fuse_test

import (
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/passes/fuse"
	"nuwa/passes/passtest"
)

func count(m *graph.Model, op string) (n int) {
	for _, x := range m.Graph.Nodes() {
		if x.Op == op {
			n++
		}
	}
	return n
}

// Models of two blocks come out equal, with as many fused operators as they
// have parts.
func TestFuse(t *testing.T) {
	for _, c := range []struct {
		file            string
		form            fuse.Form
		opset           int64
		attention       string
		gelu            string
		fused, activate int
		linears         int // at least
	}{
		{"packed_17_dynamic.onnx", fuse.ORT, 17, "Attention", "BiasGelu", 2, 2, 4},
		{"separate_14_dynamic.onnx", fuse.ORT, 14, "Attention", "BiasGelu", 2, 2, 4},
		{"torchvision_17_dynamic.onnx", fuse.ORT, 17, "Attention", "BiasGelu", 2, 2, 2}, // tokens first; a Gemm projects
		{"torchvision_17_dynamic.onnx", fuse.Standard, 23, "Attention", "Gelu", 2, 2, 0},
		{"packed_17_dynamic.onnx", fuse.Standard, 23, "Attention", "Gelu", 2, 2, 0},
		{"packed_17_dynamic.onnx", fuse.Standard, 17, "Attention", "Gelu", 0, 0, 0},
	} {
		t.Run(c.file+"_"+c.attention, func(t *testing.T) {
			m := passtest.CleanTiny(t, c.file)
			m.SetOpset("", c.opset)
			m.IRVersion = max(m.IRVersion, 10)
			want := passtest.Run(t, m)
			done, err := fuse.Attention(m, passtest.Find(t, m), c.form)
			if err != nil {
				t.Fatal(err)
			}
			passtest.Tidy(t, m)
			shapes, err := passtest.Engine.Shapes(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			gelus := fuse.Gelus(m, shapes, c.form)
			linears := 0
			if c.form == fuse.ORT {
				if shapes, err = passtest.Engine.Shapes(t.Context(), m); err != nil {
					t.Fatal(err)
				}
				linears = fuse.Linears(m, shapes)
			}
			passtest.Tidy(t, m)
			if done.Count != c.fused || count(m, c.attention) != c.fused {
				t.Errorf("%d attentions are fused, want %d: %s", done.Count, c.fused, strings.Join(done.Kept, "; "))
			}
			if c.fused > 0 && count(m, "Softmax") > 0 {
				t.Errorf("%d softmaxes are left", count(m, "Softmax"))
			}
			if gelus != c.activate || count(m, c.gelu) != c.activate {
				t.Errorf("%d activations are fused, want %d", gelus, c.activate)
			}
			if linears < c.linears {
				t.Errorf("%d products took their bias in, want at least %d", linears, c.linears)
			}
			passtest.Near(t, "fused", want, passtest.Run(t, m), 1e-5)
		})
	}
}

// What is added to the logits goes along; a softmax that something else reads
// stays.
func TestAttentionBias(t *testing.T) {
	for _, read := range []bool{false, true} {
		m := passtest.CleanTiny(t, "separate_14_dynamic.onnx")
		var softmax *graph.Node
		for _, n := range m.Graph.Nodes() {
			if n.Is("Softmax") {
				softmax = n
				break
			}
		}
		dims, _ := passtest.Find(t, m).Shapes.At(softmax.Input(0), 1)
		xs := make([]float32, dims[1]*dims[2]*dims[3])
		for i := range xs {
			xs[i] = float32(i%13) / 5
		}
		bias := m.Graph.AddConst("bias", graph.NewTensor(dims[1:], xs))
		softmax.SetInput(0, m.Graph.Add("Add", "biased", []*graph.Value{softmax.Input(0), bias}).Output(0))
		if read {
			m.Graph.AddOutput(softmax.Output(0))
			softmax.Output(0).Type = graph.TensorType(graph.Float32, graph.Dim{}, graph.Dim{}, graph.Dim{}, graph.Dim{})
		}
		passtest.Tidy(t, m)
		want := passtest.Run(t, m)
		done, err := fuse.Attention(m, passtest.Find(t, m), fuse.ORT)
		if err != nil {
			t.Fatal(err)
		}
		passtest.Tidy(t, m)
		if fused := map[bool]int{false: 2, true: 1}[read]; done.Count != fused || len(done.Kept) != 2-fused {
			t.Errorf("%d attentions are fused, want %d; kept: %v", done.Count, fused, done.Kept)
		}
		passtest.Near(t, "fused", want, passtest.Run(t, m), 1e-5)
	}
}
