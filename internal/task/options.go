package task

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"nuwa/exporter/target"
	"nuwa/internal/fault"
	"nuwa/internal/modelfile"
	"nuwa/passes"
	"nuwa/passes/purify"
)

// Options say what Derive shall make. Model, and Output unless DryRun, are
// needed; the zero value of every other field is a sensible choice.
type Options struct {
	Model  string // the base, an ONNX file
	Output string // where the slim model goes

	Data    string   // calibration images, class per folder: a directory, or a path that goes on inside a zip; or a CSV of images and their classes
	Test    string   // images to judge by, never calibrated on; "" judges on a validation split of Data
	Classes []string // wanted classes, names or logit numbers; none, or "all", keeps every class
	Labels  string   // file of class names in the order of the logits

	ImageRoot  string // what the paths in a CSV are relative to: a directory or a path into a zip; "" means the CSV's own folder
	MultiLabel bool   // each class is decided by itself, even where every image has exactly one; a CSV with other images decides that by itself

	Rate   float64 // the part of the base's multiply-accumulates to remove, 0 to 1
	Widths Widths  // explicit widths instead of a rate
	Budget Budget  // limits instead of a rate
	Align  int     // widths are multiples of this; 0 means 8
	Merge  int     // tokens that are merged with others behind each attention; where Budget limits latency, at most so many

	Recipe      string        // "paper" or "best"; "" means "best"
	Strategies  passes.Recipe // strategies to take in the place of the recipe's; those left "" are the recipe's
	Purify      string        // "none", "ste", "first" or "second"; "" means the recipe's choice, and none where it cannot be done
	Logits      string        // "sliced" (only wanted logits) or "full" (others masked); "" means "sliced"
	Other       bool          // keep one more logit, the last, for all classes that are not wanted
	FalseAccept float64       // part of the images of other classes that may be taken for wanted, 0 to 1; 0 means 0.05
	Norms       string        // "fast": layer norms in the operators that ONNX Runtime is fastest at; "keep": as exported; "" means "fast"
	Target      target.Target // the device: what is not said otherwise of Align, Norms, Fuse, Opset and Precision is as it wants, and so are the batch and layout of the input; its limits on memory and latency hold beside Budget
	Fuse        string        // "ort": attention, GELU and biased products in ONNX Runtime's own operators; "onnx": in ONNX's; "" or "none": in plain ones
	Opset       int           // the newest version of the operator set that the slim model may need; 0 for that of the base
	Precision   string        // "fp32", "fp16" or "int8"; "" means "fp32"
	Calibration string        // "images" or "synthetic"; "" means "images"
	Images      int           // calibration images; 0 means the recipe's own number

	Purification Purification
	Preprocess   modelfile.Preprocess // overrides of how images become inputs
	Runtime      modelfile.Runtime
	Seed         uint64
	Cache        string // folder of results that runs share; "" shares none
	Force        bool   // replace an existing output
	DryRun       bool   // plan only: nothing is written
	SkipBench    bool   // measure no latency

	Log      *slog.Logger                        // nil discards
	Progress func(stage string, done, total int) // nil for none; total 0 when it is not known
}

// Widths are widths per head or block. Zero leaves a part alone.
type Widths struct {
	QK     int     // of queries and keys, per head
	VO     int     // of values and outputs, per head
	Hidden int     // hidden neurons per block
	Part   float64 // hidden neurons as a part of each block's, 0 to 1, where Hidden is 0
}

// RecipeOf returns the named recipe with the strategies that o chooses itself.
func RecipeOf(o Options) passes.Recipe {
	r, _ := passes.Named(o.Recipe, o.Strategies) // WithDefaults has checked it
	return r
}

// IsZero reports whether no width is given.
func (w Widths) IsZero() bool { return w == Widths{} }

