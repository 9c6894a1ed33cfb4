package derive

import (
	"context"
	"slices"

	"nuwa/graph"
	"nuwa/internal/lowering"
	"nuwa/internal/measure"
	"nuwa/passes"
)

// lower spells a slim model for its target: in another version of the operator
// set, in fused operators, and in another precision.
func (s *Slim) lower(ctx context.Context) error {
	want := passes.Lowering{Clean: true, Fuse: s.o.Fuse}
	if s.o.Opset > 0 && s.State.Model.Opset("") > int64(s.o.Opset) {
		want.Opset = int64(s.o.Opset)
	}
	if s.o.Precision == "int8" && s.State.Model.Opset("") < 13 {
		want.Opset = 13
	}
	if s.o.Precision == "int8" {
		want.Fuse = "" // fused attention has no form in integers
	}
	if list := passes.Lower(want); len(list) > 0 {
		state := &passes.State{Model: s.State.Model, Engine: s.Eng, Log: s.o.Log, Progress: s.o.Progress}
		reports, err := (&passes.Manager{}).Run(ctx, state, list)
		if err != nil {
			return err
		}
		s.State.Model = state.Model
		s.Result.Passes = append(s.Result.Passes, reports...)
		s.Result.Notes = append(s.Result.Notes, state.Notes...)
	}
	switch s.o.Precision {
	case "fp16":
		_, _, err := lowering.Half(ctx, s.Eng, s.State.Model)
		return err
	case "int8":
		return s.quantize(ctx)
	}
	return nil
}

// quantize takes the model to 8-bit integers: ranges come from the calibration
// images, choices are made by images of the same pool that are not among them.
func (s *Slim) quantize(ctx context.Context) error {
	if s.Fit == nil || s.Names == nil || s.ClassOf == nil {
		s.Result.Notes = append(s.Result.Notes, "in single precision, as there are no labelled images to calibrate integers on")
		return nil
	}
	q := &lowering.Quantizer{Eng: s.Eng, Model: s.State.Model, Drop: lowering.DefaultDrop, Log: s.o.Progress}
	judged := s.Pool.Without(s.Fit)
	if judged.Len() < lowering.JudgingImages/10 {
		judged = s.Fit
	}
	judged = judged.Take(lowering.JudgingImages, s.o.Seed)
	loaded, err := judged.Preload(ctx, s.File.Pre, 1<<31)
	if err != nil {
		return err
	}
	q.Images = measure.FromMemory(loaded)
	if q.ClassOf, err = s.LogitsOf(judged.Classes); err != nil {
		return err
	}
	q.Wanted = s.Wanted
	if s.Wanted != nil && s.o.Logits == "sliced" {
		q.ClassOf, q.Wanted = measure.Sliced(q.ClassOf, s.Wanted), nil
	}
	feeds, err := s.Feeds(ctx)
	if err != nil {
		return err
	}
	for f, err := range feeds {
		if err != nil {
			return err
		}
		q.Feeds = append(q.Feeds, map[string]*graph.Tensor{})
		for name, t := range f {
			q.Feeds[len(q.Feeds)-1][name] = t
		}
		if len(q.Feeds) == 16 {
			break
		}
	}
	if q.Shapes, err = s.Eng.Shapes(ctx, q.Model); err != nil {
		return err
	}
	out := &lowering.Quantized{Calibrated: s.Fit.Len(), Validated: judged.Len()}
	m, err := q.Run(ctx, out)
	if err != nil {
		return err
	}
	s.State.Model = m
	for _, l := range slices.Compact(out.Float) {
		s.Result.Notes = append(s.Result.Notes, "int8: left in single precision: "+l)
	}
	return nil
}
