package nuwa

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"nuwa/exporter/target"
	"nuwa/internal/data"
	"nuwa/internal/fault"
	"nuwa/internal/ort"
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

	Recipe      string  // "paper" or "best"; "" means "best"
	Strategies  Recipe  // strategies to take in the place of the recipe's; those left "" are the recipe's
	Purify      string  // "none", "ste", "first" or "second"; "" means the recipe's choice, and none where it cannot be done
	Logits      string  // "sliced" (only wanted logits) or "full" (others masked); "" means "sliced"
	Other       bool    // keep one more logit, the last, for all classes that are not wanted
	FalseAccept float64 // part of the images of other classes that may be taken for wanted, 0 to 1; 0 means 0.05
	Norms       string  // "fast": layer norms in the operators that ONNX Runtime is fastest at; "keep": as exported; "" means "fast"
	Target      string  // a preset of package target, which says what is not said otherwise of Align, Norms, Fuse, Opset and Precision; "" for none
	Fuse        string  // "ort": attention, GELU and biased products in ONNX Runtime's own operators; "onnx": in ONNX's; "" or "none": in plain ones
	Opset       int     // the newest version of the operator set that the slim model may need; 0 for that of the base
	Precision   string  // "fp32", "fp16" or "int8"; "" means "fp32"
	Calibration string  // "images" or "synthetic"; "" means "images"
	Images      int     // calibration images; 0 means the recipe's own number

	Purification Purification
	Preprocess   Preprocess // overrides of how images become inputs
	Runtime      Runtime
	Seed         uint64
	Cache        string // folder of results that runs share; "" shares none
	Force        bool   // replace an existing output
	DryRun       bool   // plan only: nothing is written
	SkipBench    bool   // measure no latency

	Log      *slog.Logger                        // nil discards
	Progress func(stage string, done, total int) // nil for none; total 0 when it is not known

	split          float64 // factor on what the recipe's ρ rule has attention lose; 0 means 1
	latencyThreads int     // that Budget.MaxLatency is measured with; 0 means those of Runtime
}

// Widths are widths per head or block. Zero leaves a part alone.
type Widths struct {
	QK     int     // of queries and keys, per head
	VO     int     // of values and outputs, per head
	Hidden int     // hidden neurons per block
	Part   float64 // hidden neurons as a part of each block's, 0 to 1, where Hidden is 0
}

// Recipe names one strategy for each part of the work; see Parts.
type Recipe = passes.Recipe

// Parts lists what a recipe is made of, with all strategies.
var Parts = passes.Parts

// Recipes are the named ones.
var Recipes = passes.Recipes

// recipe returns the named recipe with the strategies that o chooses itself.
func (o Options) recipe() Recipe {
	r, _ := passes.Named(o.Recipe, o.Strategies) // withDefaults has checked it
	return r
}

// IsZero reports whether no width is given.
func (w Widths) IsZero() bool { return w == Widths{} }

// Preprocess overrides how images become inputs; fields left zero come from
// the model's metadata, a preprocessor_config.json beside it, or defaults.
type Preprocess struct {
	Size          int       // height and width, for models that leave them open
	Mean, Std     []float32 // per channel, of values in 0..1
	Resize        string    // "squash", "shortest", "center" or "none"
	CropFraction  float64
	Interpolation string // "nearest", "box", "bilinear", "hamming", "bicubic" or "lanczos"
	Order         string // "RGB" or "BGR"
}

// Runtime says how ONNX Runtime is found and used.
type Runtime struct {
	Library   string // the shared library; "" looks in the usual places
	Threads   int    // 0 means all cores
	Providers []string
}

func (r Runtime) check() error {
	if r.Threads < 0 {
		return &fault.Error{Kind: fault.Usage, Where: "threads", Got: fmt.Sprint(r.Threads), Want: "0, for all cores, or more"}
	}
	return nil
}

func (r Runtime) providers() []ort.Provider {
	var ps []ort.Provider
	for _, p := range r.Providers {
		ps = append(ps, ort.Provider(p))
	}
	return ps
}

// withDefaults fills in defaults and reports the first option that makes no
// sense.
func (o Options) withDefaults() (Options, error) {
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
	case o.Rate < 0 || o.Rate >= 1 || o.Rate != o.Rate:
		return o, bad("rate", fmt.Sprint(o.Rate), "at least 0 and below 1: the part of the multiply-accumulates to remove")
	case o.Rate > 0 && !o.Widths.IsZero():
		return o, bad("rate", "a rate and explicit widths", "one of them")
	case o.Budget.check() != nil:
		return o, o.Budget.check()
	case !o.Budget.IsZero() && (o.Rate > 0 || !o.Widths.IsZero()):
		return o, bad("budget", "limits and a rate or explicit widths", "one of them")
	case o.Rate == 0 && o.Widths.IsZero() && o.Budget.IsZero() && wantsAll(o.Classes) && (o.Purify == "" || o.Purify == "none"):
		return o, &fault.Error{Kind: fault.Usage, Got: "nothing to do", Want: "a rate, widths or classes", Remedy: "give --rate, --qk/--vo/--hidden or --classes"}
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

func wantsAll(classes []string) bool {
	return len(classes) == 0 || len(classes) == 1 && strings.EqualFold(classes[0], "all")
}

// apply lays the overrides over p.
func (o Preprocess) apply(p data.Preprocess) data.Preprocess {
	if len(o.Mean) > 0 {
		p.Mean = o.Mean
	}
	if len(o.Std) > 0 {
		p.Std = o.Std
	}
	if o.Resize != "" {
		p.Resize = data.Resize(o.Resize)
		if p.Resize == data.Keep || p.Resize == data.Center {
			p.CropFraction = 1
		}
	}
	if o.CropFraction != 0 {
		p.CropFraction = o.CropFraction
	}
	if o.Interpolation != "" {
		p.Interpolation = data.Interpolation(o.Interpolation)
	}
	if o.Order != "" {
		p.Order = data.Order(strings.ToUpper(o.Order))
	}
	return p
}
