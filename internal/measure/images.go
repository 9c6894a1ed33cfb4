package measure

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"

	"nuwa/graph"
	"nuwa/internal/data"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/ranking"
)

// Images are what models are measured on. Every pass gives the same images.
type Images interface {
	// Classes returns the names of the classes, nil without classes.
	Classes() []string
	// Labels returns the class of each image, −1 where it has none.
	Labels() []int
	// Truth returns the classes of each image, where it may have several; nil
	// where it has one.
	Truth() [][]int
	// Batches yields the images at the given positions, nil meaning all, in
	// that order, size at a time.
	Batches(ctx context.Context, idx []int, size int) iter.Seq2[data.Batch, error]
}

// FromSet reads the images of a set anew on each pass.
func FromSet(set *data.Set, pre data.Preprocess) Images { return setImages{set, pre} }

// FromMemory takes images that were read before.
func FromMemory(l *data.Loaded) Images { return memoryImages{l} }

type setImages struct {
	set *data.Set
	pre data.Preprocess
}

func (s setImages) Classes() []string { return s.set.Classes }
func (s setImages) Labels() []int     { return labels(s.set) }
func (s setImages) Truth() [][]int    { return truth(s.set) }
func (s setImages) Batches(ctx context.Context, idx []int, size int) iter.Seq2[data.Batch, error] {
	return s.set.Batches(ctx, idx, size, s.pre)
}

type memoryImages struct{ *data.Loaded }

func (l memoryImages) Classes() []string { return l.Set.Classes }
func (l memoryImages) Labels() []int     { return labels(l.Set) }
func (l memoryImages) Truth() [][]int    { return truth(l.Set) }

func truth(set *data.Set) [][]int {
	if !set.Multi {
		return nil
	}
	out := make([][]int, set.Len())
	for i := range out {
		out[i] = set.Of(i)
	}
	return out
}

func labels(set *data.Set) []int {
	out := make([]int, len(set.Samples))
	for i, x := range set.Samples {
		out[i] = x.Class
	}
	return out
}

// Noise returns n images without classes whose elements are standard normal
// numbers, of the size that m takes. Image i depends on seed and i only.
func Noise(m *Model, n int, seed uint64) (Images, error) {
	in, err := m.Input()
	if err != nil {
		return nil, err
	}
	if len(in.Dims) < 2 || slices.ContainsFunc(in.Dims[1:], func(d int64) bool { return d < 0 }) || !in.Type.IsFloat() {
		return nil, &fault.Error{Kind: fault.Unsupported, File: m.Name, Where: fmt.Sprintf("input %q", in.Name), Got: in.String(),
			Want: "floating-point images of one size, to make up random ones", Remedy: "measure on real images, or export with a fixed image size"}
	}
	return noise{in.Type, in.Dims[1:], n, seed}, nil
}

type noise struct {
	typ  graph.DType
	dims []int64 // of one image
	n    int
	seed uint64
}

func (s noise) Classes() []string { return nil }
func (s noise) Labels() []int     { return slices.Repeat([]int{-1}, s.n) }
func (s noise) Truth() [][]int    { return nil }

func (s noise) Batches(ctx context.Context, idx []int, size int) iter.Seq2[data.Batch, error] {
	if idx == nil {
		idx = ranking.UpTo(s.n)
	}
	return func(yield func(data.Batch, error) bool) {
		for part := range slices.Chunk(idx, size) {
			if ctx.Err() != nil {
				yield(data.Batch{}, ctx.Err())
				return
			}
			var xs []float64
			for _, i := range part {
				rng := rand.New(rand.NewPCG(s.seed, uint64(i)))
				for range graph.Elements(s.dims) {
					xs = append(xs, rng.NormFloat64())
				}
			}
			x, err := graph.FromFloats(s.typ, append([]int64{int64(len(part))}, s.dims...), xs)
			if !yield(data.Batch{X: x, Labels: slices.Repeat([]int{-1}, len(part)), Indices: part}, err) || err != nil {
				return
			}
		}
	}
}

func noImages(where string) error {
	return &fault.Error{Kind: fault.Data, File: where, Got: "no images to measure on", Want: "at least one"}
}

// batchSize is the number of images read at a time: about wanted (a good
// number when it is 0), and a multiple of what the model takes at once.
func (m *Model) batchSize(wanted int) (int, error) {
	if wanted < 0 {
		return 0, &fault.Error{Kind: fault.Usage, Where: "batch size", Got: fmt.Sprint(wanted), Want: "at least 1, or 0 for a good one"}
	}
	if wanted == 0 {
		wanted = engine.SweepSamples
		if len(m.Providers) > 0 {
			wanted = 32
		}
	}
	if fixed := m.Batch(); fixed > 0 {
		return (wanted + fixed - 1) / fixed * fixed, nil
	}
	return wanted, nil
}

// each runs m on the images at the given positions, nil meaning all, and hands
// on every batch with its logits. wanted is about how many are read at a time;
// 0 for a good number.
func (m *Model) each(ctx context.Context, images Images, idx []int, wanted int, see func(b data.Batch, x rows) error) error {
	size, err := m.batchSize(wanted)
	if err != nil {
		return err
	}
	run := func(b data.Batch) (rows, error) { return m.run(ctx, b.X) }
	return engine.Sweep(m.engine, images.Batches(ctx, idx, size), run, nil, see)
}
