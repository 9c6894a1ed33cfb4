package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"nuwa"
	"nuwa/exporter/target"
	"nuwa/internal/fault"
)

func (a *app) derive() *cobra.Command {
	c := &cobra.Command{
		Use: "derive vit.onnx",
		Example: `  nuwa derive vit.onnx -o slim.onnx --data photos/train --classes cat,dog,ship --rate 0.4
  nuwa derive vit.onnx -o slim.onnx --data photos.zip/photos/train --test photos.zip/photos/test --rate 0.5 --report slim.json
  nuwa derive vit.onnx -o slim.onnx --calibration synthetic --qk 32 --vo 48 --hidden 50%
  nuwa derive vit.onnx --dry-run --data photos/train --classes cat,dog --rate 0.6`,
		Short: "Make a smaller, faster model that serves the wanted classes",
		Long: `Derive narrows the classifier to the wanted classes, shrinks attention by
truncated singular value decompositions and hidden layers by least squares, and
writes the result once ONNX Runtime has proven it. Nothing is trained.

Accuracy is judged on --test, or else on a validation split of --data that is
not calibrated on. The base is judged among all its classes and among the
wanted ones only: the second figure is the one to compare with.`,
		Args: args(1, 1, "the base model"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := a.deriveOptions(args[0])
			if err != nil {
				return err
			}
			rep, err := a.newReport(o.Model, o.Output)
			if err != nil {
				return err
			}
			defer rep.discard()
			var done func()
			o.Progress, done = a.progress()
			res, err := nuwa.Derive(cmd.Context(), o)
			done()
			if err != nil {
				return err
			}
			res.Provenance.Command = command(cmd, args)
			if err := rep.write(res); err != nil {
				return err
			}
			return a.print(res, func(w io.Writer) error {
				if err := writeResult(w, res); err != nil {
					return err
				}
				return writeEnd(w, res)
			})
		},
	}
	f := c.Flags()
	f.StringP("output", "o", "", "where to write the slim model")
	reportFlag(f)
	f.String("test", "", "images to judge by, as for --data; never calibrated on")
	f.Float64("rate", 0, "part of the multiply-accumulates to remove, below 1")
	f.Int("qk", 0, "width of queries and keys per head, instead of a rate")
	f.Int("vo", 0, "width of values and outputs per head, instead of a rate")
	f.String("hidden", "", "hidden neurons per block, as N or N%, instead of a rate")
	budgetFlags(f)
	f.Int("align", 8, "widths are multiples of this")
	f.Int("merge", 0, "merge so many tokens with others behind each attention; with --max-latency at most so many, as validation likes")
	f.String("recipe", "best", "paper or best: the strategies that are not named below (see nuwa help recipes)")
	for _, p := range nuwa.Parts {
		f.String(p.Name, "", p.Doc+": "+p.Names())
	}
	f.String("purify", "", "remove neurons that hurt first, by ste, first or second, or none; by default ste for recipe paper, none for best")
	purifyFlags(f)
	f.String("logits", "sliced", "sliced: only the wanted logits; full: the others masked")
	f.Bool("other", false, "keep one more logit that stands for all other classes; --data needs images of some, in folders of any name")
	f.Float64("false-accept", 0.05, "with --other, part of the images of other classes that may be taken for wanted")
	f.String("norms", "fast", "fast: layer norms in the operators that ONNX Runtime is fastest at; keep: as exported, for runtimes with a fused norm")
	f.String("target", "", "a device to write for, where no flag says otherwise: "+strings.Join(target.Presets(), ", "))
	f.String("fuse", "", "ort: attention, GELU and biased products in ONNX Runtime's own operators; onnx: in ONNX's; none: in plain ones")
	f.Int("opset", 0, "the newest version of ONNX's operator set that the result may need, 11 or newer; 0 for that of the base")
	f.String("precision", "", "fp32, fp16, or int8: linear maps in 8-bit integers, calibrated on the same images")
	f.String("calibration", "images", "images, or synthetic: standard-normal inputs, for models without images")
	f.Int("images", 0, "calibration images; 0 means the recipe's number")
	f.Uint64("seed", 0, "seed of every random choice")
	f.Bool("force", false, "replace an existing output or report")
	f.Bool("dry-run", false, "plan and print, write nothing")
	f.Bool("no-bench", false, "do not measure latency")
	cacheFlag(f, "none by default")
	dataFlags(f)
	return c
}

