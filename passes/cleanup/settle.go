package cleanup

import (
	"context"
	"fmt"
	"math"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
)

// commonSides are image sizes tried when nothing else tells.
var commonSides = []int64{224, 256, 384, 518, 448, 336, 512, 196, 192, 160, 128, 96, 64, 48, 32}

// Settle fixes the dimensions of an image input that the file leaves open,
// other than the batch: channels from the first convolution, height and width
// from hint (0 for unknown), else from what position embeddings suggest, else
// from common sizes; the first size with which ONNX Runtime runs the model is
// taken. It returns a sentence about what it chose, "" when nothing was open.
func Settle(ctx context.Context, eng *engine.Engine, m *graph.Model, hint [2]int) (string, error) {
	feeds := engine.Feeds(m)
	if len(feeds) != 1 {
		return "", nil
	}
	x := feeds[0]
	dims, ok := x.Type.Dims()
	if !ok || len(dims) != 4 || !slices.Contains(dims[1:], -1) {
		return "", nil
	}
	channels, stride := patches(m, x)
	try := func(h, w int64) error {
		c := m.Clone()
		set(feedOf(c), channels, h, w)
		in, err := engine.Inputs(c, 1, 1)
		if err != nil {
			return err
		}
		_, err = eng.Run(ctx, c, in)
		return err
	}
	var tried []string
	for _, size := range candidates(m, stride, hint) {
		err := try(size[0], size[1])
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if err == nil {
			set(x, channels, size[0], size[1])
			return fmt.Sprintf("input %q leaves its size open; taken as %d channels, %dx%d pixels", x.Name(), channels, size[0], size[1]), nil
		}
		tried = append(tried, fmt.Sprintf("%dx%d", size[0], size[1]))
	}
	return "", &fault.Error{Kind: fault.Model, Where: fmt.Sprintf("input %q", x.Name()), Got: fmt.Sprintf("open dimensions %s, and no run with %v", x.Type, tried),
		Want: "an image size with which the model runs", Remedy: "give it with --size"}
}

func feedOf(m *graph.Model) *graph.Value { return engine.Feeds(m)[0] }

// set fixes the open dimensions of x, given as batch, channels, height, width.
func set(x *graph.Value, channels, h, w int64) {
	x.Type = x.Type.Clone()
	for i, n := range []int64{-1, channels, h, w} {
		if d := &x.Type.Shape.Dims[i]; i > 0 && d.Kind != graph.FixedDim {
			d.Kind, d.Value, d.Param = graph.FixedDim, n, ""
		}
	}
}

// patches reads channels and stride off the convolution that cuts the image.
func patches(m *graph.Model, x *graph.Value) (channels, stride int64) {
	channels, stride = 3, 16
	next := []*graph.Value{x}
	for len(next) > 0 && len(next) < 20 {
		v := next[0]
		next = next[1:]
		for _, n := range v.Users() {
			if w := n.Input(1); n.Is("Conv") && w != nil && w.Const() != nil && len(w.Const().Dims) == 4 {
				if s, ok := n.IntsAttr("strides"); ok && len(s) == 2 {
					stride = s[0]
				}
				return w.Const().Dims[1] * n.IntAttr("group", 1), stride
			}
			next = append(next, n.Outputs()...)
		}
	}
	return channels, stride
}

// candidates lists sizes, likely ones first.
func candidates(m *graph.Model, stride int64, hint [2]int) [][2]int64 {
	if hint[0] > 0 && hint[1] > 0 {
		return [][2]int64{{int64(hint[0]), int64(hint[1])}}
	}
	var sides []int64
	for _, v := range m.Graph.Consts() {
		t := v.Default()
		if t == nil || len(t.Dims) < 2 || len(t.Dims) > 3 || len(t.Dims) == 3 && t.Dims[0] != 1 {
			continue
		}
		tokens := t.Dims[len(t.Dims)-2]
		for extra := range int64(6) { // class, distillation and register tokens
			if g := int64(math.Round(math.Sqrt(float64(tokens - extra)))); g > 1 && g*g == tokens-extra && !slices.Contains(sides, g*stride) {
				sides = append(sides, g*stride)
			}
		}
	}
	var out [][2]int64
	for _, s := range append(sides, commonSides...) {
		if s <= 1024 && !slices.Contains(out, [2]int64{s, s}) {
			out = append(out, [2]int64{s, s})
		}
	}
	return out
}
