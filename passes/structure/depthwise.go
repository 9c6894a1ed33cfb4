package structure

import (
	"fmt"

	"nuwa/graph"
)

// depthwise reports whether n is a convolution that keeps channels apart: as
// many groups as channels, and one filter for each.
func (f *finder) depthwise(n *graph.Node) bool {
	w := constWeight(n)
	if w == nil || w.Dims[1] != 1 || n.IntAttr("group", 1) != w.Dims[0] {
		return false
	}
	in, ok := f.shapes.Of(n.Input(0))
	return ok && len(in) == len(w.Dims) && in[1] == fixed(int(w.Dims[0]))
}

// constWeight returns the weight of a convolution of one computed tensor whose
// weight and bias are constants, else nil.
func constWeight(n *graph.Node) *graph.Tensor {
	if !n.Is("Conv") || len(computed(n)) != 1 || n.Input(0).Const() != nil || n.Input(1) == nil {
		return nil
	}
	w := n.Input(1).Const()
	if w == nil || !w.Type.IsFloat() || len(w.Dims) < 3 {
		return nil
	}
	if b := n.Input(2); b != nil && b.Const().Len() != w.Dims[0] {
		return nil
	}
	return w
}

// throughConv carries lanes through a depthwise convolution.
func (r *region) throughConv(f *finder, n *graph.Node, l lanes, give func(*graph.Value, lanes) string) string {
	if !f.depthwise(n) {
		return n.String() + " mixes hidden channels"
	}
	if rank := len(n.Input(1).Const().Dims); l.axis != rank-1 {
		return n.String() + " mixes tokens, which are hidden channels here"
	}
	r.convs = append(r.convs, n)
	return give(n.Input(0), l)
}

// narrowConv keeps the filters of the kept channels of a depthwise
// convolution.
func (m *MLP) narrowConv(g *graph.Graph, n *graph.Node, kept []bool) error {
	at := pick(m.region.lanes[n.Output(0)].of, kept)
	for i := 1; i <= 2; i++ {
		v := n.Input(i)
		if v == nil {
			continue
		}
		t, err := takeAxis(v.Const(), 0, at)
		if err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
		n.SetInput(i, g.AddConst(v.Name(), t))
	}
	n.SetAttr(graph.Int("group", int64(len(at))))
	return nil
}

// patchMap returns the convolution that gives v as a linear map of the patches
// it slides over: its kernel may have any size, and only its output channels
// are channels of a tensor. It can stand in front of a hidden layer, where a
// convolution with a kernel of one can stand anywhere.
func (f *finder) patchMap(v *graph.Value) *Linear {
	if l, ok := f.patches[v]; ok {
		return l
	}
	n := v.Producer()
	w := constWeight(n)
	if w == nil || n.Graph() != f.g || n.IntAttr("group", 1) != 1 || n.Domain != "" && n.Domain != "ai.onnx" {
		return nil
	}
	l := &Linear{Node: n, In: n.Input(0), Out: v, W: n.Input(1), B: n.Input(2), outFirst: true, Axis: len(w.Dims) - 1,
		OutDim: int(w.Dims[0]), InDim: int(graph.Elements(w.Dims[1:]))}
	f.patches[v] = l
	return l
}

// patches counts the convolutions with larger kernels in front of m.
func (m *MLP) patches() int {
	n := 0
	for _, l := range m.First {
		if l.Node.Is("Conv") && graph.Elements(l.W.Const().Dims[2:]) > 1 {
			n++
		}
	}
	return n
}