// dataFlags are those of commands that read images.
func dataFlags(f *pflag.FlagSet) {
	f.String("data", "", "images, a folder per class: a directory, or a path that goes on inside a zip; or a CSV of images and their classes (see nuwa help labels)")
	f.String("image-root", "", "directory or zip that the paths in a CSV are relative to; the CSV's own folder by default")
	f.Bool("multilabel", false, "decide each class by itself, even if every image of a CSV has exactly one")
	f.StringSlice("classes", nil, "wanted classes, by name or logit number, or all")
	f.String("labels", "", "file of class names in the order of the logits")
	preprocessFlags(f)
}

func preprocessFlags(f *pflag.FlagSet) {
	f.String("mean", "", "mean per channel, as a,b,c")
	f.String("std", "", "standard deviation per channel, as a,b,c")
	f.Int("size", 0, "image side, for models that leave it open")
	f.String("resize", "", "squash, shortest, center or none")
	f.Float64("crop", 0, "part of each side that a center crop keeps")
	f.String("interpolation", "", "nearest, bilinear, bicubic, lanczos, box or hamming")
	f.String("order", "", "RGB or BGR")
}

func (a *app) preprocess() (p nuwa.Preprocess, err error) {
	v := a.config
	p = nuwa.Preprocess{Size: v.GetInt("size"), Resize: v.GetString("resize"), CropFraction: v.GetFloat64("crop"),
		Interpolation: v.GetString("interpolation"), Order: v.GetString("order")}
	if p.Mean, err = triple("mean", v.GetString("mean")); err != nil {
		return p, err
	}
	p.Std, err = triple("std", v.GetString("std"))
	return p, err
}

// triple reads "a,b,c", or one number for all three; nothing gives nil.
func triple(flag, s string) ([]float32, error) {
	s = strings.Trim(s, "[] ")
	if s == "" {
		return nil, nil
	}
	parts := strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
	if len(parts) == 1 {
		parts = []string{parts[0], parts[0], parts[0]}
	}
	var xs []float32
	for _, p := range parts {
		x, err := strconv.ParseFloat(p, 32)
		if err != nil || len(parts) != 3 {
			return nil, &fault.Error{Kind: fault.Usage, Where: "--" + flag, Got: fmt.Sprintf("%q", s), Want: "three numbers, as in .5,.5,.5"}
		}
		xs = append(xs, float32(x))
	}
	return xs, nil
}

