package grad_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/importer"
	"nuwa/internal/engine"
	"nuwa/internal/grad"
	"nuwa/passes/cleanup"
	"nuwa/passes/expand"
	"nuwa/passes/half"
	"nuwa/passes/structure"
	"nuwa/testmodels"
)

var eng = &engine.Engine{Threads: 1}

// clean loads a model and folds its constants and shape arithmetic.
func clean(t *testing.T, path string) *graph.Model {
	t.Helper()
	ctx := context.Background()
	m, err := importer.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	half.Widen(m)
	_, settled := cleanup.Settle(ctx, eng, m, [2]int{})
	_, inlined := cleanup.Inline(m)
	cleanup.InitializersAsInputs(m)
	cleanup.Constants(m)
	cleanup.Identities(m, nil)
	_, folded := cleanup.Fold(ctx, eng, m)
	_, frozen := cleanup.Freeze(ctx, eng, m)
	if err := errors.Join(settled, inlined, folded, frozen); err != nil {
		t.Fatal(err)
	}
	cleanup.Dead(m)
	if expand.Needed(m) {
		shapes, err := eng.Shapes(ctx, m)
		if err != nil {
			t.Fatal(err)
		}
		expand.Expand(m, shapes)
		if _, err := cleanup.Fold(ctx, eng, m); err != nil {
			t.Fatal(err)
		}
		cleanup.Dead(m)
	}
	return m
}

// subject is a model with a loss, masks on its hidden layers, and values whose
// gradients are checked.
type subject struct {
	rounding float64 // of slopes, from that of the four losses they are made of in float32

	m      *graph.Model
	vit    *structure.ViT
	loss   grad.Loss
	masks  []string
	inner  []string // results of nodes
	image  string
	feeds  map[string]*graph.Tensor
	shapes *engine.Shapes
}

// prepare masks every hidden layer of m. With perImage masks the batch must be
// an axis of its own in front of each second linear map.
func prepare(t *testing.T, m *graph.Model, batch int, perImage bool) *subject {
	t.Helper()
	ctx := context.Background()
	vit, err := structure.Find(ctx, eng, m)
	if err != nil {
		t.Fatal(err)
	}
	s := &subject{m: m, vit: vit, image: engine.Feeds(m)[0].Name()}
	for _, p := range vit.MLPs {
		name, err := grad.AddMask(m, vit.Shapes, p.Second.Node, 0, grad.MaskOptions{Axis: p.Second.Axis, PerImage: perImage})
		if err != nil {
			t.Fatal(err)
		}
		s.masks = append(s.masks, name)
		s.inner = append(s.inner, p.Second.Out.Name())
	}
	for _, n := range m.Graph.Nodes() {
		if n.Is("Softmax") && !n.Output(0).IsOutput() {
			s.inner = append(s.inner, n.Input(0).Name())
		}
	}
	if s.loss, err = grad.AddLoss(m, vit.Shapes, m.Graph.Outputs()[0].Name(), grad.LossOptions{Sum: true}); err != nil {
		t.Fatal(err)
	}
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	if s.shapes, err = eng.Shapes(ctx, m); err != nil {
		t.Fatal(err)
	}
	if s.feeds, err = engine.Inputs(m, batch, 5); err != nil {
		t.Fatal(err)
	}
	for _, name := range s.masks {
		s.feeds[name] = drawn(s.feeds[name], func(r *rand.Rand) float64 { return 0.5 + r.Float64() })
	}
	classes, _ := s.shapes.Of(m.Graph.Outputs()[0])
	labels := s.feeds[s.loss.Labels]
	xs := make([]int64, labels.Len())
	for i := range xs {
		xs[i] = int64(3*i+1) % classes[len(classes)-1].Fixed
	}
	s.feeds[s.loss.Labels] = graph.NewTensor(labels.Dims, xs)
	return s
}

// drawn is a tensor like t with other elements.
func drawn(t *graph.Tensor, draw func(r *rand.Rand) float64) *graph.Tensor {
	r := rand.New(rand.NewPCG(uint64(t.Len()), 7))
	xs := make([]float64, t.Len())
	for i := range xs {
		xs[i] = draw(r)
	}
	out, err := graph.FromFloats(t.Type, t.Dims, xs)
	if err != nil {
		panic(err)
	}
	return out
}

