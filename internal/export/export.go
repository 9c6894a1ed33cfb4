package export

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"

	"nuwa/exporter"
	"nuwa/exporter/target"
	"nuwa/graph"
	"nuwa/importer"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/files"
	"nuwa/internal/lowering"
	"nuwa/internal/modelfile"
	"nuwa/internal/report"
	"nuwa/passes"
	"nuwa/passes/half"
)

// Options say what Export shall write. Zero fields leave the model as it
// is.
type Options struct {
	Model, Output string
	Force         bool
	DryRun        bool   // everything but the writing
	Weights       string // "" as the model has them, "embedded" or "external"
	Threshold     int64  // from how many bytes on "external" moves a weight out; 0 means 1024

	Target     string               // a preset of package target: what is not said otherwise is as that wants it
	Opset      int                  // version of ONNX's operator set
	Fold       bool                 // constants folded, shape arithmetic frozen
	Fuse       string               // "ort", "onnx" or "none"
	Norms      string               // "fast" or "keep"
	Precision  string               // "fp32", "fp16" or "int8"
	HalfPorts  bool                 // fp16: inputs and outputs as well
	Batch      string               // a number, or "dynamic"
	Layout     string               // of the image input: "nchw" or "nhwc"
	Data       string               // int8: images, class per folder, to calibrate on and to choose by
	Classes    []string             // int8: the classes that count; none takes those the model decides among
	Labels     string               // int8: file of class names in the order of the logits
	Images     int                  // int8: images to calibrate on; 0 means 128
	Drop       float64              // int8: the accuracy that integers may cost on the images that choose; 0 means 0.005
	Seed       uint64               // int8: of the choice of images
	Preprocess modelfile.Preprocess // int8: overrides of how images become inputs

	Tolerance float64 // largest difference of outputs, relative to the largest output; 0 means that of the precision

	Runtime  modelfile.Runtime
	Log      *slog.Logger
	Progress func(stage string, done, total int)
}

// Result is what Export wrote and how far that is from the original.
type Result struct {
	exporter.Info
	Opset      int64              `json:"opset"`
	Passes     []passes.Report    `json:"passes,omitempty"`
	Changes    []string           `json:"changes,omitempty"` // beyond passes: precision, batch, layout
	Difference float64            `json:"difference"`        // of outputs on the same inputs, relative to the largest
	Tolerance  float64            `json:"tolerance"`
	Batches    []int              `json:"batches,omitempty"` // at which both were run
	Target     string             `json:"target,omitempty"`
	Quantized  *report.Quantized  `json:"quantized,omitempty"`
	Violations []target.Violation `json:"violations,omitempty"` // what the target does not take
	Placement  *report.Placement  `json:"placement,omitempty"`  // where the target's provider runs the nodes
	Notes      []string           `json:"notes,omitempty"`
}

// Export imports a model and writes it again, unchanged unless asked. What it
// writes must load in ONNX Runtime; a model that was rewritten is run beside the
// original, and is not written where the two differ by more than the tolerance.
func Export(ctx context.Context, o Options) (*Result, error) {
	e := &export{o: o, result: &Result{}}
	for _, step := range []func(context.Context) error{e.prepare, e.rewrite, e.precision, e.ports, e.write} {
		if err := step(ctx); err != nil {
			return nil, fault.InFile(o.Model, err)
		}
	}
	return e.result, nil
}

// export is one run of Export.
type export struct {
	o       Options
	eng     *engine.Engine
	weights exporter.Weights
	target  target.Target
	model   *graph.Model
	before  *graph.Model // its inputs as they were
	widened bool         // the model computes in another type than its file
	result  *Result

	calibration map[string]*graph.Tensor // int8: images to compare on
}

// asks reports whether the model is to be rewritten at all.
func (e *export) asks() bool {
	o := e.o
	return o.Opset > 0 || o.Fold || o.Fuse != "" || o.Norms == "fast" || o.Precision == "fp16" || o.Precision == "int8" || o.Batch != "" || o.Layout != ""
}

