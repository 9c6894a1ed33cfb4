package lowering

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/measure"
	"nuwa/passes/quantize"
)

// Quantized says how a model came to compute in 8-bit integers.
type Quantized struct {
	Calibrated    int      `json:"calibrated"` // images that ranges of activations come from
	Validated     int      `json:"validated"`  // other images, that choices were made by
	Range         string   `json:"range"`      // how ranges were taken: "extremes", or the part left out at either end
	Layers        int      `json:"layers"`     // linear maps in integers
	Float         []string `json:"float"`      // linear maps that stay in single precision
	Accuracy      float64  `json:"accuracy"`   // on the validation images
	Single        float64  `json:"single"`     // the same, of the model in single precision
	Entropy       float64  `json:"entropy"`    // cross-entropy on the validation images
	SingleEntropy float64  `json:"single_entropy"`
}

// What quantization may cost, and what it looks at, where nothing else is said.
const (
	DefaultDrop   = 0.005 // of the accuracy on the validation images
	JudgingImages = 400
	JudgingPart   = 0.4
)

// Quantizer finds out which linear maps of a model go to integers.
type Quantizer struct {
	Eng     *engine.Engine
	Model   *graph.Model
	Shapes  *engine.Shapes
	sites   []quantize.Site
	Feeds   []map[string]*graph.Tensor
	Images  measure.Images // that judge
	ClassOf []int
	Wanted  []int
	Drop    float64
	Log     func(stage string, done, total int)
}

// tails are the parts of an activation's values, at either end, that ranges may
// leave out.
var tails = []float64{0, 1e-5, 1e-4}

// Run quantizes a clone of the model as far as the accuracy allows.
func (q *Quantizer) Run(ctx context.Context, out *Quantized) (*graph.Model, error) {
	var left []string
	q.sites, left = quantize.Find(q.Model, q.Shapes)
	if len(q.sites) == 0 {
		return nil, &fault.Error{Kind: fault.Unsupported, Where: "int8", Got: "no linear map with constant weights in single precision"}
	}
	single, err := q.score(ctx, q.Model)
	if err != nil {
		return nil, err
	}
	out.Single, out.SingleEntropy = single.Accuracy, single.CrossEntropy
	var best measure.Score
	var ranges map[string]quantize.Range
	var whole *graph.Model
	for i, tail := range tails {
		q.Log("calibrate", i, len(tails))
		r, err := quantize.Measure(ctx, q.Eng, q.Model, q.sites, tail, q.Shapes, q.Feeds)
		if err != nil {
			return nil, err
		}
		m, err := q.convert(q.sites, r)
		if err != nil {
			return nil, err
		}
		s, err := q.score(ctx, m)
		if err != nil {
			return nil, err
		}
		if whole == nil || s.Accuracy > best.Accuracy || s.Accuracy == best.Accuracy && s.CrossEntropy < best.CrossEntropy {
			whole, best, ranges, out.Range = m, s, r, "extremes"
			if tail > 0 {
				out.Range = fmt.Sprintf("%g left out at either end", tail)
			}
		}
	}
	kept := q.sites
	if single.Accuracy-best.Accuracy > q.Drop {
		order, err := q.harm(ctx, ranges)
		if err != nil {
			return nil, err
		}
		for n := 1; single.Accuracy-best.Accuracy > q.Drop && n <= len(order); n *= 2 {
			hurt := order[:n]
			kept = slices.DeleteFunc(slices.Clone(q.sites), func(s quantize.Site) bool { return slices.Contains(hurt, s.Name) })
			if whole, err = q.convert(kept, ranges); err != nil {
				return nil, err
			}
			if best, err = q.score(ctx, whole); err != nil {
				return nil, err
			}
		}
	}
	for _, s := range q.sites {
		if !slices.ContainsFunc(kept, func(k quantize.Site) bool { return k.Name == s.Name }) {
			left = append(left, s.Node.String())
		}
	}
	out.Layers, out.Float, out.Accuracy, out.Entropy = len(kept), left, best.Accuracy, best.CrossEntropy
	return whole, nil
}

// harm returns the names of the sites, those first that raise the cross-entropy
// most when they alone are quantized.
func (q *Quantizer) harm(ctx context.Context, ranges map[string]quantize.Range) ([]string, error) {
	type cost struct {
		name    string
		entropy float64
	}
	var costs []cost
	for i, s := range q.sites {
		q.Log("sensitivity", i, len(q.sites))
		m, err := q.convert([]quantize.Site{s}, ranges)
		if err != nil {
			return nil, err
		}
		r, err := q.score(ctx, m)
		if err != nil {
			return nil, err
		}
		costs = append(costs, cost{s.Name, r.CrossEntropy})
	}
	slices.SortStableFunc(costs, func(a, b cost) int { return cmp.Compare(b.entropy, a.entropy) })
	names := make([]string, len(costs))
	for i, c := range costs {
		names[i] = c.name
	}
	return names, nil
}

func (q *Quantizer) convert(sites []quantize.Site, ranges map[string]quantize.Range) (*graph.Model, error) {
	m := q.Model.Clone()
	return m, quantize.Convert(m, sites, ranges)
}

// score judges a model on the validation images, deciding among the wanted
// classes.
func (q *Quantizer) score(ctx context.Context, m *graph.Model) (measure.Score, error) {
	model, err := measure.Open(measure.Source{Name: "int8", Graph: m}, q.Eng)
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