// signs draws −1 and 1.
func signs(r *rand.Rand) float64 { return float64(2*r.IntN(2) - 1) }

// gradients runs the gradient graph.
func (s *subject) gradients(t *testing.T, wrt []string, opt grad.Options) map[string]*graph.Tensor {
	t.Helper()
	back, names, err := grad.Backward(s.m, s.loss.Value, wrt, s.shapes, opt)
	if err != nil {
		t.Fatal(err)
	}
	if err := back.Check(); err != nil {
		t.Fatal(err)
	}
	out, err := eng.Run(context.Background(), back, s.feeds)
	if err != nil {
		t.Fatalf("%v\n%s", err, back)
	}
	gs := map[string]*graph.Tensor{}
	for v, name := range names {
		gs[v] = out[name]
	}
	return gs
}

// slopes returns the derivative of the loss along a direction in each of
// inputs and inner values, by fourth-order central differences with the given
// step.
func (s *subject) slopes(t *testing.T, directions map[string]*graph.Tensor, step float64) map[string]float64 {
	t.Helper()
	ctx := context.Background()
	m := s.m.Clone()
	feeds := map[string]*graph.Tensor{}
	for name, v := range s.feeds {
		feeds[name] = v
	}
	amount := map[string]string{}
	for _, name := range s.inner { // v becomes v + amount·direction
		v := m.Graph.Value(name)
		in := m.Graph.AddInput("amount:"+name, graph.TensorType(graph.Float32, graph.Fixed(1)))
		feeds[in.Name()] = graph.NewTensor([]int64{1}, []float32{0})
		amount[name] = in.Name()
		uses := append([]graph.Use(nil), v.Uses()...)
		along := m.Graph.Add("Mul", "along", []*graph.Value{in, m.Graph.AddConst("direction", directions[name])}).Output(0)
		moved := m.Graph.Add("Add", "moved", []*graph.Value{v, along}).Output(0)
		for _, u := range uses {
			u.Node.SetInput(u.Index, moved)
		}
	}
	m.Graph.ClearOutputs()
	m.Graph.AddOutput(m.Graph.Value(s.loss.PerSample))
	session, err := eng.Open(m)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	out := map[string]float64{}
	for name, d := range directions {
		at := func(x float64) float64 {
			moved := map[string]*graph.Tensor{}
			for k, v := range feeds {
				moved[k] = v
			}
			if in := amount[name]; in != "" {
				moved[in] = graph.NewTensor([]int64{1}, []float32{float32(x)})
			} else {
				base, dir := floats(t, feeds[name]), floats(t, d)
				for i := range base {
					base[i] += x * dir[i]
				}
				moved[name], _ = graph.FromFloats(d.Type, d.Dims, base)
			}
			res, err := session.Run(ctx, moved, nil)
			if err != nil {
				t.Fatal(err)
			}
			sum := 0.0
			for _, l := range floats(t, res[s.loss.PerSample]) {
				sum += l
			}
			return sum
		}
		h := step
		s.rounding = 18.0 / (1 << 24) * math.Abs(at(0)) / (12 * h)
		out[name] = (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h)
	}
	return out
}

func floats(t *testing.T, x *graph.Tensor) []float64 {
	t.Helper()
	if x == nil {
		t.Fatal("no such output")
	}
	xs, err := x.Floats()
	if err != nil {
		t.Fatal(err)
	}
	return xs
}

// along returns ⟨g, d⟩ and ‖g‖·‖d‖/√n, the size that the product has for a
// direction drawn at random.
func along(t *testing.T, g, d *graph.Tensor) (dot, size float64) {
	a, b := floats(t, g), floats(t, d)
	gg, dd := 0.0, 0.0
	for i := range a {
		dot += a[i] * b[i]
		gg += a[i] * a[i]
		dd += b[i] * b[i]
	}
	return dot, math.Sqrt(gg * dd / float64(len(a)))
}

// notImages are models of the zoo that have no loss of an image's classes.
var notImages = []string{
	"bert",                                  // takes words
	"optimum_clip",                          // compares images with words
	"detector_nms", "detector_topk", "detr", // give boxes
	"dinov3", "segformer", // give a vector per place
	"hf_bert_legacy17", "hf_CLIPModel_dynamo", // as above
	"hf_DINOv3ViTModel_dynamo", "hf_SiglipVisionModel_dynamo", "hf_VitDetModel_dynamo", // give features
}

