package grad_test

import (
	"context"
	"math"
	"testing"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/grad"
)

const tiny = "../../testmodels/tiny/"

// With one mask per image, the gradient of an image is that of running it
// alone, and their sum that of the mask that all share.
func TestMasksPerImage(t *testing.T) {
	for _, file := range []string{"packed_17_dynamic.onnx", "mlp_conv.onnx", "torchvision_14_dynamic.onnx"} {
		t.Run(file, func(t *testing.T) {
			m := clean(t, tiny+file)
			shared, own := prepare(t, m.Clone(), 3, false), prepare(t, m.Clone(), 3, true)
			for k, name := range shared.masks {
				of := floats(t, shared.feeds[name])
				own.feeds[own.masks[k]] = repeat(of, own.feeds[own.masks[k]])
			}
			all, each := shared.gradients(t, shared.masks, grad.Options{}), own.gradients(t, own.masks, grad.Options{})
			images, labels := shared.feeds[shared.image], floats(t, shared.feeds[shared.loss.Labels])
			batch := int(images.Dims[0])
			sum := map[string][]float64{}
			for i := range batch {
				alone := *shared
				alone.feeds = map[string]*graph.Tensor{}
				for k, v := range shared.feeds {
					alone.feeds[k] = v
				}
				size := len(images.Data) / batch
				alone.feeds[shared.image] = &graph.Tensor{Type: images.Type, Dims: append([]int64{1}, images.Dims[1:]...), Data: images.Data[i*size : (i+1)*size]}
				alone.feeds[shared.loss.Labels] = graph.NewTensor([]int64{1}, []int64{int64(labels[i])})
				for k, g := range alone.gradients(t, shared.masks, grad.Options{Keep: true}) {
					row := floats(t, g)
					at := 0
					for j := range shared.masks {
						if shared.masks[j] == k {
							at = j
						}
					}
					rows := floats(t, each[own.masks[at]])
					if sum[k] == nil {
						sum[k] = make([]float64, len(row))
					}
					for j, x := range row {
						if y := rows[i*len(row)+j]; math.Abs(x-y) > 1e-5*(1+math.Abs(x)) {
							t.Fatalf("image %d, %s[%d]: %g in the batch, %g alone", i, k, j, y, x)
						}
						sum[k][j] += x
					}
				}
			}
			for k, g := range all {
				for j, x := range floats(t, g) {
					if math.Abs(x-sum[k][j]) > 1e-5*(1+math.Abs(x)) {
						t.Fatalf("%s[%d]: %g shared, images add up to %g", k, j, x, sum[k][j])
					}
				}
			}
		})
	}
}

// repeat gives every row of a tensor like t the same elements.
func repeat(row []float64, t *graph.Tensor) *graph.Tensor {
	xs := make([]float64, t.Len())
	for i := range xs {
		xs[i] = row[i%len(row)]
	}
	out, err := graph.FromFloats(t.Type, t.Dims, xs)
	if err != nil {
		panic(err)
	}
	return out
}

// A mask of ones changes nothing, and only the operand asked for is masked.
func TestMaskOfOnes(t *testing.T) {
	ctx := context.Background()
	m := clean(t, tiny+"packed_17_dynamic.onnx")
	out := m.Graph.Outputs()[0].Name()
	feeds, err := engine.Inputs(m, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	before, err := eng.Run(ctx, m, feeds)
	if err != nil {
		t.Fatal(err)
	}
	s := prepare(t, m, 2, false)
	for _, name := range s.masks {
		feeds[name] = repeat([]float64{1}, s.feeds[name])
	}
	plain, err := engine.Tap(s.m, out)
	if err != nil {
		t.Fatal(err)
	}
	feeds[s.loss.Labels] = s.feeds[s.loss.Labels]
	after, err := eng.Run(ctx, plain, feeds)
	if err != nil {
		t.Fatal(err)
	}
	a, b := floats(t, before[out]), floats(t, after[out])
	for i := range a {
		if math.Abs(a[i]-b[i]) > 1e-5 {
			t.Errorf("logit %d was %g, is %g", i, a[i], b[i])
		}
	}
}

func TestMaskRefusals(t *testing.T) {
	ctx := context.Background()
	m := graph.NewModel(graph.Opset{Version: 17})
	x := m.Graph.AddInput("x", graph.TensorType(graph.Float32, graph.Sym("batch"), graph.Fixed(5), graph.Fixed(4)))
	flat := m.Graph.Add("Reshape", "flat", []*graph.Value{x, m.Graph.AddConst("shape", graph.NewTensor([]int64{2}, []int64{-1, 4}))})
	neg := m.Graph.Add("Neg", "neg", []*graph.Value{flat.Output(0)})
	m.Graph.AddOutput(neg.Output(0))
	shapes, err := eng.Shapes(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		node    *graph.Node
		operand int
		opt     grad.MaskOptions
		kind    fault.Kind
	}{
		{neg, 0, grad.MaskOptions{Axis: 1, PerImage: true}, fault.Unsupported}, // images and tokens in one axis
		{neg, 0, grad.MaskOptions{Axis: 2}, fault.Usage},                       // grows with the batch
		{neg, 0, grad.MaskOptions{Axis: 3}, fault.Usage},
		{neg, 1, grad.MaskOptions{Axis: 1}, fault.Usage},
		{flat, 1, grad.MaskOptions{Axis: 1}, fault.Usage}, // integers
		{neg, 0, grad.MaskOptions{Axis: 1}, 0},
	} {
		if _, err := grad.AddMask(m, shapes, c.node, c.operand, c.opt); fault.KindOf(err) != c.kind {
			t.Errorf("%s operand %d %+v: %v", c.node, c.operand, c.opt, err)
		}
	}
}

// The gradient graph reads the weights where they are, adds next to no
// constants, and has only standard operators, so that any runtime takes it
// unoptimized.
func TestGradientGraphIsPlain(t *testing.T) {
	s := prepare(t, clean(t, tiny+"packed_17_dynamic.onnx"), 2, false)
	for _, keep := range []bool{false, true} {
		back, names, err := grad.Backward(s.m, s.loss.Value, s.masks, s.shapes, grad.Options{Keep: keep})
		if err != nil {
			t.Fatal(err)
		}
		added := 0
		for _, v := range back.Graph.Consts() {
			switch old := s.m.Graph.Value(v.Name()); {
			case old == nil:
				added += len(v.Const().Data)
			case len(v.Const().Data) > 0 && &old.Const().Data[0] != &v.Const().Data[0]:
				t.Errorf("%s was copied", v.Name())
			}
		}
		if added > 4096 {
			t.Errorf("%d bytes of constants were added", added)
		}
		for _, n := range back.Graph.Nodes() {
			if n.Domain != "" {
				t.Errorf("%s is not an operator of ONNX", n)
			}
		}
		plain := &engine.Engine{Threads: 1, Plain: true}
		a, err := plain.Run(context.Background(), back, s.feeds)
		if err != nil {
			t.Fatal(err)
		}
		b, err := eng.Run(context.Background(), back, s.feeds)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			x, y := floats(t, a[name]), floats(t, b[name])
			for i := range x {
				if math.Abs(x[i]-y[i]) > 1e-5*(1+math.Abs(x[i])) {
					t.Errorf("%s[%d] is %g, optimized %g", name, i, x[i], y[i])
				}
			}
		}
	}
}
