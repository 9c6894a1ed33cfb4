package modelfile

import (
	"context"
	"path/filepath"

	"nuwa/graph"
	"nuwa/importer"
	"nuwa/internal/data"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/measure"
	"nuwa/passes/cleanup"
	"nuwa/passes/half"
)

// File is a model file and what is known about feeding and reading it.
type File struct {
	Path    string
	Files   []string // Path, and what else holds parts of the model
	Name    string   // what tables call it; "" means the path without its folder
	Model   *graph.Model
	Pre     data.Preprocess
	PreFrom string   // where pre comes from, for people
	Names   []string // the class of each logit; nil when unknown
	namedBy string   // the file that names come from
	slim    bool     // names are those that nuwa wrote
	Wanted  []int    // the logits that are not masked; nil when all count
	Multi   bool     // each class is decided by itself
	Notes   []string

	settled  bool  // Model computes in another type than the file, or fixes a size that it leaves open
	NoImages error // why images cannot be fed; nil when they can
}

// Label is what tables call the file.
func (f *File) Label() string {
	if f.Name != "" {
		return f.Name
	}
	return filepath.Base(f.Path)
}

// Source is the file for ONNX Runtime, or the model as it was opened where that
// differs.
func (f *File) Source() measure.Source {
	if f.settled {
		return measure.Source{Name: f.Label(), Graph: f.Model}
	}
	return measure.Source{Name: f.Label(), Path: f.Path}
}

// TellApart has tables name files by their paths where two are called alike.
func TellApart(files ...*File) {
	seen := map[string]bool{}
	for _, f := range files {
		if seen[f.Label()] {
			for _, f := range files {
				f.Name = f.Path
			}
			return
		}
		seen[f.Label()] = true
	}
}

// Open reads a model and finds out how images become its input. Image sizes
// that the model leaves open are settled.
func Open(ctx context.Context, eng *engine.Engine, o Preprocess, labels, path string) (*File, error) {
	f, err := OpenAny(ctx, eng, o, labels, path)
	if err != nil {
		return nil, err
	}
	return f, f.NoImages
}

// OpenAny is open for models that need not take images.
func OpenAny(ctx context.Context, eng *engine.Engine, o Preprocess, labels, path string) (*File, error) {
	m, err := importer.Load(path)
	if err != nil {
		return nil, err
	}
	if err := engine.Safe(m); err != nil {
		return nil, fault.InFile(path, err)
	}
	f := &File{Path: path, Files: measure.Files(m, path), Model: m}
	if f.settled = half.Widen(m); f.settled {
		f.Notes = append(f.Notes, "bfloat16 is computed in single precision, which ONNX Runtime's CPU knows better; weights are stored as they were")
	}
	if engine.Align(m) {
		importer.Unload()
	}
	multi, _ := m.Meta(MetaMultiLabel)
	f.Multi = multi == "true"
	if err := f.findPreprocess(o); err != nil {
		return nil, err
	}
	note, err := cleanup.Settle(ctx, eng, m, [2]int{f.Pre.Height, f.Pre.Width})
	if err != nil {
		return nil, fault.InFile(path, err)
	}
	if note != "" {
		f.settled = true
		f.Notes = append(f.Notes, note)
	}
	switch err := f.fitInput(o); {
	case fault.KindOf(err) == fault.Unsupported:
		f.NoImages = fault.InFile(path, err)
	case err != nil:
		return nil, fault.InFile(path, err)
	default:
		if err := f.Pre.Validate(); err != nil {
			return nil, err
		}
	}
	return f, f.findNames(labels)
}