// notSmooth are models of the zoo that finite differences in single precision
// say nothing about.
var notSmooth = []string{
	"weights_int8", "qdq", "dynamic_int8", // round on the way
	"half", "timm_vit_dynamo_transformers-vit-0-fp16", // compute in half precision
	"bfloat16",        // takes images in it
	"mask_of_tokens",  // hides tokens by the sign of a number
	"grouped_contrib", // keeps an attention that is not spelled out
}

// paths returns the test models and the zoo, with the CIFAR model where it is
// there.
func paths(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("../../testmodels/tiny/*.onnx")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 60 {
		t.Fatalf("found %d tiny models", len(all))
	}
	zoo, err := testmodels.Zoo()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range zoo {
		if !slices.Contains(slices.Concat(notImages, notSmooth), strings.TrimSuffix(filepath.Base(m.File), ".onnx")) {
			all = append(all, m.Path())
		}
	}
	if _, err := os.Stat(cifar); errors.Is(err, fs.ErrNotExist) {
		t.Log("skipped the CIFAR model: ../shared is not there")
		return all
	}
	return append(all, cifar)
}

const cifar = "../../../shared/models/cifar10_vit.onnx"

// TestModels holds gradients with respect to masks, attention logits, outputs
// of hidden layers and the image to finite differences, on every test model.
func TestModels(t *testing.T) {
	var table bytes.Buffer
	fmt.Fprint(&table, "# Gradients of whole models against finite differences\n\n",
		"Slope of the cross-entropy along random directions, three images: the gradient's against that of fourth-order central differences in\n",
		"float32, the difference relative to the size of the gradient. The worst of all values of a kind. Written by\n",
		"`go test ./internal/grad -run TestModels -update`.\n\n",
		"| model | masks | inner values | image |\n|---|---|---|---|\n")
	for _, path := range paths(t) {
		name := strings.TrimSuffix(filepath.Base(path), ".onnx")
		t.Run(name, func(t *testing.T) {
			s := prepare(t, clean(t, path), 3, false)
			wrt := append(append([]string{s.image}, s.masks...), s.inner...)
			again, kept := s.gradients(t, wrt, grad.Options{}), s.gradients(t, wrt, grad.Options{Keep: true})
			directions := map[string]*graph.Tensor{}
			for _, v := range wrt {
				directions[v] = drawn(again[v], signs)
			}
			step, tolerance := 0.01, 2e-3
			for _, n := range s.m.Graph.Nodes() {
				if n.Is("Relu", "HardSigmoid", "HardSwish", "MaxPool", "ReduceMax") { // steps must be small to cross few kinks, and then rounding shows
					step, tolerance = 0.001, 2e-2
				}
			}
			slopes := s.slopes(t, directions, step)
			worst := map[string]float64{}
			for _, v := range wrt {
				kind := "inner"
				switch {
				case v == s.image:
					kind = "image"
				case strings.HasPrefix(v, "mask"):
					kind = "masks"
				}
				dot, size := along(t, again[v], directions[v])
				other, _ := along(t, kept[v], directions[v])
				if math.Abs(dot-other) > 1e-5*size {
					t.Errorf("slope along %s is %g computed again, %g kept", v, dot, other)
				}
				d := math.Abs(dot-slopes[v]) / size
				worst[kind] = max(worst[kind], d)
				if !(d < tolerance+s.rounding/size) {
					t.Errorf("slope along %s is %g, finite differences say %g (size %g)", v, dot, slopes[v], size)
				}
			}
			cell := func(kind string) string {
				if d, ok := worst[kind]; ok {
					return fmt.Sprintf("%.0e", d)
				}
				return ""
			}
			fmt.Fprintf(&table, "| %s | %s | %s | %s |\n", name, cell("masks"), cell("inner"), cell("image"))
		})
	}
	t.Log("\n" + table.String())
	if update() && !t.Failed() {
		if err := os.WriteFile("testdata/models.md", table.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// update reports whether the tests were run with -update.
func update() bool { return flag.Lookup("update").Value.String() == "true" }
