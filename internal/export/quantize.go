package export

import (
	"context"
	"fmt"

	"nuwa/graph"
	"nuwa/internal/data"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/lowering"
	"nuwa/internal/measure"
	"nuwa/internal/modelfile"
	"nuwa/passes"
)

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
	f, err := modelfile.Open(ctx, e.eng, e.o.Preprocess, e.o.Labels, e.o.Model)
	if err != nil {
		return err
	}
	set, err := modelfile.OpenSet(e.o.Data, "", false)
	if err != nil {
		return err
	}
	defer set.Close()
	q := &lowering.Quantizer{Eng: e.eng, Model: e.model, Drop: e.o.Drop, Log: e.o.Progress}
	if q.Drop == 0 {
		q.Drop = lowering.DefaultDrop
	}
	if q.Log == nil {
		q.Log = func(string, int, int) {}
	}
	calibrated, err := e.split(ctx, q, f, set)
	if err != nil {
		return err
	}
	choice, err := q.Choose(ctx)
	if err != nil {
		return err
	}
	m, err := q.Apply(ctx, choice)
	if err != nil {
		return err
	}
	if e.result.Quantized, err = q.Judge(ctx, choice, m); err != nil {
		return err
	}
	e.result.Quantized.Calibrated = calibrated
	e.model, e.calibration = m, q.Feeds[0]
	e.changed("int8: %d linear maps", e.result.Quantized.Layers)
	return nil
}

// split takes images of the wanted classes apart, into some that calibrate, which
// it counts, and others that judge.
func (e *export) split(ctx context.Context, q *lowering.Quantizer, f *modelfile.File, set *data.Set) (calibrated int, err error) {
	o := e.o
	j, err := f.Judge(ctx, q.Eng, set, o.Classes)
	if err != nil {
		return 0, err
	}
	j.Model.Close()
	if set, err = set.Select(data.Wanted(set.Classes, j.ClassOf, j.Wanted)); err != nil {
		return 0, err
	}
	if q.ClassOf, err = f.Match(set.Classes, j.Logits); err != nil {
		return 0, err
	}
	q.Wanted = j.Wanted
	judged, fit := set.Split(o.Seed, lowering.JudgingPart)
	judged = judged.Take(lowering.JudgingImages, o.Seed)
	n := o.Images
	if n == 0 {
		n = 128
	}
	fit = fit.Take(n, o.Seed)
	if judged.Len() == 0 || fit.Len() == 0 {
		return 0, &fault.Error{Kind: fault.Data, File: o.Data, Got: fmt.Sprintf("%d images of the wanted classes", set.Len()), Want: "enough to calibrate on some and judge by others"}
	}
	loaded, err := judged.Preload(ctx, f.Pre, 1<<31)
	if err != nil {
		return 0, err
	}
	q.Images = measure.FromMemory(loaded)
	in := engine.Feeds(q.Model)[0]
	batch, fixed := 16, engine.FixedBatch(q.Model)
	if fixed > 0 {
		batch = fixed
	}
	for b, err := range fit.Batches(ctx, nil, batch, f.Pre) {
		if err != nil {
			return 0, err
		}
		if fixed > 0 && len(b.Labels) < fixed {
			break
		}
		q.Feeds = append(q.Feeds, map[string]*graph.Tensor{in.Name(): b.X})
	}
	return fit.Len(), nil
}
