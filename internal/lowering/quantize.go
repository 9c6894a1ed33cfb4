package lowering

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/measure"
	"nuwa/internal/report"
	"nuwa/passes/quantize"
)

// What quantization may cost, and what it looks at, where nothing else is said.
const (
	DefaultDrop   = 0.005 // of the accuracy on the validation images
	JudgingImages = 400
	JudgingPart   = 0.4
)

// Quantizer finds out which linear maps of a model go to integers.
type Quantizer struct {
	Eng     *engine.Engine
	Model   *graph.Model // of opset 13 or newer
	Feeds   []map[string]*graph.Tensor
	Images  measure.Images // that choices are made by
	ClassOf []int          // class of Images → logit
	Wanted  []int          // logits; nil for all
	Drop    float64        // of the accuracy on Images that integers may cost; that of one image in any case
	Log     func(stage string, done, total int)

	shapes *engine.Shapes
	sites  []quantize.Site
	unfit  []string // linear maps that have no form in integers
}

// Choice says how a model is quantized. It holds for models that differ in
// widths alone, as their nodes have the same names.
type Choice struct {
	Tail float64            // part of an activation's values, at either end, that its range leaves out
	Harm map[string]float64 // of the sites that stay in single precision: the rise of the cross-entropy when they alone do not
}

// Merge returns a choice that leaves in single precision what either does, and
// whether that is more than c does.
func (c Choice) Merge(other Choice) (both Choice, more bool) {
	both = Choice{other.Tail, maps.Clone(other.Harm)}
	maps.Copy(both.Harm, c.Harm)
	return both, len(both.Harm) > len(c.Harm) || other.Tail != c.Tail
}

// tails are the parts of an activation's values, at either end, that ranges may
// leave out.
var tails = []float64{0, 1e-5, 1e-4}

func (q *Quantizer) find(ctx context.Context) (err error) {
	if q.sites != nil {
		return nil
	}
	if q.shapes, err = q.Eng.Shapes(ctx, q.Model); err != nil {
		return err
	}
	if q.sites, q.unfit = quantize.Find(q.Model, q.shapes); len(q.sites) == 0 {
		return &fault.Error{Kind: fault.Unsupported, Where: "int8", Got: "no linear map with constant weights in single precision"}
	}
	return nil
}

// Choose finds out how to quantize the model so that the accuracy on the images
// stays within Drop: the ranges that cost least, and then as few linear maps in
// single precision as it takes, those first that do most harm. One that does none
// alone is not among them.
func (q *Quantizer) Choose(ctx context.Context) (Choice, error) {
	var choice Choice
	if err := q.find(ctx); err != nil {
		return choice, err
	}
	single, err := q.score(ctx, q.Model)
	if err != nil {
		return choice, err
	}
	var best *measure.Score
	var ranges map[string]quantize.Range
	for i, tail := range tails {
		q.Log("calibrate", i, len(tails))
		r, err := q.ranges(ctx, tail)
		if err != nil {
			return choice, err
		}
		s, err := q.try(ctx, q.sites, r)
		if err != nil {
			return choice, err
		}
		if best == nil || s.Accuracy > best.Accuracy || s.Accuracy == best.Accuracy && s.CrossEntropy < best.CrossEntropy {
			best, ranges, choice.Tail = &s, r, tail
		}
	}
	choice.Harm = map[string]float64{}
	images := len(q.Images.Labels())
	if Within(single.Accuracy-best.Accuracy, q.Drop, images) {
		return choice, nil
	}
	order, harm, err := q.harm(ctx, ranges, single)
	if err != nil {
		return choice, err
	}
	for n := 1; !Within(single.Accuracy-best.Accuracy, q.Drop, images) && len(choice.Harm) < len(order); n *= 2 {
		for _, name := range order[:min(n, len(order))] {
			choice.Harm[name] = harm[name]
		}
		s, err := q.try(ctx, q.kept(choice), ranges)
		if err != nil {
			return choice, err
		}
		best = &s
	}
	return choice, nil
}

