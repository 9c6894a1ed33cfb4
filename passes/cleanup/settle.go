package cleanup

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
)

// Settle fixes the dimensions of an image input that the file leaves open, all
// but the batch: the channels as the first convolution wants them, height and
// width as hint says, zeros where it does not. The first size with which ONNX
// Runtime runs the model is taken: the hint, else what position embeddings
// were made for, else common sizes. Dimensions of outputs that are fixed
// thereby are declared so.
//
// The note says what was chosen and why; it is empty if nothing was open. An
// image that fits no size is a fault.Model that lists those tried.
func Settle(ctx context.Context, eng *engine.Engine, m *graph.Model, hint [2]int) (note string, err error) {
	x := openImage(m)
	if x == nil {
		return "", nil
	}
	if err := eng.Ready(); err != nil {
		return "", err
	}
	p := findPatches(m, x)
	dims, _ := x.Type.Dims()
	var tried []string
	var first error
	for _, c := range sizes(m, p, hint) {
		want := p.arrange(c.h, c.w)
		if !fits(dims, want) {
			continue
		}
		err := runsAt(ctx, eng, m, x.Name(), want)
		if ctx.Err() != nil {
			return "", &fault.Error{Kind: fault.Interrupted, Where: "settling the image size", Err: ctx.Err()}
		}
		if err != nil {
			tried = append(tried, fmt.Sprintf("%dx%d", c.h, c.w))
			if first == nil {
				first = err
			}
			continue
		}
		was := x.Type.String()
		setDims(x, want)
		note = fmt.Sprintf("input %q was %s and is taken as %s: %dx%d is %s", x.Name(), was, x.Type, c.h, c.w, c.why)
		if len(tried) > 0 {
			note += "; it does not run at " + strings.Join(tried, ", ")
		}
		return note, declareOutputs(ctx, eng, m)
	}
	return "", &fault.Error{Kind: fault.Model, Where: fmt.Sprintf("input %q", x.Name()), Err: first,
		Got:  fmt.Sprintf("open dimensions %s, and no run at %s", x.Type, strings.Join(tried, ", ")),
		Want: "an image size that the model takes", Remedy: "give the size with --size, or export with a fixed one"}
}

// openImage returns the input of four dimensions, one of them open besides the
// batch; nil unless there is exactly one.
func openImage(m *graph.Model) *graph.Value {
	var found *graph.Value
	for _, v := range engine.Feeds(m) {
		dims, ok := v.Type.Dims()
		if ok && len(dims) == 4 && slices.Contains(dims[1:], -1) {
			if found != nil {
				return nil
			}
			found = v
		}
	}
	return found
}

// patches is how a model cuts its image.
type patches struct {
	channels, width int64    // of the convolution: in and out
	stride          [2]int64 // height and width of a patch
	last            bool     // channels are the last dimension of the input
}

// arrange returns the dimensions of the input, the batch open.
func (p patches) arrange(h, w int64) []int64 {
	if p.last {
		return []int64{-1, h, w, p.channels}
	}
	return []int64{-1, p.channels, h, w}
}

// findPatches follows the image to the first convolution.
func findPatches(m *graph.Model, x *graph.Value) patches {
	dims, _ := x.Type.Dims()
	p := patches{channels: 3, stride: [2]int64{16, 16}, last: dims[1] < 0 && (dims[3] == 1 || dims[3] == 3)}
	if c := dims[1]; c > 0 {
		p.channels = c
	}
	seen := map[*graph.Value]bool{x: true}
	for next := []*graph.Value{x}; len(next) > 0; next = next[1:] {
		for _, n := range next[0].Users() {
			w := weightDims(n.Input(1))
			if n.Is("Conv") && len(w) == 4 && n.Input(0) == next[0] {
				p.width, p.stride = w[0], [2]int64{w[2], w[3]}
				if !p.last || dims[3] < 0 {
					p.channels = w[1] * n.IntAttr("group", 1)
				}
				if s, ok := n.IntsAttr("strides"); ok && len(s) == 2 {
					p.stride = [2]int64{s[0], s[1]}
				}
				return p
			}
			for _, v := range n.Outputs() {
				if v != nil && !seen[v] {
					seen[v] = true
					next = append(next, v)
				}
			}
		}
	}
	return p
}

// weightDims returns the dimensions of the constant behind v, looking through
// nodes that keep them.
func weightDims(v *graph.Value) []int64 {
	for v != nil {
		if t := v.Default(); t != nil {
			return t.Dims
		}
		n := v.Producer()
		switch {
		case n.Is("Constant"):
			if t := constantOf(n); t != nil {
				return t.Dims
			}
			return nil
		case n.Is("Identity", "Cast", "DequantizeLinear", "QuantizeLinear"):
			v = n.Input(0)
		default:
			return nil
		}
	}
	return nil
}

