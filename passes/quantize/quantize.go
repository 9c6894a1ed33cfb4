// Package quantize computes linear maps in 8-bit integers, as QuantizeLinear and
// DequantizeLinear around them say (QDQ), which runtimes take in.
//
//	sites := quantize.Find(model, shapes)
//	ranges, err := quantize.Measure(ctx, eng, model, sites, 0, feeds)
//	err = quantize.Convert(model, sites, ranges)
//
// Weights are symmetric signed integers with a scale per output channel.
// Activations are unsigned, with one scale and zero point that calibration on
// sample inputs gives (static quantization). Results, and everything between
// linear maps, stay in single precision.
//
// The package may import graph, internal/engine and internal/fault.
package quantize

import (
	"context"
	"fmt"
	"math"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
)

// Site is a linear map with constant weights: MatMul or Gemm.
type Site struct {
	Node *graph.Node
	Name string // of the node, which tells it in a clone of the model
}

// Find returns the maps of m's main graph that can be quantized, in order, and
// names those that cannot. Every site gets a name.
func Find(m *graph.Model, s *engine.Shapes) (sites []Site, left []string) {
	for _, n := range m.Graph.Nodes() {
		if !n.Is("MatMul", "Gemm", "Conv") || n.Input(1) == nil || n.Input(1).Const() == nil || n.Input(0).Const() != nil {
			continue
		}
		w := n.Input(1).Const()
		plain := n.Is("MatMul") && len(w.Dims) == 2 || n.Is("Gemm") && n.IntAttr("transA", 0) == 0 && n.FloatAttr("alpha", 1) == 1 && n.FloatAttr("beta", 1) == 1
		if !plain || w.Type != graph.Float32 || s.Elem(n.Input(0)) != graph.Float32 {
			left = append(left, n.String())
			continue
		}
		sites = append(sites, Site{n, n.Output(0).Name()})
	}
	return sites, left
}

// Range is the smallest and the largest value that an activation is to hold.
type Range struct{ Low, High float64 }

// Measure runs m on feeds and returns the range of what every site reads. With
// a tail above 0, that part of the values, at either end, is left out of each
// run, and the ends of all runs are averaged: outliers then cost no resolution.
// The extremes are taken by ONNX Runtime.
func Measure(ctx context.Context, eng *engine.Engine, m *graph.Model, sites []Site, tail float64, s *engine.Shapes, feeds []map[string]*graph.Tensor) (map[string]Range, error) {
	probe := m.Clone()
	g := probe.Graph
	flat := g.AddConst("flat", graph.NewTensor([]int64{1}, []int64{-1}))
	type ends struct{ low, high string }
	of := map[string]ends{} // by value
	var names []string
	for _, site := range sites {
		x := site.Node.Input(0).Name()
		if _, ok := of[x]; ok {
			continue
		}
		v := g.Value(x)
		var low, high *graph.Value
		if tail > 0 {
			dims, ok := s.At(site.Node.Input(0), batchOf(feeds[0]))
			if !ok {
				return nil, &fault.Error{Kind: fault.Internal, Where: site.Name, Got: "a shape that is not known"}
			}
			k := max(1, int64(tail*float64(graph.Elements(dims))))
			row := g.Add("Reshape", x+"_flat", []*graph.Value{v, flat}).Output(0)
			end := func(largest int64, name string) *graph.Value {
				n := g.Add("TopK", x+name, []*graph.Value{row, g.AddConst("k", graph.NewTensor([]int64{1}, []int64{k}))}, graph.Int("largest", largest))
				n.AddOutput(g.UniqueName(x + name + "_at"))
				last := g.AddConst("last", graph.NewTensor([]int64{1}, []int64{k - 1}))
				return g.Add("Gather", x+name+"_end", []*graph.Value{n.Output(0), last}).Output(0)
			}
			low, high = end(0, "_low"), end(1, "_high")
		} else {
			low = g.Add("ReduceMin", x+"_low", []*graph.Value{v}, graph.Int("keepdims", 0)).Output(0)
			high = g.Add("ReduceMax", x+"_high", []*graph.Value{v}, graph.Int("keepdims", 0)).Output(0)
		}
		of[x] = ends{low.Name(), high.Name()}
		names = append(names, low.Name(), high.Name())
	}
	runs, err := eng.Compute(ctx, probe, names, feeds...)
	if err != nil {
		return nil, err
	}
	ranges := map[string]Range{}
	for x, e := range of {
		var r Range
		for _, run := range runs {
			low, err1 := run[e.low].Floats()
			high, err2 := run[e.high].Floats()
			if err1 != nil || err2 != nil {
				return nil, fmt.Errorf("the range of %q cannot be read", x)
			}
			if tail > 0 {
				r.Low += low[0] / float64(len(runs))
				r.High += high[0] / float64(len(runs))
			} else {
				r.Low, r.High = min(r.Low, low[0]), max(r.High, high[0])
			}
		}
		ranges[x] = Range{min(r.Low, 0), max(r.High, 0)} // zero is a number of its own
	}
	return ranges, nil
}

