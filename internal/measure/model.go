package measure

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/ort"
)

// Source says where a model is: exactly one of Path, Data and Graph.
type Source struct {
	Name   string       // what tables and errors call it; "" means Path, or the graph's name
	Path   string       // a model file, with its external data beside it
	Data   []byte       // a serialized model, with
	Dir    string       // the folder of its external data, if it has any
	Graph  *graph.Model // a model in memory
	Output string       // the output that holds the logits; "" means the first that may
}

// Model is a model in ONNX Runtime. Its methods and the functions that take it
// may be called from several goroutines, save that timing wants the machine
// for itself.
type Model struct {
	Name      string
	Threads   int // inside one operator
	Providers []ort.Provider

	engine  *engine.Engine
	session *ort.Session
	output  string
}

// Open loads a model the way eng runs models. The Model must be closed.
func Open(src Source, eng *engine.Engine) (*Model, error) {
	m := &Model{Name: src.Name, Threads: ort.ThreadCount(eng.Threads), Providers: eng.Providers, engine: eng, output: src.Output}
	opt := ort.Options{Dir: src.Dir, Threads: eng.Threads, Providers: eng.Providers, Provider: eng.Provider}
	if eng.Plain {
		opt.Optimize = ort.None
	}
	var err error
	switch {
	case src.Path != "" && src.Data == nil && src.Graph == nil:
		m.rename(src.Path)
		opt.Name = m.Name
		m.session, err = ort.NewSessionFile(src.Path, opt)
	case src.Path == "" && src.Data != nil && src.Graph == nil:
		opt.Name = m.Name
		m.session, err = ort.NewSession(src.Data, opt)
	case src.Path == "" && src.Data == nil && src.Graph != nil:
		m.rename(src.Graph.Graph.Name)
		m.session, err = eng.Open(src.Graph)
	default:
		err = &fault.Error{Kind: fault.Internal, File: src.Name, Where: "opening a model to measure", Want: "exactly one of Path, Data and Graph"}
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

func (m *Model) rename(name string) {
	if m.Name == "" {
		m.Name = name
	}
}

// Close frees the model.
func (m *Model) Close() error { return m.session.Close() }

// Input returns the input that takes the images: the only one of the model.
func (m *Model) Input() (ort.Info, error) {
	in := m.session.Inputs()
	if len(in) != 1 {
		return ort.Info{}, &fault.Error{Kind: fault.Unsupported, File: m.Name, Got: fmt.Sprintf("%d inputs: %s", len(in), infos(in)),
			Want: "one input that takes images", Remedy: "export the model with the image as its only input"}
	}
	return in[0], nil
}

// Output returns the output that holds the logits: the one that Source.Output
// names, or else the first of a floating type that is declared as one row of
// classes per image, [B,C] or the like of [B,1,C].
func (m *Model) Output() (ort.Info, error) {
	outs := m.session.Outputs()
	if m.output != "" {
		i := slices.IndexFunc(outs, func(o ort.Info) bool { return o.Name == m.output })
		if i >= 0 {
			return outs[i], nil
		}
		return ort.Info{}, &fault.Error{Kind: fault.Usage, File: m.Name, Where: "the output that holds the logits",
			Got: fmt.Sprintf("%q", m.output), Want: "one of " + infos(outs)}
	}
	var open []ort.Info // those that may turn out right
	for _, o := range outs {
		if o.Kind != ort.TensorKind || !o.Type.IsFloat() {
			continue
		}
		if o.Dims == nil {
			open = append(open, o)
		} else if _, ok := rowWidth(o.Dims); ok {
			return o, nil
		}
	}
	if len(open) == 1 {
		return open[0], nil
	}
	return ort.Info{}, &fault.Error{Kind: fault.Unsupported, File: m.Name, Got: "the outputs " + infos(outs),
		Want: "floating-point logits of shape [batch, classes]", Remedy: "name the output that holds the logits"}
}

// Batch returns the number of images that the model takes at once, 0 when
// any number will do.
func (m *Model) Batch() int {
	in := m.session.Inputs()
	if len(in) == 0 || len(in[0].Dims) == 0 {
		return 0
	}
	for _, i := range in {
		if len(i.Dims) > 0 && i.Dims[0] < 0 {
			return 0
		}
	}
	return int(in[0].Dims[0])
}

// Logits returns the number of classes that the model tells apart: what it
// declares, or else what it returns for the first of images.
func (m *Model) Logits(ctx context.Context, images Images) (int, error) {
	out, err := m.Output()
	if err != nil {
		return 0, err
	}
	if c, ok := rowWidth(out.Dims); ok && c > 0 {
		return c, nil
	}
	if len(images.Labels()) == 0 {
		return 0, noImages(m.Name)
	}
	for b, err := range images.Batches(ctx, []int{0}, 1) {
		if err != nil {
			return 0, err
		}
		x, err := m.run(ctx, b.X)
		return x.cols, err
	}
	return 0, ctx.Err()
}

// rowWidth returns the number of classes in a tensor of these dims, −1 if it
// is open. A tensor is one row of classes per image when at most one of the
// dims after the batch is not 1.
func rowWidth(dims []int64) (classes int, ok bool) {
	if len(dims) < 2 {
		return 0, false
	}
	classes = 1
	for _, d := range dims[1:] {
		if d == 1 {
			continue
		}
		if classes != 1 || d == 0 {
			return 0, false
		}
		classes = int(d)
	}
	return classes, true
}

// rows is a matrix in row-major order: the logits of some images.
type rows struct {
	cols int
	data []float64
}

func (r rows) row(i int) []float64 { return r.data[i*r.cols : (i+1)*r.cols] }

// run returns the logits of a batch, whatever number of images the model
// takes at once: too small a batch is filled up with blank images. Infinitely
// low logits, as masked classes may have, become the lowest finite float32.
func (m *Model) run(ctx context.Context, x *graph.Tensor) (rows, error) {
	in, err := m.Input()
	if err != nil {
		return rows{}, err
	}
	out, err := m.Output()
	if err != nil {
		return rows{}, err
	}
	if err := m.accepts(in, x); err != nil {
		return rows{}, err
	}
	n := int(x.Dims[0])
	step := n
	if fixed := m.Batch(); fixed > 0 {
		step = fixed
	}
	var r rows
	for at := 0; at < n; at += step {
		res, err := m.session.Run(ctx, map[string]*graph.Tensor{in.Name: slab(x, at, step)}, []string{out.Name})
		if err != nil {
			return rows{}, err
		}
		if err := m.read(&r, res[out.Name], out.Name, step, min(step, n-at)); err != nil {
			return rows{}, err
		}
	}
	return r, nil
}

// accepts tells in terms of images when x does not fit the input.
func (m *Model) accepts(in ort.Info, x *graph.Tensor) error {
	fits := in.Dims == nil || len(in.Dims) == len(x.Dims)
	for k := 1; fits && k < len(in.Dims); k++ {
		fits = in.Dims[k] < 0 || in.Dims[k] == x.Dims[k]
	}
	if fits && (in.Type == graph.Undefined || in.Type == x.Type) {
		return nil
	}
	return &fault.Error{Kind: fault.Usage, File: m.Name, Where: fmt.Sprintf("input %q", in.Name), Got: "images as " + x.Shape(), Want: in.String(),
		Remedy: "set the size, the layout and the element type of the preprocessing to what the model takes"}
}

// slab returns the step images of x from number at on, blank where x has no
// more.
func slab(x *graph.Tensor, at, step int) *graph.Tensor {
	n := int(x.Dims[0])
	if at == 0 && step == n {
		return x
	}
	part := x.Rows(at, min(at+step, n))
	if blank := step - int(part.Dims[0]); blank > 0 {
		part.Data = append(part.Data, make([]byte, blank*len(x.Data)/n)...)
		part.Dims[0] = int64(step)
	}
	return part
}

// read appends the first n rows of t, the result of a run on batch images.
func (m *Model) read(r *rows, t *graph.Tensor, output string, batch, n int) error {
	where := fmt.Sprintf("output %q", output)
	cols, ok := rowWidth(t.Dims)
	if !ok || t.Dims[0] != int64(batch) || r.cols != 0 && r.cols != cols {
		return &fault.Error{Kind: fault.Unsupported, File: m.Name, Where: where, Got: t.Shape(),
			Want: fmt.Sprintf("one row of logits for each of %d images", batch), Remedy: "name the output that holds the logits"}
	}
	xs, err := t.Floats()
	if err != nil {
		return &fault.Error{Kind: fault.Unsupported, File: m.Name, Where: where, Err: err, Want: "floating-point logits"}
	}
	r.cols = cols
	for _, x := range xs[:n*cols] {
		if math.IsNaN(x) || math.IsInf(x, 1) {
			return &fault.Error{Kind: fault.Model, File: m.Name, Where: where, Got: fmt.Sprint(x), Want: "finite logits",
				Remedy: "the weights hold NaN or infinity, or the numbers overflow; export the model again, in single precision"}
		}
		r.data = append(r.data, max(x, -math.MaxFloat32))
	}
	return nil
}

func infos(list []ort.Info) string {
	if len(list) == 0 {
		return "none"
	}
	out := make([]string, len(list))
	for i, x := range list {
		out[i] = x.String()
	}
	return strings.Join(out, ", ")
}
