package derive

import (
	"context"
	"strconv"
	"strings"

	"nuwa/internal/data"
	"nuwa/internal/lowering"
	"nuwa/internal/measure"
	"nuwa/passes"
)

// lower spells a slim model for its target: in another version of the operator
// set, in fused operators, in another precision, and with the batch and layout
// that the target wants. A draft is what a search holds to its limits: of the
// same form, but neither proven nor, once it is known how to quantize, judged.
func (s *Slim) lower(ctx context.Context, draft bool) error {
	want := passes.Lowering{Clean: true, Fuse: s.o.Fuse, Stored: s.o.Precision != "fp16" && s.o.Precision != "int8"}
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
		reports, err := (&passes.Manager{SkipProof: draft}).Run(ctx, state, list)
		if err != nil {
			return err
		}
		s.State.Model = state.Model
		s.Result.Passes = append(s.Result.Passes, reports...)
		s.Result.Notes = append(s.Result.Notes, state.Notes...)
	}
	var err error
	switch s.o.Precision {
	case "fp16":
		_, _, err = lowering.Half(ctx, s.Eng, s.State.Model)
	case "int8":
		err = s.quantize(ctx, draft)
	}
	if err != nil {
		return err
	}
	p := lowering.Ports{Layout: s.o.Target.Layout, Fold: true}
	if n := s.o.Target.Batch; n > 0 {
		p.Batch = strconv.Itoa(n)
	}
	m, _, err := p.Apply(ctx, s.Eng, s.o.Log, s.State.Model)
	if err != nil {
		return err
	}
	s.State.Model = m
	if p.Layout != "" {
		s.pre.Layout = data.Layout(strings.ToUpper(p.Layout))
	}
	return nil
}

// quantizingBatches are how many batches of calibration images the ranges of
// activations are taken from.
const quantizingBatches = 16

// quantize takes the model to 8-bit integers: ranges come from the calibration
// images, choices are made by images of the same pool that are not among them.
func (s *Slim) quantize(ctx context.Context, draft bool) error {
	if s.Fit == nil || s.Names == nil || s.ClassOf == nil {
		s.Result.Notes = append(s.Result.Notes, "in single precision, as there are no labelled images to calibrate integers on")
		s.o.Precision = "fp32"
		return nil
	}
	q, err := s.quantizer(ctx)
	if err != nil {
		return err
	}
	if s.choice == nil {
		choice, err := q.Choose(ctx)
		if err != nil {
			return err
		}
		s.choice = &choice
	}
	m, err := q.Apply(ctx, *s.choice)
	if err != nil {
		return err
	}
	s.State.Model = m
	if draft {
		return nil
	}
	s.quantized, err = q.Judge(ctx, *s.choice, m)
	if err == nil {
		s.quantized.Calibrated = s.Fit.Len()
	}
	return err
}

// quantizer returns what quantizes the model.
func (s *Slim) quantizer(ctx context.Context) (*lowering.Quantizer, error) {
	q := &lowering.Quantizer{Eng: s.Eng, Model: s.State.Model, Drop: lowering.DefaultDrop, Log: s.o.Progress}
	images, err := s.Choosing(ctx)
	if err != nil {
		return nil, err
	}
	q.Images = measure.FromMemory(images)
	if q.ClassOf, err = s.LogitsOf(images.Set.Classes); err != nil {
		return nil, err
	}
	q.ClassOf, q.Wanted = s.decision(q.ClassOf)
	for feeds, err := range s.State.Feeds {
		if err != nil {
			return nil, err
		}
		if q.Feeds = append(q.Feeds, feeds); len(q.Feeds) == quantizingBatches {
			break
		}
	}
	return q, nil
}
