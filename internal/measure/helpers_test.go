package measure

import (
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"nuwa/exporter"
	"nuwa/graph"
	"nuwa/internal/data"
	"nuwa/internal/engine"
)

// side is the size of the test images.
const side = 4

var eng = &engine.Engine{Threads: 1}

// spec describes a model that averages each color channel of an image and
// maps the three means to logits.
type spec struct {
	batch   graph.Dim
	weights [][]float32                                         // 3 rows, one column per logit
	tail    func(g *graph.Graph, y *graph.Value) []*graph.Value // outputs from the logits; nil for the logits alone
}

// colors has the logits red, green, blue and gray; gray wins over the true
// color when an image is pale.
var colors = [][]float32{{1, 0, 0, 0.5}, {0, 1, 0, 0.5}, {0, 0, 1, 0.5}}

func (s spec) graph() *graph.Model {
	m := graph.NewModel(graph.Opset{Version: 17})
	m.Graph.Name = "colors"
	if s.batch.Kind == graph.Unknown {
		s.batch = graph.Sym("batch")
	}
	if s.weights == nil {
		s.weights = colors
	}
	var flat []float32
	for _, row := range s.weights {
		flat = append(flat, row...)
	}
	cols := int64(len(s.weights[0]))
	x := m.Graph.AddInput("image", graph.TensorType(graph.Float32, s.batch, graph.Fixed(3), graph.Fixed(side), graph.Fixed(side)))
	w := m.Graph.AddConst("w", graph.NewTensor([]int64{3, cols}, flat))
	mean := m.Graph.Add("ReduceMean", "mean", []*graph.Value{x}, graph.Ints("axes", 2, 3), graph.Int("keepdims", 0)).Output(0)
	y := m.Graph.Add("MatMul", "head", []*graph.Value{mean, w}).Output(0)
	y.Type = graph.TensorType(graph.Float32, s.batch, graph.Fixed(cols))
	outs := []*graph.Value{y}
	if s.tail != nil {
		outs = s.tail(m.Graph, y)
	}
	for _, o := range outs {
		m.Graph.AddOutput(o)
	}
	return m
}

func (s spec) open(t *testing.T) *Model {
	t.Helper()
	return open(t, Source{Graph: s.graph()})
}

func open(t *testing.T, src Source) *Model {
	t.Helper()
	m, err := Open(src, eng)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func encode(t *testing.T, m *graph.Model) []byte {
	t.Helper()
	b, err := exporter.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// plain is an image of one color; 0..255 become 0..1.
func plain(r, g, b uint8) image.Image {
	img := image.NewRGBA(image.Rect(0, 0, side, side))
	for i := range side * side {
		img.Set(i%side, i/side, color.RGBA{r, g, b, 255})
	}
	return img
}

// photos has three classes. Deciding among red, green and blue, 9 of 10
// images are right: a red one is blue. Among all four logits, the pale blue
// and the pale green one are gray.
func photos(t *testing.T) *data.Set {
	return folder(t, map[string][]image.Image{
		"blue":  {plain(0, 0, 250), plain(120, 120, 130), plain(20, 30, 200)},
		"green": {plain(0, 200, 0), plain(0, 201, 0), plain(100, 110, 100), plain(10, 90, 20)},
		"red":   {plain(255, 0, 0), plain(200, 10, 20), plain(10, 0, 100)},
	})
}

// folder writes images as a set.
func folder(t *testing.T, classes map[string][]image.Image) *data.Set {
	t.Helper()
	dir := t.TempDir()
	for class, list := range classes {
		for i, img := range list {
			name := filepath.Join(dir, class, fmt.Sprintf("%03d.png", i))
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			f, err := os.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := png.Encode(f, img); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	set, err := data.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set
}

// colorOf maps the classes of photos (blue, green, red) to the logits of spec.
var colorOf = []int{2, 1, 0}

func colorPhotos(t *testing.T) Images { return FromSet(photos(t), data.Default(side, side)) }

func evaluate(t *testing.T, m *Model, images Images, classOf []int, opt EvalOptions) *Accuracy {
	t.Helper()
	a, err := Evaluate(t.Context(), m, images, classOf, opt)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func asJSON(t *testing.T, x any) string {
	t.Helper()
	b, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// noisyFolder has classes a, b, … of n random images each.
func noisyFolder(t *testing.T, size, classes, n int) *data.Set {
	t.Helper()
	rng := rand.New(rand.NewPCG(3, 4))
	list := map[string][]image.Image{}
	for c := range classes {
		for range n {
			img := image.NewRGBA(image.Rect(0, 0, size, size))
			for i := range img.Pix {
				img.Pix[i] = byte(rng.IntN(256)) | byte(i%4/3*255) // opaque
			}
			name := string(rune('a' + c))
			list[name] = append(list[name], img)
		}
	}
	return folder(t, list)
}
