package modelfile

import (
	"context"
	"fmt"
	"math"
	"slices"

	"nuwa/graph"
	"nuwa/internal/data"
	"nuwa/internal/engine"
	"nuwa/internal/measure"
	"nuwa/passes/calibrate"
)

// normalization is a way to scale pixel values before a model sees them.
type normalization struct {
	name      string
	rescale   float64
	mean, std []float32
}

// normalizations are those that published ViTs were trained with, the default
// first.
var normalizations = []normalization{
	{"to -1..1", 1.0 / 255, []float32{.5, .5, .5}, []float32{.5, .5, .5}},
	{"by ImageNet's mean and deviation", 1.0 / 255, []float32{.485, .456, .406}, []float32{.229, .224, .225}},
	{"by CLIP's mean and deviation", 1.0 / 255, []float32{.48145466, .4578275, .40821073}, []float32{.26862954, .26130258, .27577711}},
	{"to 0..1", 1.0 / 255, nil, nil},
	{"not at all", 1, nil, nil},
}

// Images that normalizations are compared on, the memory that they may take when
// decoded, and by how many standard errors of the mean difference the loss must
// fall for one to replace the default.
const (
	normalizeImages = 256
	normalizeBytes  = 1 << 30
	normalizeErrors = 4
)

// FindNormalization chooses how pixel values are scaled where nothing says it:
// of the usual ways, and the mean and deviation of the images themselves, the
// one with the least cross-entropy over all classes of the base on labelled
// calibration images. Unless it is better by more than chance explains, the
// default stays. classOf gives the classes of set their logits. The choice is
// recorded in f and in the note that is returned, "" where there was nothing
// to choose.
func (f *File) FindNormalization(ctx context.Context, eng *engine.Engine, set *data.Set, classOf []int, seed uint64) (note string, err error) {
	if f.PreFrom != FromDefaults || !f.Pre.Type.IsFloat() || !slices.ContainsFunc(classOf, func(l int) bool { return l >= 0 }) {
		return "", nil
	}
	m, err := measure.Open(f.Source(), eng.Sweeping())
	if err != nil {
		return "", err
	}
	defer m.Close()
	sample := set.Take(min(normalizeImages, max(1, normalizeBytes/(3*f.Pre.Height*f.Pre.Width))), seed)
	loaded, err := sample.Preload(ctx, f.Pre, normalizeBytes)
	if err != nil {
		return "", err
	}
	own, err := f.ownNormalization(ctx, eng, loaded)
	if err != nil {
		return "", err
	}
	var standard, least []float64
	var best normalization
	for _, n := range append(slices.Clone(normalizations), own) {
		scaled, err := loaded.Scaled(n.apply(f.Pre))
		if err != nil {
			return "", err
		}
		losses, err := measure.Losses(ctx, m, measure.FromMemory(scaled), classOf)
		if err != nil {
			return "", err
		}
		if standard == nil {
			standard, least, best = losses, losses, n
		} else if mean(losses) < mean(least) {
			least, best = losses, n
		}
	}
	if !lowered(standard, least) {
		return "nothing says how pixel values are scaled: they are " + normalizations[0].name + "; --mean and --std set it", nil
	}
	f.Pre, f.PreFrom = best.apply(f.Pre), "chosen on the calibration images"
	return fmt.Sprintf("nothing says how pixel values are scaled: %s fits best on %d calibration images (cross-entropy over all classes %.3f, %s %.3f); --mean and --std set it",
		best.name, len(least), mean(least), normalizations[0].name, mean(standard)), nil
}

// apply lays the normalization over p.
func (n normalization) apply(p data.Preprocess) data.Preprocess {
	p.Rescale, p.Mean, p.Std = n.rescale, n.mean, n.std
	return p
}

// ownNormalization takes mean and deviation per channel from the images.
func (f *File) ownNormalization(ctx context.Context, eng *engine.Engine, images *data.Loaded) (normalization, error) {
	pre := normalization{rescale: 1.0 / 255}.apply(f.Pre)
	images, err := images.Scaled(pre)
	if err != nil {
		return normalization{}, err
	}
	in := engine.Feeds(f.Model)[0]
	tap := calibrate.Tap{Value: in.Name(), Rank: 4, Axis: 3, Width: 3}
	if pre.Layout == data.NHWC {
		tap.Axis = 1
	}
	feeds := func(yield func(map[string]*graph.Tensor, error) bool) {
		for b, err := range images.Batches(ctx, nil, 16) {
			if !yield(map[string]*graph.Tensor{in.Name(): b.X}, err) {
				return
			}
		}
	}
	probe := f.Model.Clone()
	probe.Graph.Value(in.Name()).Type.Shape.Dims[0] = graph.Sym("images") // nothing behind the input is run
	moments, err := calibrate.Collect(ctx, eng, probe, []calibrate.Tap{tap}, feeds)
	if err != nil {
		return normalization{}, err
	}
	n := normalization{name: "by the images' own mean and deviation", rescale: pre.Rescale}
	average, covariance := moments[0].Mean(), moments[0].Second(true)
	for c := range 3 {
		n.mean = append(n.mean, rounded(average[c]))
		n.std = append(n.std, max(rounded(math.Sqrt(max(0, covariance.At(c, c)))), 1e-3))
	}
	return n, nil
}

// rounded keeps four decimals, as people write them.
func rounded(x float64) float32 { return float32(math.Round(x*1e4) / 1e4) }

func mean(xs []float64) float64 {
	sum := 0.0
	for _, x := range xs {
		sum += x
	}
	return sum / float64(len(xs))
}

// lowered reports whether paired losses fell by more than chance explains.
func lowered(before, after []float64) bool {
	diff := make([]float64, len(before))
	for i := range diff {
		diff[i] = before[i] - after[i]
	}
	m, variance := mean(diff), 0.0
	for _, d := range diff {
		variance += (d - m) * (d - m)
	}
	n := float64(len(diff))
	return m > normalizeErrors*math.Sqrt(variance/(n*max(1, n-1)))
}
