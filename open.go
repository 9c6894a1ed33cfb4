package nuwa

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"nuwa/graph"
	"nuwa/importer"
	"nuwa/internal/data"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/ort"
	"nuwa/passes/cleanup"
)

// Version is the version of nuwa, written into the models it makes.
const Version = "0.1.0"

// Metadata keys of the models that nuwa writes.
const (
	metaClasses    = "nuwa.classes"    // JSON list: the class of each logit
	metaWanted     = "nuwa.wanted"     // JSON list: the logits that are not masked, in a full-width model
	metaMultiLabel = "nuwa.multilabel" // "true": each class is decided by itself
	metaPreprocess = "nuwa.preprocess" // JSON: how images become inputs
	metaBase       = "nuwa.base"       // sha256 of the base file
	metaRecipe     = "nuwa.recipe"
	metaWidths     = "nuwa.widths" // JSON list: widths per block
	metaVersion    = "nuwa.version"
)

// Where preprocessing comes from.
const (
	fromMetadata = "the model's metadata"
	fromDefaults = "defaults" // nothing tells
)

// start loads ONNX Runtime and returns the engine that uses it.
func start(r Runtime) (*engine.Engine, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if _, err := ort.Load(r.Library); err != nil {
		return nil, err
	}
	return &engine.Engine{Threads: r.Threads, Providers: r.providers()}, nil
}

// opened is a model file and what is known about feeding and reading it.
type opened struct {
	path    string
	name    string // what tables call it; "" means the path without its folder
	model   *graph.Model
	pre     data.Preprocess
	preFrom string   // where pre comes from, for people
	names   []string // the class of each logit; nil when unknown
	namedBy string   // the file that names come from
	slim    bool     // names are those that nuwa wrote
	wanted  []int    // the logits that are not masked; nil when all count
	multi   bool     // each class is decided by itself
	notes   []string

	noImages error // why images cannot be fed; nil when they can
}

// label is what tables call the file.
func (f *opened) label() string {
	if f.name != "" {
		return f.name
	}
	return filepath.Base(f.path)
}

// tellApart has tables name files by their paths where two are called alike.
func tellApart(files ...*opened) {
	seen := map[string]bool{}
	for _, f := range files {
		if seen[f.label()] {
			for _, f := range files {
				f.name = f.path
			}
			return
		}
		seen[f.label()] = true
	}
}

// open reads a model and finds out how images become its input. Image sizes
// that the model leaves open are settled.
func open(ctx context.Context, eng *engine.Engine, o Preprocess, labels, path string) (*opened, error) {
	f, err := openAny(ctx, eng, o, labels, path)
	if err != nil {
		return nil, err
	}
	return f, f.noImages
}

// openAny is open for models that need not take images.
func openAny(ctx context.Context, eng *engine.Engine, o Preprocess, labels, path string) (*opened, error) {
	m, err := importer.Load(path)
	if err != nil {
		return nil, err
	}
	if err := engine.Safe(m); err != nil {
		return nil, inFile(path, err)
	}
	if engine.Align(m) {
		importer.Unload()
	}
	multi, _ := m.Meta(metaMultiLabel)
	f := &opened{path: path, model: m, multi: multi == "true"}
	if err := f.findPreprocess(o); err != nil {
		return nil, err
	}
	note, err := cleanup.Settle(ctx, eng, m, [2]int{f.pre.Height, f.pre.Width})
	if err != nil {
		return nil, inFile(path, err)
	}
	if note != "" {
		f.notes = append(f.notes, note)
	}
	switch err := f.fitInput(o); {
	case fault.KindOf(err) == fault.Unsupported:
		f.noImages = inFile(path, err)
	case err != nil:
		return nil, inFile(path, err)
	default:
		if err := f.pre.Validate(); err != nil {
			return nil, err
		}
	}
	return f, f.findNames(labels)
}

// findPreprocess takes the model's own metadata, else a file beside it, else
// the defaults, and lays the overrides over them.
func (f *opened) findPreprocess(o Preprocess) error {
	if s, ok := f.model.Meta(metaPreprocess); ok {
		if err := json.Unmarshal([]byte(s), &f.pre); err != nil {
			return &fault.Error{Kind: fault.Model, File: f.path, Where: "metadata " + metaPreprocess, Err: err}
		}
		f.preFrom = fromMetadata
	} else {
		pre, file, err := data.FindPreprocess(f.path)
		if err != nil {
			return err
		}
		f.pre, f.preFrom = pre, file
		if file == "" {
			f.pre, f.preFrom = data.Default(0, 0), fromDefaults
			f.pre.Mean, f.pre.Std = []float32{0.5, 0.5, 0.5}, []float32{0.5, 0.5, 0.5}
		}
	}
	f.pre = o.apply(f.pre)
	if f.preFrom == fromDefaults && (len(o.Mean) > 0 || len(o.Std) > 0) {
		f.preFrom = "the options"
	}
	if o.Size > 0 {
		f.pre.Height, f.pre.Width = o.Size, o.Size
	}
	return nil
}