// size is a candidate for the image size.
type size struct {
	h, w int64
	why  string
}

// sizes lists candidates, likely ones first.
func sizes(m *graph.Model, p patches, hint [2]int) []size {
	var all []size
	add := func(h, w int64, why string) {
		if h > 0 && w > 0 && h <= 4096 && w <= 4096 && !slices.ContainsFunc(all, func(s size) bool { return s.h == h && s.w == w }) {
			all = append(all, size{h, w, why})
		}
	}
	add(int64(hint[0]), int64(hint[1]), "the size asked for")
	for _, extra := range []int64{1, 0, 2} { // class token, none, class and distillation token
		for _, c := range embeddings(m, p.width) {
			if side, ok := root(c.tokens - extra); ok {
				add(side*p.stride[0], side*p.stride[1], fmt.Sprintf("what position embedding %q is made for", c.name))
			}
		}
	}
	for _, side := range []int64{224, 256, 384, 448, 512, 518, 336, 192, 160, 128, 96, 64, 48, 32, 28, 16} {
		add(side, side, "a common size that it runs at")
	}
	return all
}

// embedding is a constant that could hold one vector of the model's width for
// every token.
type embedding struct {
	name   string
	tokens int64
}

func embeddings(m *graph.Model, width int64) []embedding {
	var found []embedding
	consider := func(v *graph.Value, d []int64) {
		name, k := v.Name(), len(d)
		switch {
		case width == 0:
		case k == 2 && slices.ContainsFunc(v.Users(), func(n *graph.Node) bool { return n.Is("MatMul", "Gemm", "Transpose") }):
			// a weight
		case k == 3 && d[0] == 1 && d[2] == width, k == 2 && d[1] == width:
			found = append(found, embedding{name, d[k-2]})
		case k == 4 && d[0] == 1 && d[3] == width && d[1] == d[2]:
			found = append(found, embedding{name, d[1] * d[2]})
		case k == 4 && d[0] == 1 && d[1] == width && d[2] == d[3]:
			found = append(found, embedding{name, d[2] * d[3]})
		}
	}
	for _, v := range m.Graph.Consts() {
		if t := v.Default(); t != nil {
			consider(v, t.Dims)
		}
	}
	for _, n := range m.Graph.Nodes() {
		if t := constantOf(n); n.Is("Constant") && t != nil && n.Output(0) != nil {
			consider(n.Output(0), t.Dims)
		}
	}
	return found
}

// root returns the side of a square of n.
func root(n int64) (int64, bool) {
	for s := int64(2); s*s <= n; s++ {
		if s*s == n {
			return s, true
		}
	}
	return 0, false
}

func fits(declared, want []int64) bool {
	for i, d := range declared {
		if i > 0 && d >= 0 && d != want[i] {
			return false
		}
	}
	return true
}

func setDims(x *graph.Value, want []int64) {
	x.Type = x.Type.Clone()
	for i, d := range want {
		if k := &x.Type.Shape.Dims[i]; d >= 0 && k.Kind != graph.FixedDim {
			*k = graph.Fixed(d)
		}
	}
}

// runsAt tries a size, on a batch of two where the batch is open.
func runsAt(ctx context.Context, eng *engine.Engine, m *graph.Model, input string, want []int64) error {
	c := m.Clone()
	setDims(c.Graph.Value(input), want)
	c.Graph.Infos = nil
	feeds, err := engine.Inputs(c, 2, 1)
	if err != nil {
		return err
	}
	var names []string
	for _, v := range c.Graph.Outputs() {
		v.Type = nil
		names = append(names, v.Name())
	}
	_, err = eng.Compute(ctx, c, names, feeds)
	return err
}

// declareOutputs fixes the open dimensions of outputs that turn out to be the
// same at every batch size.
func declareOutputs(ctx context.Context, eng *engine.Engine, m *graph.Model) error {
	c := m.Clone()
	c.Graph.Infos = nil
	shapes, err := eng.Shapes(ctx, c)
	if err != nil {
		return err
	}
	for _, v := range m.Graph.Outputs() {
		sizes, ok := shapes.Of(v)
		dims, known := v.Type.Dims()
		if !ok || !known || len(dims) != len(sizes) {
			continue
		}
		v.Type = v.Type.Clone()
		for i, d := range dims {
			if d < 0 && !sizes[i].Dynamic() {
				v.Type.Shape.Dims[i] = graph.Fixed(sizes[i].Fixed)
			}
		}
	}
	return nil
}