func batchOf(feeds map[string]*graph.Tensor) int {
	for _, t := range feeds {
		return int(t.Dims[0])
	}
	return 1
}

// Convert quantizes the sites of m, which must be of opset 13 or newer. ranges
// are by the name of the value that a site reads.
func Convert(m *graph.Model, sites []Site, ranges map[string]Range) error {
	if m.Opset("") < 13 {
		return &fault.Error{Kind: fault.Unsupported, Where: "int8", Got: fmt.Sprintf("a model of opset %d", m.Opset("")), Want: "13 or newer, where weights may have a scale per channel", Remedy: "give --opset 13"}
	}
	activations := map[*graph.Value]*graph.Value{}
	for _, site := range sites {
		n := m.Graph.Value(site.Name).Producer()
		x := n.Input(0)
		if activations[x] == nil {
			r, ok := ranges[x.Name()]
			if !ok {
				return &fault.Error{Kind: fault.Internal, Where: n.String(), Got: "an activation whose range is not known"}
			}
			activations[x] = around(m.Graph, x, r)
		}
		if n.Is("Gemm") {
			n = spell(m.Graph, n)
		}
		w, err := weights(m.Graph, n.Input(1))
		if err != nil {
			return err
		}
		n.SetInput(0, activations[x])
		n.SetInput(1, w)
	}
	m.Graph.Infos = nil
	engine.Trim(m.Graph)
	return m.Graph.Sort()
}

// around puts QuantizeLinear and DequantizeLinear behind x.
func around(g *graph.Graph, x *graph.Value, r Range) *graph.Value {
	scale := max((r.High-r.Low)/255, math.SmallestNonzeroFloat32*1e8)
	zero := min(max(math.Round(-r.Low/scale), 0), 255)
	s := g.AddConst(x.Name()+"_scale", graph.Scalar(float32(scale)))
	z := g.AddConst(x.Name()+"_zero", graph.Scalar(uint8(zero)))
	q := g.Add("QuantizeLinear", x.Name()+"_quantized", []*graph.Value{x, s, z}).Output(0)
	return g.Add("DequantizeLinear", x.Name()+"_levels", []*graph.Value{q, s, z}).Output(0)
}

// spell writes a Gemm as a MatMul and, where it has a bias, an Add, as runtimes
// take in a product only without one.
func spell(g *graph.Graph, n *graph.Node) *graph.Node {
	w := n.Input(1)
	if n.IntAttr("transB", 0) != 0 {
		t := w.Const()
		rows, cols := int(t.Dims[0]), int(t.Dims[1])
		turned := &graph.Tensor{Type: t.Type, Dims: []int64{t.Dims[1], t.Dims[0]}, Data: make([]byte, len(t.Data))}
		for i := range rows {
			for j := range cols {
				copy(turned.Data[4*(j*rows+i):4*(j*rows+i)+4], t.Data[4*(i*cols+j):])
			}
		}
		w = g.AddConst(w.Name()+"_turned", turned)
	}
	product := g.Add("MatMul", n.Output(0).Name()+"_product", []*graph.Value{n.Input(0), w})
	y := product.Output(0)
	if b := n.Input(2); b != nil {
		y = g.Add("Add", n.Output(0).Name()+"_biased", []*graph.Value{y, b}).Output(0)
	}
	n.Output(0).ReplaceUses(y)
	return product
}

// weights returns a matrix [in, out] as 8-bit integers behind a
// DequantizeLinear.
func weights(g *graph.Graph, w *graph.Value) (*graph.Value, error) {
	t := w.Const()
	xs, err := t.Floats()
	if err != nil {
		return nil, err
	}
	in, out := int(t.Dims[0]), int(t.Dims[1])
	scales, zeros := make([]float32, out), make([]int8, out)
	levels := make([]int8, len(xs))
	for j := range out {
		top := 0.0
		for i := range in {
			top = max(top, math.Abs(xs[i*out+j]))
		}
		scale := float32(max(top/127, 1e-12))
		scales[j] = scale
		for i := range in {
			levels[i*out+j] = int8(min(max(math.RoundToEven(xs[i*out+j]/float64(scale)), -127), 127))
		}
	}
	name := w.Name()
	dims := slices.Clone(t.Dims)
	return g.Add("DequantizeLinear", name+"_weights", []*graph.Value{g.AddConst(name+"_int8", graph.NewTensor(dims, levels)),
		g.AddConst(name+"_scales", graph.NewTensor([]int64{int64(out)}, scales)), g.AddConst(name+"_zeros", graph.NewTensor([]int64{int64(out)}, zeros))},
		graph.Int("axis", 1)).Output(0), nil
}
