package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"nuwa"
	"nuwa/exporter/target"
)

func (a *app) export() *cobra.Command {
	c := &cobra.Command{
		Use: "export in.onnx",
		Example: `  nuwa export in.onnx -o out.onnx
  nuwa export in.onnx -o out.onnx --weights external
  nuwa export in.onnx -o out.onnx --opset 13 --batch 1
  nuwa export in.onnx -o out.onnx --fuse ort --norms fast
  nuwa export in.onnx -o out.onnx --target tensorrt`,
		Short: "Import a model and write it again, unchanged unless asked",
		Long: `Export writes a model for another consumer: another version of the operator
set, fused or plain operators, half precision, another batch or input layout.
Nothing is pruned. A rewritten model is run beside the original on the same
random inputs; the largest difference is printed, and nothing is written where
it exceeds the tolerance.`,
		Args: args(1, 1, "a model"),
		RunE: func(cmd *cobra.Command, args []string) error {
			v := a.config
			if v.GetString("output") == "" && !v.GetBool("dry-run") {
				return usageError("--output", "no file", "where to write the model")
			}
			if n := v.GetInt("opset"); v.IsSet("opset") && n < 1 && cmd.Flags().Changed("opset") {
				return usageError("--opset", fmt.Sprint(n), "at least 1")
			}
			var err error
			o := nuwa.ExportOptions{
				Model: args[0], Output: v.GetString("output"), Force: v.GetBool("force"), DryRun: v.GetBool("dry-run"),
				Weights: v.GetString("weights"), Threshold: v.GetInt64("external-threshold"), Target: v.GetString("target"),
				Opset: v.GetInt("opset"), Fold: v.GetBool("fold"), Fuse: v.GetString("fuse"), Norms: v.GetString("norms"),
				Precision: v.GetString("precision"), HalfPorts: v.GetBool("fp16-io"), Batch: v.GetString("batch"), Layout: v.GetString("input-layout"),
				Tolerance: v.GetFloat64("tolerance"), Runtime: a.runtime(), Log: a.logger(),
			}
			if o.Preprocess, err = a.preprocess(); err != nil {
				return err
			}
			o.Data, o.Classes, o.Labels, o.Images, o.Drop, o.Seed = v.GetString("data"), a.list("classes"), v.GetString("labels"), v.GetInt("images"), v.GetFloat64("drop"), v.GetUint64("seed")
			if v.GetBool("external-data") {
				o.Weights = "external"
			}
			if v.GetBool("fp16") {
				o.Precision = "fp16"
			}
			var done func()
			o.Progress, done = a.progress()
			res, err := nuwa.Export(cmd.Context(), o)
			done()
			if err != nil {
				return err
			}
			return a.print(res, func(w io.Writer) error { return writeExported(w, res) })
		},
	}
	f := c.Flags()
	f.StringP("output", "o", "", "where to write the model")
	f.Bool("force", false, "replace an existing output")
	f.Bool("dry-run", false, "do everything but write")
	f.String("weights", "", "where weights go: embedded or external; as the model has them by default")
	f.Bool("external-data", false, "weights into a data file beside the model")
	f.Int64("external-threshold", 0, "with external weights: from how many bytes on one moves out; 0 means 1024")
	f.String("target", "", "a device to write for, where no flag says otherwise: "+strings.Join(target.Presets(), ", "))
	f.Int("opset", 0, "version of ONNX's operator set, 11 or newer")
	f.Bool("fold", false, "compute constants and shape arithmetic now")
	f.String("fuse", "", "ort: attention, GELU and biased products in ONNX Runtime's own operators; onnx: in ONNX's, as far as the operator set has them; none: spelled in plain operators")
	f.String("norms", "", "fast: layer norms in the operators that ONNX Runtime's CPU is fastest at; keep: as they are")
	f.String("precision", "", "fp32, fp16 or int8: linear maps in 8-bit integers, calibrated on --data")
	f.Int("images", 0, "with int8: images to calibrate on; 0 means 128")
	f.Float64("drop", 0, "with int8: the accuracy that it may cost on held-back images of --data; 0 means 0.005")
	f.Uint64("seed", 0, "with int8: seed of the choice of images")
	f.Bool("fp16", false, "half precision, but for norms, softmaxes and large values")
	f.Bool("fp16-io", false, "with half precision: inputs and outputs as well")
	f.String("batch", "", "images per run: a number, or dynamic, which folds constants as well")
	f.String("input-layout", "", "of the images: nchw or nhwc")
	f.Float64("tolerance", 0, "largest difference of outputs, relative to the largest; 0 means 1e-4, or 2e-2 in half precision")
	dataFlags(f)
	return c
}

func writeExported(w io.Writer, r *nuwa.Exported) error {
	for _, p := range r.Passes {
		fmt.Fprintf(w, "%-16s %s; outputs moved by %.1e\n", p.Pass, p.Changes, p.Drift)
	}
	for _, c := range r.Changes {
		fmt.Fprintln(w, c)
	}
	if q := r.Quantized; q != nil {
		fmt.Fprintln(w, "int8:", q.Words())
		writeFloat(w, q)
	}
	if len(r.Batches) > 0 {
		fmt.Fprintf(w, "largest difference to the original, at batches %v: %.2e of the largest output (at most %.0e)\n", r.Batches, r.Difference, r.Tolerance)
	}
	if p := r.Placement; p != nil {
		fmt.Fprintf(w, "nodes for %s: %s\n", r.Target, p.Words())
		for _, op := range slices.Sorted(maps.Keys(p.LeftOps)) {
			fmt.Fprintf(w, "on the CPU: %d %s\n", p.LeftOps[op], op)
		}
	}
	for _, v := range r.Violations {
		if !strings.HasPrefix(v.Got, "an operator that ") { // counted above
			fmt.Fprintf(w, "%s: got %s, want %s\n", v.Where, v.Got, v.Want)
		}
	}
	for _, n := range r.Notes {
		fmt.Fprintln(w, "note:", n)
	}
	if r.Path == "" {
		_, err := fmt.Fprintf(w, "planned %d bytes; nothing was written\n", r.Bytes+r.DataBytes)
		return err
	}
	files := r.Path
	if r.DataPath != "" {
		files += " and " + r.DataPath
	}
	_, err := fmt.Fprintf(w, "wrote %s, %d bytes\n", files, r.Bytes+r.DataBytes)
	return err
}

// writeFloat lists the linear maps that stay in single precision.
func writeFloat(w io.Writer, q *nuwa.Quantized) {
	for _, l := range q.Float {
		fmt.Fprintf(w, "left in single precision: %s, as %s", l.Layer, l.Why)
		if l.Harm != 0 {
			fmt.Fprintf(w, ": alone it moves the cross-entropy by %+.4f", l.Harm)
		}
		fmt.Fprintln(w)
	}
}
