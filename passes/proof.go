package passes

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
)

// How far an exact pass may move an output, relative to its largest element:
// the rounding that comes of sums being taken in another order, when a weight
// is packed that was computed before. Integers must be equal.
const (
	Tolerance     = 1e-5
	HalfTolerance = 5e-3 // of 16-bit floats
)

// compare returns the largest difference of any output, relative to that
// output's largest element. One that an exact pass may not make is an error. Before
// that is said, it is found out what rounding does to the outputs of the model as it
// was: half precision rounds more, and some models make much of it.
func (c *checker) compare(ctx context.Context, p Pass, before *graph.Model, known, after []map[string]*graph.Tensor) (float64, error) {
	limits := map[string]float64{}
	for name, x := range known[0] {
		switch x.Type {
		case graph.Float32, graph.Float64:
			limits[name] = Tolerance
		case graph.Float16, graph.BFloat16:
			limits[name] = HalfTolerance
		}
	}
	drift, err := c.hold(limits, p, known, after)
	if err == nil {
		return drift, nil
	}
	shapes, failed := c.state.Engine.Shapes(ctx, before)
	if failed != nil {
		return 0, err
	}
	half := halved(before, shapes)
	noise, failed := c.noise(ctx, before, known)
	if failed != nil {
		return 0, err
	}
	for name, limit := range limits {
		if half[name] {
			limit = HalfTolerance
		}
		if noise[name] > Tolerance {
			limit = max(limit, min(noiseRoom*noise[name], noiseLimit))
		}
		limits[name] = limit
	}
	return c.hold(limits, p, known, after)
}

// An exact pass may move an output by noiseRoom times its noise where that is more
// than Tolerance, but not by more than noiseLimit. Inputs move by jitter, 32 times
// their rounding, for that, since every operator rounds.
const (
	jitter     = 0x1p-18
	noiseRoom  = 4
	noiseLimit = 1e-3
)

// noise returns how far the outputs of m, which are known, move when every element
// of its inputs moves by jitter, and ONNX Runtime sums in the orders that it is
// fastest in.
func (c *checker) noise(ctx context.Context, m *graph.Model, known []map[string]*graph.Tensor) (map[string]float64, error) {
	s, err := (&engine.Engine{Threads: c.state.Engine.Threads}).Open(m)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	noise := map[string]float64{}
	for i, b := range engine.Batches(m, proofBatches...) {
		f, err := engine.Inputs(m, b, proofSeed)
		if err != nil {
			return nil, err
		}
		for name, x := range f {
			if !x.Type.IsFloat() {
				continue
			}
			xs, err := x.Floats()
			if err != nil {
				return nil, err
			}
			for k := range xs {
				xs[k] *= 1 + math.Copysign(jitter, float64(k%2)-.5)
			}
			if f[name], err = graph.FromFloats(x.Type, x.Dims, xs); err != nil {
				return nil, err
			}
		}
		moved, err := s.Run(ctx, f, slices.Sorted(maps.Keys(known[i])))
		if err != nil {
			return nil, err
		}
		for name, x := range known[i] {
			d, _, err := Distance(x, moved[name])
			if err != nil {
				return nil, err
			}
			noise[name] = max(noise[name], d)
		}
	}
	return noise, nil
}

// hold returns the largest difference of any output, relative to that output's
// largest element, and an error if an exact pass made one beyond the limits.
func (c *checker) hold(limits map[string]float64, p Pass, before, after []map[string]*graph.Tensor) (drift float64, err error) {
	for i, batch := range engine.Batches(c.state.Model, proofBatches...) {
		for name, x := range before[i] {
			moved, at, err := Distance(x, after[i][name])
			if err != nil {
				return 0, err
			}
			drift = max(drift, moved)
			if p.Effect == Exact && !(moved <= limits[name]) {
				return 0, &fault.Error{Kind: fault.Internal, Where: fmt.Sprintf("output %q at batch %d", name, batch),
					Got:  fmt.Sprintf("%s, moved by %.2g of its largest element", at, moved),
					Want: fmt.Sprintf("at most %.0e from a pass that is exact", limits[name]), Remedy: report}
			}
		}
	}
	return drift, nil
}

// halved returns the names of the outputs of m that are in 16-bit floats, or are
// computed from values that are, as where only inputs and outputs stay in 32 bits.
func halved(m *graph.Model, shapes *engine.Shapes) map[string]bool {
	names := map[string]bool{}
	known := map[*graph.Value]bool{}
	var visit func(v *graph.Value) bool
	visit = func(v *graph.Value) bool {
		if v == nil || v.Producer() == nil {
			return false
		}
		half, seen := known[v]
		if !seen {
			half = shapes.Elem(v).IsHalf() || slices.ContainsFunc(v.Producer().Inputs(), visit)
			known[v] = half
		}
		return half
	}
	for _, v := range m.Graph.Outputs() {
		names[v.Name()] = visit(v)
	}
	return names
}

// Distance returns the largest difference between x and y, relative to the
// largest element of x, and says where it is. It is infinite where dimensions
// differ, or one is finite and the other is not; element types may differ.
func Distance(x, y *graph.Tensor) (moved float64, at string, err error) {
	if y == nil || !slices.Equal(x.Dims, y.Dims) {
		got := "nothing"
		if y != nil {
			got = y.Shape()
		}
		return math.Inf(1), fmt.Sprintf("%s where there was %s", got, x.Shape()), nil
	}
	if x.Type == graph.String {
		for i, s := range x.Strings {
			if string(s) != string(y.Strings[i]) {
				return math.Inf(1), fmt.Sprintf("element %d is %q, was %q", i, y.Strings[i], s), nil
			}
		}
		return 0, "", nil
	}
	xs, err := x.Floats()
	if err != nil {
		return 0, "", err
	}
	ys, err := y.Floats()
	if err != nil {
		return 0, "", err
	}
	top, diff := 0.0, 0.0
	for i, a := range xs {
		b := ys[i]
		if !math.IsInf(a, 0) && a == a {
			top = max(top, math.Abs(a))
		}
		if a == b || a != a && b != b {
			continue
		}
		d := math.Abs(a - b)
		if d != d {
			d = math.Inf(1)
		}
		if d > diff {
			diff, at = d, fmt.Sprintf("element %d is %g, was %g", i, b, a)
		}
	}
	if diff == 0 {
		return 0, "", nil
	}
	return diff / max(top, math.SmallestNonzeroFloat32), at, nil
}