// WithDefaults fills in defaults and reports the first option that makes no
// sense.
func WithDefaults(o Options) (Options, error) {
	bad := func(what, got, want string) error {
		return &fault.Error{Kind: fault.Usage, Where: what, Got: got, Want: want}
	}
	choose := func(what string, field *string, choices ...string) error {
		if *field == "" {
			*field = choices[0]
		}
		if !slices.Contains(choices, *field) {
			return bad(what, fmt.Sprintf("%q", *field), strings.TrimPrefix(strings.Join(choices, " or "), " or "))
		}
		return nil
	}
	if err := o.aim(); err != nil {
		return o, err
	}
	for _, err := range []error{
		choose("precision", &o.Precision, target.Precisions...),
		choose("fuse", &o.Fuse, "", "none", "ort", "onnx"),
		choose("recipe", &o.Recipe, "best", "paper"),
		choose("purify", &o.Purify, "", "none", purify.STE, purify.First, purify.Second),
		choose("logits", &o.Logits, "sliced", "full"),
		choose("norms", &o.Norms, "fast", "keep"),
		choose("calibration", &o.Calibration, "images", "synthetic"),
	} {
		if err != nil {
			return o, err
		}
	}
	if _, err := passes.Named(o.Recipe, o.Strategies); err != nil {
		return o, err
	}
	if o.Align == 0 {
		o.Align = 8
	}
	if o.FalseAccept == 0 {
		o.FalseAccept = falseAccept
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Progress == nil {
		o.Progress = func(string, int, int) {}
	}
	switch {
	case o.Model == "":
		return o, bad("model", "no file", "an ONNX file")
	case o.Output == "" && !o.DryRun:
		return o, bad("output", "no file", "where to write the slim model (-o), or --dry-run")
	case o.Align < 1 || o.Align > 1024:
		return o, bad("align", fmt.Sprint(o.Align), "1 to 1024")
	case o.Merge < 0:
		return o, bad("merge", fmt.Sprint(o.Merge), "0 or more")
	case o.Rate < 0 || o.Rate >= 1 || o.Rate != o.Rate:
		return o, bad("rate", fmt.Sprint(o.Rate), "at least 0 and below 1: the part of the multiply-accumulates to remove")
	case o.Rate > 0 && !o.Widths.IsZero():
		return o, bad("rate", "a rate and explicit widths", "one of them")
	case o.Budget.check() != nil:
		return o, o.Budget.check()
	case !o.Budget.IsZero() && (o.Rate > 0 || !o.Widths.IsZero()):
		return o, bad("budget", "limits and a rate or explicit widths", "one of them")
	case o.Rate == 0 && o.Widths.IsZero() && o.Budget.IsZero() && o.Merge == 0 && modelfile.WantsAll(o.Classes) && (o.Purify == "" || o.Purify == "none"):
		return o, &fault.Error{Kind: fault.Usage, Got: "nothing to do", Want: "a rate, widths or classes", Remedy: "give --rate, --qk/--vo/--hidden, --merge or --classes"}
	case o.Widths.Part < 0 || o.Widths.Part > 1 || o.Widths.QK < 0 || o.Widths.VO < 0 || o.Widths.Hidden < 0:
		return o, bad("widths", fmt.Sprintf("%+v", o.Widths), "widths of at least 1, a part from 0% to 100%")
	case o.Calibration == "images" && o.Data == "":
		return o, &fault.Error{Kind: fault.Usage, Where: "data", Got: "no images", Want: "a folder with a folder per class",
			Remedy: "give --data, or --calibration synthetic"}
	case !(o.FalseAccept > 0 && o.FalseAccept < 1):
		return o, bad("false-accept", fmt.Sprint(o.FalseAccept), "a part above 0 and below 1")
	case o.Images < 0:
		return o, bad("images", fmt.Sprint(o.Images), "at least 1")
	}
	return o, nil
}

// SizeOptions sets what the passes are told about one size.
func SizeOptions(o Options, p *passes.Options) {
	p.Rate, p.Part, p.Align, p.Merge, p.KeepNorms, p.Fixed = o.Rate, o.Widths.Part, o.Align, o.Merge, o.Norms == "keep", nil
	p.Recipe.Cost = RecipeOf(o).Cost
	if w := o.Widths; !w.IsZero() {
		p.Fixed = &passes.Width{QK: w.QK, VO: w.VO, Hidden: w.Hidden}
	}
}

// Purification says how neurons that hurt the wanted classes are found. The
// zero value is the paper's way.
type Purification struct {
	Loss       string        // "all" or "wanted": the classes that the loss and the choice of the mask are over; "" means "wanted" for recipe best, else "all"
	Balance    bool          // weigh images by the inverse frequency of their class, and calibrate on equally many of each
	Steps      int           // 0 means 10 000
	Batch      int           // images per step; 0 means 1
	Patience   int           // end after so many judgements without a better one; 0 means never
	Time       time.Duration // 0 for no limit
	Checkpoint string        // where a run that was interrupted goes on from; "" means the output's name with .purify

	Watch func(purify.Progress) // called after each step; nil for none
}

// Budget are limits that a rate is found for: the lowest one that meets all of
// them, or, for an accuracy, the highest. Zero limits nothing.
type Budget struct {
	MaxMACs     int64 // per image
	MaxParams   int64
	MaxBytes    int64         // of the file
	MaxMemory   int64         // of weights and activations during one run
	MaxLatency  time.Duration // of one run, with the target's threads, and its provider where ONNX Runtime has it here
	MinAccuracy float64       // among the wanted classes (their mean with Balance, their mean average precision where images may have several), on images of Data that nothing is calibrated on and that do not judge, 0 to 1
}

// Cost names what the sensitivity allocation has to save to meet b with least
// loss; "" where b limits none or several of the things that it can save.
func (b Budget) Cost() string {
	weights := b.MaxParams > 0 || b.MaxBytes > 0 || b.MaxMemory > 0
	switch {
	case weights && b.MaxMACs == 0 && b.MaxLatency == 0:
		return passes.CostParameters
	case b.MaxLatency > 0 && b.MaxMACs == 0 && !weights:
		return passes.CostLatency
	}
	return ""
}

// IsZero reports whether nothing is limited.
func (b Budget) IsZero() bool { return b == Budget{} }

// check reports limits that make no sense.
func (b Budget) check() error {
	bad := func(what string, got any, want string) error {
		return &fault.Error{Kind: fault.Usage, Where: what, Got: fmt.Sprint(got), Want: want}
	}
	for what, n := range map[string]int64{"max-macs": b.MaxMACs, "max-params": b.MaxParams, "max-bytes": b.MaxBytes, "max-memory": b.MaxMemory, "max-latency": int64(b.MaxLatency)} {
		if n < 0 {
			return bad(what, n, "more than 0")
		}
	}
	limits := b
	limits.MinAccuracy = 0
	switch {
	case !(b.MinAccuracy >= 0 && b.MinAccuracy <= 1):
		return bad("min-accuracy", b.MinAccuracy, "0 to 1")
	case b.MinAccuracy > 0 && !limits.IsZero():
		return bad("min-accuracy", "limits beside an accuracy", "one or the other: limits ask for the largest model, an accuracy for the smallest")
	}
	return nil
}

// aim takes from the target what is not said otherwise. Its limits join those of
// a budget that asks for the largest model.
func (o *Options) aim() error {
	t := o.Target
	if err := t.Validate(); err != nil {
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
	b := &o.Budget
	if !b.IsZero() && b.MinAccuracy == 0 {
		if t.MaxLatency > 0 && (b.MaxLatency == 0 || t.MaxLatency < b.MaxLatency) {
			b.MaxLatency = t.MaxLatency
		}
		if t.MaxMemory > 0 && (b.MaxMemory == 0 || t.MaxMemory < b.MaxMemory) {
			b.MaxMemory = t.MaxMemory
		}
	}
	return nil
}