// Apply quantizes a clone of the model by a choice. Ranges are those of this
// model; nothing is judged.
func (q *Quantizer) Apply(ctx context.Context, c Choice) (*graph.Model, error) {
	if err := q.find(ctx); err != nil {
		return nil, err
	}
	r, err := q.ranges(ctx, c.Tail)
	if err != nil {
		return nil, err
	}
	return q.convert(q.kept(c), r)
}

// Judge tells what quantizing the model to m, by a choice, cost.
func (q *Quantizer) Judge(ctx context.Context, c Choice, m *graph.Model) (*report.Quantized, error) {
	single, err := q.score(ctx, q.Model)
	if err != nil {
		return nil, err
	}
	s, err := q.score(ctx, m)
	if err != nil {
		return nil, err
	}
	out := &report.Quantized{Validated: len(q.Images.Labels()), Range: "extremes", Layers: len(q.kept(c)), Float: []report.FloatLayer{},
		Accuracy: s.Accuracy, Single: single.Accuracy, Entropy: s.CrossEntropy, SingleEntropy: single.CrossEntropy}
	if c.Tail > 0 {
		out.Range = fmt.Sprintf("%g left out at either end", c.Tail)
	}
	for _, site := range q.sites {
		if harm, ok := c.Harm[site.Name]; ok {
			out.Float = append(out.Float, report.FloatLayer{Layer: site.Node.String(), Why: "it cost accuracy in integers", Harm: harm})
		}
	}
	for _, l := range q.unfit {
		out.Float = append(out.Float, report.FloatLayer{Layer: l, Why: "it has no form in integers"})
	}
	return out, nil
}

// Within reports whether a drop of the accuracy on some images is at most that
// which is allowed, or that of a single image, which tells nothing.
func Within(drop, allowed float64, images int) bool {
	return drop <= max(allowed, 1/float64(images))+1e-9
}

// harm returns the names of the sites that raise the cross-entropy when they
// alone are quantized, those first that raise it most, and by how much.
func (q *Quantizer) harm(ctx context.Context, ranges map[string]quantize.Range, single measure.Score) ([]string, map[string]float64, error) {
	harm := map[string]float64{}
	var names []string
	for i, s := range q.sites {
		q.Log("sensitivity", i, len(q.sites))
		r, err := q.try(ctx, []quantize.Site{s}, ranges)
		if err != nil {
			return nil, nil, err
		}
		if harm[s.Name] = r.CrossEntropy - single.CrossEntropy; harm[s.Name] > 0 {
			names = append(names, s.Name)
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(harm[b], harm[a]) })
	return names, harm, nil
}

// kept are the sites that a choice has compute in integers.
func (q *Quantizer) kept(c Choice) []quantize.Site {
	return slices.DeleteFunc(slices.Clone(q.sites), func(s quantize.Site) bool { _, left := c.Harm[s.Name]; return left })
}

func (q *Quantizer) ranges(ctx context.Context, tail float64) (map[string]quantize.Range, error) {
	return quantize.Measure(ctx, q.Eng, q.Model, q.sites, tail, q.shapes, q.Feeds)
}

func (q *Quantizer) convert(sites []quantize.Site, ranges map[string]quantize.Range) (*graph.Model, error) {
	m := q.Model.Clone()
	return m, quantize.Convert(m, sites, ranges)
}

// try judges the model with some sites in integers.
func (q *Quantizer) try(ctx context.Context, sites []quantize.Site, ranges map[string]quantize.Range) (measure.Score, error) {
	m, err := q.convert(sites, ranges)
	if err != nil {
		return measure.Score{}, err
	}
	return q.score(ctx, m)
}

// score judges a model on the images, deciding among the wanted classes.
func (q *Quantizer) score(ctx context.Context, m *graph.Model) (measure.Score, error) {
	model, err := measure.Open(measure.Source{Name: "int8", Graph: m}, q.Eng.Sweeping())
	if err != nil {
		return measure.Score{}, err
	}
	defer model.Close()
	a, err := measure.Evaluate(ctx, model, q.Images, q.ClassOf, measure.EvalOptions{Wanted: q.Wanted})
	if err != nil {
		return measure.Score{}, err
	}
	return a.Restricted, nil
}