// fitInput makes the preprocessing give what the model's image input takes.
func (f *opened) fitInput(o Preprocess) error {
	feeds := engine.Feeds(f.model)
	if len(feeds) != 1 {
		return &fault.Error{Kind: fault.Unsupported, Got: fmt.Sprintf("%d inputs", len(feeds)), Want: "one input that takes images",
			Remedy: "export the model with the image as its only input"}
	}
	in := feeds[0]
	dims, ok := in.Type.Dims()
	if !ok || len(dims) != 4 || !in.Type.Elem.IsFloat() {
		return &fault.Error{Kind: fault.Unsupported, Where: fmt.Sprintf("input %q", in.Name()), Got: in.Type.String(),
			Want: "floating-point images [batch, 3, height, width] or [batch, height, width, 3]"}
	}
	h, w := dims[2], dims[3]
	f.pre.Layout = data.NCHW
	if dims[1] != 3 && dims[3] == 3 {
		f.pre.Layout, h, w = data.NHWC, dims[1], dims[2]
	} else if dims[1] != 3 && dims[1] != -1 {
		return &fault.Error{Kind: fault.Unsupported, Where: fmt.Sprintf("input %q", in.Name()), Got: fmt.Sprintf("%d channels", dims[1]), Want: "3"}
	}
	if o.Size < 0 {
		return &fault.Error{Kind: fault.Usage, Where: "size", Got: fmt.Sprint(o.Size), Want: "at least 1 pixel"}
	}
	if h > 0 && w > 0 {
		if o.Size > 0 && (int64(o.Size) != h || int64(o.Size) != w) {
			return &fault.Error{Kind: fault.Usage, Where: "size", Got: fmt.Sprint(o.Size), Want: fmt.Sprintf("%dx%d, which the model fixes", h, w)}
		}
		f.pre.Height, f.pre.Width = int(h), int(w)
	}
	f.pre.Type = in.Type.Elem
	return nil
}

// findNames takes class names from the label file, else the model's metadata,
// else a config.json beside the model.
func (f *opened) findNames(labels string) error {
	var err error
	f.namedBy = f.path
	if labels != "" {
		f.namedBy = labels
		f.names, err = data.LoadLabels(labels)
		return err
	}
	if s, ok := f.model.Meta(metaClasses); ok {
		f.slim = true
		if err := json.Unmarshal([]byte(s), &f.names); err != nil {
			return &fault.Error{Kind: fault.Model, File: f.path, Where: "metadata " + metaClasses, Err: err}
		}
		if s, ok := f.model.Meta(metaWanted); ok {
			if err := json.Unmarshal([]byte(s), &f.wanted); err != nil {
				return &fault.Error{Kind: fault.Model, File: f.path, Where: "metadata " + metaWanted, Err: err}
			}
		}
		return nil
	}
	config := filepath.Join(filepath.Dir(f.path), "config.json")
	if _, err := os.Stat(config); err == nil {
		if names, err := data.LoadLabels(config); err == nil {
			f.names, f.namedBy = names, config
		}
	}
	return nil
}

// checkNames reports class names, or logits that are not masked, that do not
// belong to a model with so many logits.
func (f *opened) checkNames(logits int) error {
	if n := len(f.names); n > 0 && n != logits {
		return &fault.Error{Kind: fault.Data, File: f.namedBy, Got: fmt.Sprintf("%d class names", n), Want: fmt.Sprintf("%d, one for each logit", logits),
			Remedy: "give those that belong to this model with --labels"}
	}
	for _, w := range f.wanted {
		if w < 0 || w >= logits {
			return &fault.Error{Kind: fault.Model, File: f.path, Where: "metadata " + metaWanted, Got: fmt.Sprintf("logit %d", w), Want: fmt.Sprintf("0 to %d", logits-1)}
		}
	}
	return nil
}

// inFile names the file in an error that does not name one.
func inFile(path string, err error) error {
	if err == nil {
		return nil
	}
	var e *fault.Error
	if errors.As(err, &e) && e.File == "" {
		e.File = path
	}
	return err
}