func (e *export) prepare(context.Context) error {
	var err error
	if e.eng, err = e.o.Runtime.Start(); err != nil {
		return err
	}
	var ok bool
	if e.weights, ok = map[string]exporter.Weights{"": exporter.Keep, "embedded": exporter.Embedded, "external": exporter.External}[e.o.Weights]; !ok {
		return usage("weights", e.o.Weights, "embedded or external")
	}
	if !e.o.DryRun {
		if err := files.Vacant(e.o.Output, e.o.Force, e.o.Model); err != nil {
			return err
		}
	}
	if err := e.aim(); err != nil {
		return err
	}
	if e.o.Log == nil {
		e.o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if e.model, err = importer.Load(e.o.Model); err != nil {
		return err
	}
	if e.widened = e.asks() && half.Widen(e.model); e.widened {
		e.changed("bfloat16 computed in single precision")
	}
	if e.o.Opset == -1 { // a ceiling, from the target
		e.o.Opset = 0
		if e.model.Opset("") > int64(e.target.Opset) {
			e.o.Opset = e.target.Opset
		}
	}
	e.before = e.model.Clone()
	e.result.Opset, e.result.Target = e.model.Opset(""), e.target.Name
	return nil
}

// aim takes from the target what is not said otherwise, and checks the choices.
func (e *export) aim() error {
	o := &e.o
	if o.Target != "" {
		t, err := target.Preset(o.Target)
		if err != nil {
			return err
		}
		e.target = t
		o.Fold = true
		if o.Opset == 0 && t.Opset > 0 {
			o.Opset = -1
		}
		for _, x := range []struct {
			field *string
			want  string
		}{{&o.Fuse, t.Fuse}, {&o.Norms, t.Norms}, {&o.Precision, t.Precision}, {&o.Layout, t.Layout}} {
			if *x.field == "" {
				*x.field = x.want
			}
		}
		if o.Batch == "" && t.Batch > 0 {
			o.Batch = strconv.Itoa(t.Batch)
		}
		if o.Precision == "int8" && o.Data == "" {
			e.result.Notes = append(e.result.Notes, "in single precision, as there are no images to calibrate integers on; give --data")
			o.Precision = "fp32"
		}
		if o.Precision == "int8" && o.Fuse == "ort" {
			o.Fuse = "" // a fused attention has no form in integers
		}
	}
	for _, x := range []struct {
		what, got string
		want      []string
	}{{"fuse", o.Fuse, target.Fusions}, {"norms", o.Norms, target.Spellings}, {"precision", o.Precision, target.Precisions}, {"input-layout", o.Layout, target.Layouts}} {
		if x.got != "" && !slices.Contains(x.want, x.got) {
			return usage(x.what, x.got, fmt.Sprint(x.want))
		}
	}
	o.Fold = o.Fold || o.Batch == "dynamic" // what states one image must be constant to be found
	if n, err := strconv.Atoi(o.Batch); o.Batch != "" && o.Batch != "dynamic" && (err != nil || n < 1) {
		return usage("batch", o.Batch, "a number of images, or dynamic")
	}
	if o.Tolerance < 0 {
		return usage("tolerance", fmt.Sprint(o.Tolerance), "0 or more")
	}
	return nil
}

// rewrite runs the passes that keep what the model computes.
func (e *export) rewrite(ctx context.Context) error {
	list := passes.Lower(passes.Lowering{Fold: e.o.Fold, Fuse: e.o.Fuse, FastNorms: e.o.Norms == "fast", Opset: int64(e.o.Opset),
		Stored: e.asks() && e.o.Precision != "fp16" && e.o.Precision != "int8"})
	if len(list) == 0 {
		return nil
	}
	s := &passes.State{Model: e.model, Engine: e.eng, Log: e.o.Log, Progress: e.o.Progress}
	reports, err := (&passes.Manager{}).Run(ctx, s, list)
	if err != nil {
		return err
	}
	for _, r := range reports {
		if r.Changes != "" {
			e.result.Passes = append(e.result.Passes, r)
		}
	}
	e.model, e.result.Notes = s.Model, append(e.result.Notes, s.Notes...)
	return nil
}

func (e *export) precision(ctx context.Context) error {
	if e.o.Precision == "int8" {
		return e.quantize(ctx)
	}
	if e.o.Precision != "fp16" {
		return nil
	}
	halves, singles, err := lowering.Half(ctx, e.eng, e.model)
	if err != nil {
		return err
	}
	e.changed("half precision: %d nodes, %d stay in single precision", halves, singles)
	if e.o.HalfPorts {
		e.changed("half precision: %d inputs and outputs", half.Ports(e.model))
	}
	return e.model.Graph.Sort()
}

func (e *export) changed(format string, args ...any) {
	e.result.Changes = append(e.result.Changes, fmt.Sprintf(format, args...))
}

// ports settles the batch and the layout of the input.
func (e *export) ports(ctx context.Context) error {
	m, changes, err := lowering.Ports{Batch: e.o.Batch, Layout: e.o.Layout, Fold: e.o.Fold}.Apply(ctx, e.eng, e.o.Log, e.model)
	if err != nil {
		return err
	}
	e.model, e.result.Changes = m, append(e.result.Changes, changes...)
	return nil
}

func usage(what, got, want string) error {
	return &fault.Error{Kind: fault.Usage, Where: what, Got: `"` + got + `"`, Want: want}
}
