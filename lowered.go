package nuwa

import (
	"context"
	"slices"

	"nuwa/exporter/target"
	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/measure"
	"nuwa/passes"
	"nuwa/passes/half"
)

// aim takes from the target what is not said otherwise.
func (o *Options) aim() error {
	if o.Target == "" {
		return nil
	}
	t, err := target.Preset(o.Target)
	if err != nil {
		return err
	}
	for _, x := range []struct {
		field *string
		want  string
	}{{&o.Norms, t.Norms}, {&o.Fuse, t.Fuse}, {&o.Precision, t.Precision}} {
		if *x.field == "" {
			*x.field = x.want
		}
	}
	if o.Align == 0 {
		o.Align = t.Align
	}
	if o.Opset == 0 {
		o.Opset = t.Opset
	}
	return nil
}

// lower spells a slim model for its target: in another version of the operator
// set, in fused operators, and in another precision.
func (s *slim) lower(ctx context.Context) error {
	want := passes.Lowering{Clean: true, Fuse: s.o.Fuse}
	if s.o.Opset > 0 && s.state.Model.Opset("") > int64(s.o.Opset) {
		want.Opset = int64(s.o.Opset)
	}
	if s.o.Precision == "int8" && s.state.Model.Opset("") < 13 {
		want.Opset = 13
	}
	if s.o.Precision == "int8" {
		want.Fuse = "" // fused attention has no form in integers
	}
	if list := passes.Lower(want); len(list) > 0 {
		state := &passes.State{Model: s.state.Model, Engine: s.eng, Log: s.o.Log, Progress: s.o.Progress}
		reports, err := (&passes.Manager{}).Run(ctx, state, list)
		if err != nil {
			return err
		}
		s.state.Model = state.Model
		s.result.Passes = append(s.result.Passes, reports...)
		s.result.Notes = append(s.result.Notes, state.Notes...)
	}
	switch s.o.Precision {
	case "fp16":
		return s.halve(ctx)
	case "int8":
		return s.quantize(ctx)
	}
	return nil
}

// halve takes the model to half precision, inputs and outputs excepted.
func (s *slim) halve(ctx context.Context) error {
	shapes, err := s.eng.Shapes(ctx, s.state.Model)
	if err != nil {
		return err
	}
	feeds, err := engine.Inputs(s.state.Model, 2, 3)
	if err != nil {
		return err
	}
	peak, err := half.Measure(ctx, s.eng, s.state.Model, shapes, feeds)
	if err != nil {
		return err
	}
	if _, _, err := half.Convert(s.state.Model, shapes, peak); err != nil {
		return err
	}
	return s.state.Model.Graph.Sort()
}

// quantize takes the model to 8-bit integers: ranges come from the calibration
// images, choices are made by images of the same pool that are not among them.
func (s *slim) quantize(ctx context.Context) error {
	if s.fit == nil || s.names == nil || s.classOf == nil {
		s.result.Notes = append(s.result.Notes, "in single precision, as there are no labelled images to calibrate integers on")
		return nil
	}
	q := &quantizer{eng: s.eng, model: s.state.Model, drop: defaultDrop, log: s.o.Progress}
	judged := s.pool.Without(s.fit)
	if judged.Len() < judgingImages/10 {
		judged = s.fit
	}
	judged = judged.Take(judgingImages, s.o.Seed)
	loaded, err := judged.Preload(ctx, s.file.pre, 1<<31)
	if err != nil {
		return err
	}
	q.images = measure.FromMemory(loaded)
	if q.classOf, err = s.logitsOf(judged.Classes); err != nil {
		return err
	}
	q.wanted = s.wanted
	if s.wanted != nil && s.o.Logits == "sliced" {
		q.classOf, q.wanted = measure.Sliced(q.classOf, s.wanted), nil
	}
	feeds, err := s.feeds(ctx)
	if err != nil {
		return err
	}
	for f, err := range feeds {
		if err != nil {
			return err
		}
		q.feeds = append(q.feeds, map[string]*graph.Tensor{})
		for name, t := range f {
			q.feeds[len(q.feeds)-1][name] = t
		}
		if len(q.feeds) == 16 {
			break
		}
	}
	if q.shapes, err = s.eng.Shapes(ctx, q.model); err != nil {
		return err
	}
	out := &Quantized{Calibrated: s.fit.Len(), Validated: judged.Len()}
	m, err := q.run(ctx, out)
	if err != nil {
		return err
	}
	s.state.Model = m
	for _, l := range slices.Compact(out.Float) {
		s.result.Notes = append(s.result.Notes, "int8: left in single precision: "+l)
	}
	return nil
}
