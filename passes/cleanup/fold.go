package cleanup

import (
	"bytes"
	"context"
	"fmt"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// largest is how many bytes a folded constant may have when its operands are
// smaller; expanding a scalar to a whole feature map saves nothing.
const largest = 1 << 20

// batches are the sizes that shape arithmetic is run at. Two would tell how a
// number grows with the batch; the third proves it.
var batches = []int{2, 3, 5}

// random operators give other results on each run.
var random = []string{"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}

// Constants turns Constant nodes into initializers.
func Constants(m *graph.Model) int {
	n := 0
	for g := range m.Graphs {
		for _, c := range append([]*graph.Node(nil), g.Nodes()...) {
			t := constant(c)
			if t == nil || c.Output(0).IsOutput() {
				continue
			}
			c.Output(0).ReplaceUses(g.AddConst(c.Output(0).Name(), t))
			if c.Remove() == nil {
				n++
			}
		}
	}
	return n
}

// constant reads the value of a Constant node; nil when c is none, or holds a
// kind of value that no initializer can.
func constant(c *graph.Node) *graph.Tensor {
	if !c.Is("Constant") {
		return nil
	}
	for _, a := range c.Attrs() {
		switch {
		case a.Ref != "":
			return nil
		case a.Name == "value" && len(a.Tensors) == 1:
			t := a.Tensors[0].Clone()
			t.Name = ""
			return t
		case a.Name == "value_int":
			return graph.Scalar(a.I)
		case a.Name == "value_ints":
			return graph.NewTensor([]int64{int64(len(a.Ints))}, a.Ints)
		case a.Name == "value_float":
			return graph.Scalar(a.F)
		case a.Name == "value_floats":
			return graph.NewTensor([]int64{int64(len(a.Floats))}, a.Floats)
		}
	}
	return nil
}

// Fold replaces what does not depend on the elements of the inputs. Values
// made of constants become constants. Values made of shapes (the targets of
// Reshape, and the scale that some exporters compute from a width) are run at
// three batch sizes: those that stay equal become constants; those that grow
// with the batch become 0 or −1 in the target of a Reshape, and a small
// expression over the first dimension of the model's input elsewhere, so that
// nothing asks an inner value for its shape any more. It returns how many
// values were replaced.
func Fold(ctx context.Context, eng *engine.Engine, m *graph.Model) (int, error) {
	if err := m.Graph.Sort(); err != nil {
		return 0, err
	}
	static := staticNodes(m.Graph)
	values, shaped := frontier(m.Graph, static)
	if len(values) == 0 {
		return 0, nil
	}
	sizes := batches
	if !shaped || !engine.DynamicBatch(m) {
		sizes = []int{1}
	}
	runs, err := evaluate(ctx, eng, m, values, sizes)
	if err != nil {
		return 0, err
	}
	var shapes *engine.Shapes
	done := 0
	for _, v := range values {
		at := make([]*graph.Tensor, len(sizes))
		same := true
		for i, r := range runs {
			at[i] = r[v.Name()]
			same = same && at[i] != nil && bytes.Equal(at[i].Data, at[0].Data) && fmt.Sprint(at[i].Dims) == fmt.Sprint(at[0].Dims)
		}
		switch {
		case at[0] == nil || at[0].Type == graph.String:
		case same && tooLarge(v, at[0]):
		case same:
			c := m.Graph.AddConst(v.Name(), at[0])
			c.Type = nil
			v.ReplaceUses(c)
			done++
		default:
			if shapes == nil {
				if shapes, err = eng.Shapes(ctx, m); err != nil {
					return done, err
				}
			}
			if freeze(m, v, at, sizes, shapes) {
				done++
			}
		}
	}
	engine.Trim(m.Graph)
	return done, nil
}

// tooLarge reports whether folding v into t would make the model larger.
func tooLarge(v *graph.Value, t *graph.Tensor) bool {
	if len(t.Data) <= largest {
		return false
	}
	have := 0
	for _, x := range v.Producer().Inputs() {
		if x != nil && x.Const() != nil {
			have += len(x.Const().Data)
		}
	}
	return len(t.Data) > 2*have
}

// staticNodes returns the nodes whose results do not depend on the elements
// of the inputs: those fed by constants, by shapes, and by each other.
func staticNodes(g *graph.Graph) map[*graph.Node]bool {
	static := map[*graph.Node]bool{}
	for _, n := range g.Nodes() {
		ok := len(n.Subgraphs()) == 0 && !n.Is(random...) && !n.Is("DequantizeLinear", "QuantizeLinear") && (n.Domain == "" || n.Domain == "ai.onnx")
		if ok && !n.Is("Shape", "Size") {
			for _, v := range n.Inputs() {
				if v != nil && v.Const() == nil && !static[v.Producer()] {
					ok = false
				}
			}
		}
		static[n] = ok
	}
	return static
}

// frontier lists the results of static nodes that other nodes read, and tells
// whether any of them depends on a shape.
func frontier(g *graph.Graph, static map[*graph.Node]bool) (values []*graph.Value, shaped bool) {
	fromShape := map[*graph.Node]bool{}
	for _, n := range g.Nodes() {
		if !static[n] {
			continue
		}
		fromShape[n] = n.Is("Shape", "Size")
		for _, v := range n.Inputs() {
			if v != nil && fromShape[v.Producer()] {
				fromShape[n] = true
			}
		}
		for _, v := range n.Outputs() {
			if v == nil {
				continue
			}
			for _, u := range v.Uses() {
				if u.Node != nil && !static[u.Node] {
					values = append(values, v)
					shaped = shaped || fromShape[n]
					break
				}
			}
		}
	}
	return values, shaped
}

// evaluate runs what values depend on at each batch size.
func evaluate(ctx context.Context, eng *engine.Engine, m *graph.Model, values []*graph.Value, sizes []int) ([]map[string]*graph.Tensor, error) {
	names := make([]string, len(values))
	for i, v := range values {
		names[i] = v.Name()
	}
	tap, err := engine.Tap(m, names...)
	if err != nil {
		return nil, err
	}
	for _, v := range tap.Graph.Outputs() {
		v.Type = nil
	}
	for _, v := range append([]*graph.Value(nil), tap.Graph.Inputs()...) {
		if len(v.Uses()) == 0 && v.Default() == nil {
			if err := tap.Graph.RemoveInput(v); err != nil {
				return nil, err
			}
		}
	}
	plain := engine.Engine{Threads: eng.Threads, Plain: true}
	s, err := plain.Open(tap)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var runs []map[string]*graph.Tensor
	for _, b := range sizes {
		feeds, err := engine.Inputs(tap, b, 1)
		if err != nil {
			return nil, err
		}
		out, err := s.Run(ctx, feeds, nil)
		if err != nil {
			return nil, err
		}
		runs = append(runs, out)
	}
	return runs, nil
}
