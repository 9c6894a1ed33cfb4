package export

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"nuwa/exporter"
	"nuwa/exporter/target"
	"nuwa/graph"
	"nuwa/importer"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/lowering"
	"nuwa/internal/ort"
)

// How far a rewritten model may be from the original, relative to the largest
// output: sums are taken in another order, or in half precision.
const (
	exactTolerance = 1e-4
	halfTolerance  = 2e-2
	int8Tolerance  = 0.5 // on images, as random inputs are outside what was calibrated; the accuracy is what counts
)

// write writes the model, once ONNX Runtime has loaded it and, where it was
// rewritten, run it beside the original.
func (e *export) write(ctx context.Context) error {
	e.result.Opset = e.model.Opset("")
	path := e.o.Output
	if e.o.DryRun {
		dir, err := os.MkdirTemp("", "nuwa-export-*")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		path = filepath.Join(dir, "planned.onnx")
	}
	info, err := exporter.Write(e.model, path, exporter.Options{Force: e.o.Force, Weights: e.weights, Threshold: e.o.Threshold, Validate: func(tmp string) error {
		importer.Unload()
		if !e.asks() {
			s, err := ort.NewSessionFile(tmp, ort.Options{Name: e.o.Model, Threads: e.eng.Threads, Optimize: ort.None, LowMemory: engine.Heavy(e.model)})
			if err != nil {
				return err
			}
			return s.Close()
		}
		return e.prove(ctx, tmp)
	}})
	if err != nil {
		return err
	}
	if e.o.DryRun {
		info.Path = ""
		if info.DataPath != "" {
			info.DataPath = ""
		}
	}
	e.result.Info = info
	return nil
}

// prove runs the file at tmp beside the original, and holds it to the tolerance
// and to what the target takes.
func (e *export) prove(ctx context.Context, tmp string) error {
	e.result.Tolerance = e.o.Tolerance
	if e.result.Tolerance == 0 {
		e.result.Tolerance = exactTolerance
		if e.o.Precision == "fp16" || halved(e.before) {
			e.result.Tolerance = halfTolerance
		}
		if e.o.Precision == "int8" {
			e.result.Tolerance = int8Tolerance
		}
	}
	p := pairing{eng: e.eng, before: e.before, after: e.model, widened: e.widened, feeds: e.calibration}
	var where string
	var err error
	if e.result.Difference, where, err = p.run(ctx, e.o.Model, tmp); err != nil {
		return err
	}
	e.result.Batches = p.batches
	if !(e.result.Difference <= e.result.Tolerance) {
		return &fault.Error{Kind: fault.Check, File: e.o.Model, Where: where, Got: fmt.Sprintf("outputs that differ by %.2g of the largest", e.result.Difference),
			Want: fmt.Sprintf("at most %.2g", e.result.Tolerance), Remedy: "nothing was written; ask for less, or allow more with --tolerance"}
	}
	if e.o.Target != "" {
		e.result.Violations = target.Check(e.model, e.target)
		e.result.Placement, err = lowering.Place(ctx, e.eng, e.model, e.target, tmp)
	}
	return err
}

// halved reports whether m computes in 16-bit floats, or holds weights in them.
func halved(m *graph.Model) bool {
	typed := func(v *graph.Value) bool { return v.Type != nil && v.Type.Elem.IsHalf() }
	return slices.ContainsFunc(m.Graph.Outputs(), typed) || slices.ContainsFunc(m.Graph.Inputs(), typed) ||
		slices.ContainsFunc(m.Graph.Consts(), func(v *graph.Value) bool { return v.Default() != nil && v.Default().Type.IsHalf() }) ||
		slices.ContainsFunc(m.Graph.Nodes(), func(n *graph.Node) bool { return n.Is("Cast") && graph.DType(n.IntAttr("to", 0)).IsHalf() })
}