func (a *app) deriveOptions(model string) (nuwa.Options, error) {
	v := a.config
	pre, err := a.preprocess()
	if err != nil {
		return nuwa.Options{}, err
	}
	o := nuwa.Options{
		Model: model, Output: v.GetString("output"),
		Data: v.GetString("data"), Test: v.GetString("test"), Classes: a.list("classes"), Labels: v.GetString("labels"),
		ImageRoot: v.GetString("image-root"), MultiLabel: v.GetBool("multilabel"),
		Rate: v.GetFloat64("rate"), Widths: nuwa.Widths{QK: v.GetInt("qk"), VO: v.GetInt("vo")}, Align: v.GetInt("align"), Merge: v.GetInt("merge"),
		Recipe: v.GetString("recipe"), Purify: v.GetString("purify"), Logits: v.GetString("logits"), Norms: v.GetString("norms"),
		Other: v.GetBool("other"), FalseAccept: v.GetFloat64("false-accept"),
		Calibration: v.GetString("calibration"), Images: v.GetInt("images"),
		Purification: a.purification(), Preprocess: pre, Runtime: a.runtime(), Seed: v.GetUint64("seed"), Force: v.GetBool("force"),
		DryRun: v.GetBool("dry-run"), Cache: v.GetString("cache"), SkipBench: v.GetBool("no-bench"), Log: a.logger(),
	}
	if o.Budget, err = a.budget(); err != nil {
		return o, err
	}
	for _, p := range nuwa.Parts {
		*p.Of(&o.Strategies) = v.GetString(p.Name)
	}
	o.Fuse, o.Opset, o.Precision = v.GetString("fuse"), v.GetInt("opset"), v.GetString("precision")
	if name := v.GetString("target"); name != "" {
		if o.Target, err = target.Preset(name); err != nil {
			return o, err
		}
		if !v.IsSet("align") {
			o.Align = 0
		}
		if !v.IsSet("norms") {
			o.Norms = ""
		}
	}
	for _, flag := range []string{"qk", "vo", "align"} {
		if n := v.GetInt(flag); n < 1 && v.IsSet(flag) {
			return o, usageError("--"+flag, fmt.Sprint(n), "at least 1")
		}
	}
	if h := v.GetString("hidden"); h != "" {
		number, percent := strings.CutSuffix(h, "%")
		x, err := strconv.ParseFloat(number, 64)
		if err != nil || x <= 0 || percent && x > 100 || !percent && x != float64(int(x)) {
			return o, &fault.Error{Kind: fault.Usage, Where: "--hidden", Got: fmt.Sprintf("%q", h), Want: "a number of neurons, or a percentage such as 50%"}
		}
		if percent {
			o.Widths.Part = x / 100
		} else {
			o.Widths.Hidden = int(x)
		}
	}
	return o, nil
}

// list reads a flag of several values.
func (a *app) list(key string) []string {
	var out []string
	for _, s := range a.config.GetStringSlice(key) {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// writeResult prints the before/after tables.
func writeResult(w io.Writer, r *nuwa.Result) error {
	asked := ""
	if r.RateAsked > 0 {
		asked = fmt.Sprintf(" (asked %.3f)", r.RateAsked)
	}
	saved := fmt.Sprintf("%.3f of the multiply-accumulates", r.Rate)
	if r.Saved != nil {
		saved += fmt.Sprintf(", %.3f of the %s", r.Saved.Part, r.Saved.What)
	}
	fmt.Fprintf(w, "%s, recipe %s: removed %s%s\n", r.Model, r.Recipe, saved, asked)
	if err := writeFound(w, r.Budget); err != nil {
		return err
	}
	if r.Judged != "" && r.Output != "" {
		fmt.Fprintf(w, "accuracy on %s\n", r.Judged)
	}
	fmt.Fprintln(w)
	if err := r.Summary.Write(w); err != nil {
		return err
	}
	if r.Summary.Bench != nil {
		fmt.Fprintln(w)
		if err := r.Summary.Bench.Write(w); err != nil {
			return err
		}
	}
	fmt.Fprintln(w)
	if err := writeBlocks(w, r.Blocks); err != nil {
		return err
	}
	if r.Purification != nil {
		fmt.Fprintln(w)
		if err := writePurification(w, r.Purification); err != nil {
			return err
		}
	}
	if r.Other != nil {
		fmt.Fprintln(w)
		if err := writeOther(w, r.Other); err != nil {
			return err
		}
	}
	if t := r.Target; t != nil {
		fmt.Fprintln(w)
		for _, f := range t.Facts() {
			fmt.Fprintf(w, "%s: %s\n", f.Name, f.Value)
		}
		for _, v := range t.Refused() {
			fmt.Fprintf(w, "%s: got %s, want %s\n", v.Where, v.Got, v.Want)
		}
		if t.Quantized != nil {
			writeFloat(w, t.Quantized)
		}
	}
	for _, d := range r.Declined {
		fmt.Fprintf(w, "left alone: %s %s: %s\n", d.Where, d.What, d.Reason)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(w, "note:", n)
	}
	return nil
}

// writeEnd says where the result is.
func writeEnd(w io.Writer, r *nuwa.Result) (err error) {
	if r.Output == "" {
		_, err = fmt.Fprintf(w, "\nplanned in %.1f s; nothing was written\n", r.Seconds)
	} else {
		_, err = fmt.Fprintf(w, "\nwrote %s, derived in %.1f s\n", r.Output, r.Seconds)
	}
	return err
}
