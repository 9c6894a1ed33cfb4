package nuwa

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"nuwa/graph"
	"nuwa/internal/data"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/measure"
	"nuwa/passes"
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
	defaultDrop   = 0.005 // of the accuracy on the validation images
	judgingImages = 400
	judgingPart   = 0.4
)

// quantizer finds out which linear maps of a model go to integers.
type quantizer struct {
	eng     *engine.Engine
	model   *graph.Model
	shapes  *engine.Shapes
	sites   []quantize.Site
	feeds   []map[string]*graph.Tensor
	images  measure.Images // that judge
	classOf []int
	wanted  []int
	drop    float64
	log     func(stage string, done, total int)
}

// quantize takes the model to 8-bit integers, calibrated and judged on images.
func (e *export) quantize(ctx context.Context) error {
	if e.o.Data == "" {
		return &fault.Error{Kind: fault.Usage, Where: "data", Got: "no images", Want: "images to calibrate integers on", Remedy: "give --data"}
	}
	if e.model.Opset("") < 13 {
		s := &passes.State{Model: e.model, Engine: e.eng, Log: e.o.Log}
		if _, err := (&passes.Manager{}).Run(ctx, s, passes.Lower(passes.Lowering{Fold: e.o.Fold, Opset: 13})); err != nil {
			return err
		}
		e.model = s.Model
	}
	f, err := open(ctx, e.eng, e.o.Preprocess, e.o.Labels, e.o.Model)
	if err != nil {
		return err
	}
	set, err := openSet(e.o.Data, "", false)
	if err != nil {
		return err
	}
	defer set.Close()
	q := &quantizer{eng: e.eng, model: e.model, drop: e.o.Drop, log: e.o.Progress}
	if q.drop == 0 {
		q.drop = defaultDrop
	}
	if q.log == nil {
		q.log = func(string, int, int) {}
	}
	e.result.Quantized = &Quantized{}
	if err := q.split(ctx, f, set, e.o, e.result.Quantized); err != nil {
		return err
	}
	if q.shapes, err = e.eng.Shapes(ctx, e.model); err != nil {
		return err
	}
	if e.model, err = q.run(ctx, e.result.Quantized); err != nil {
		return err
	}
	e.calibration = q.feeds[0]
	e.changed("int8: %d linear maps", e.result.Quantized.Layers)
	return nil
}

// split takes images of the wanted classes apart, into some that calibrate and
// others that judge.
func (q *quantizer) split(ctx context.Context, f *opened, set *data.Set, o ExportOptions, out *Quantized) error {
	j, err := f.judge(ctx, q.eng, set, o.Classes)
	if err != nil {
		return err
	}
	j.model.Close()
	q.classOf, q.wanted = j.classOf, j.wanted
	var folders []string
	for i, c := range set.Classes {
		if k := j.classOf[i]; k >= 0 && (j.wanted == nil || slices.Contains(j.wanted, k)) {
			folders = append(folders, c)
		}
	}
	if set, err = set.Select(folders); err != nil {
		return err
	}
	judged, fit := set.Split(o.Seed, judgingPart)
	judged = judged.Take(judgingImages, o.Seed)
	n := o.Images
	if n == 0 {
		n = 128
	}
	fit = fit.Take(n, o.Seed)
	if judged.Len() == 0 || fit.Len() == 0 {
		return &fault.Error{Kind: fault.Data, File: o.Data, Got: fmt.Sprintf("%d images of the wanted classes", set.Len()), Want: "enough to calibrate on some and judge by others"}
	}
	out.Calibrated, out.Validated = fit.Len(), judged.Len()
	loaded, err := judged.Preload(ctx, f.pre, 1<<31)
	if err != nil {
		return err
	}
	q.images = measure.FromMemory(loaded)
	in := engine.Feeds(q.model)[0]
	batch, fixed := 16, engine.FixedBatch(q.model)
	if fixed > 0 {
		batch = fixed
	}
	for b, err := range fit.Batches(ctx, nil, batch, f.pre) {
		if err != nil {
			return err
		}
		if fixed > 0 && len(b.Labels) < fixed {
			break
		}
		q.feeds = append(q.feeds, map[string]*graph.Tensor{in.Name(): b.X})
	}
	return nil
}

// tails are the parts of an activation's values, at either end, that ranges may
// leave out.
var tails = []float64{0, 1e-5, 1e-4}

// run quantizes a clone of the model as far as the accuracy allows.
func (q *quantizer) run(ctx context.Context, out *Quantized) (*graph.Model, error) {
	var left []string
	q.sites, left = quantize.Find(q.model, q.shapes)
	if len(q.sites) == 0 {
		return nil, &fault.Error{Kind: fault.Unsupported, Where: "int8", Got: "no linear map with constant weights in single precision"}
	}
	single, err := q.score(ctx, q.model)
	if err != nil {
		return nil, err
	}
	out.Single, out.SingleEntropy = single.Accuracy, single.CrossEntropy
	var best measure.Score
	var ranges map[string]quantize.Range
	var whole *graph.Model
	for i, tail := range tails {
		q.log("calibrate", i, len(tails))
		r, err := quantize.Measure(ctx, q.eng, q.model, q.sites, tail, q.shapes, q.feeds)
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
	if single.Accuracy-best.Accuracy > q.drop {
		order, err := q.harm(ctx, ranges)
		if err != nil {
			return nil, err
		}
		for n := 1; single.Accuracy-best.Accuracy > q.drop && n <= len(order); n *= 2 {
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
func (q *quantizer) harm(ctx context.Context, ranges map[string]quantize.Range) ([]string, error) {
	type cost struct {
		name    string
		entropy float64
	}
	var costs []cost
	for i, s := range q.sites {
		q.log("sensitivity", i, len(q.sites))
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

func (q *quantizer) convert(sites []quantize.Site, ranges map[string]quantize.Range) (*graph.Model, error) {
	m := q.model.Clone()
	return m, quantize.Convert(m, sites, ranges)
}

// score judges a model on the validation images, deciding among the wanted
// classes.
func (q *quantizer) score(ctx context.Context, m *graph.Model) (measure.Score, error) {
	model, err := measure.Open(measure.Source{Name: "int8", Graph: m}, q.eng)
	if err != nil {
		return measure.Score{}, err
	}
	defer model.Close()
	a, err := measure.Evaluate(ctx, model, q.images, q.classOf, measure.EvalOptions{Wanted: q.wanted})
	if err != nil {
		return measure.Score{}, err
	}
	return a.Restricted, nil
}
