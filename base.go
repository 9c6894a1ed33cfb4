package nuwa

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"sync"

	"nuwa/internal/data"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/measure"
	"nuwa/passes"
)

// base is a model that slim ones are made of, opened once for any number of
// tasks. What costs time is found out when it is first asked for.
type base struct {
	eng  *engine.Engine
	file *opened

	mu         sync.Mutex
	state      *passes.State // cleaned, with its structure found; nil until then
	reports    []passes.Report
	size       *measure.Size
	digest     string
	normalized map[string]normalized // by the images that decided
}

// openBase reads the model that o names.
func openBase(ctx context.Context, eng *engine.Engine, o Options) (*base, error) {
	f, err := openAny(ctx, eng, o.Preprocess, o.Labels, o.Model)
	if err != nil {
		return nil, err
	}
	if f.noImages != nil && (o.Calibration != "synthetic" || o.Data != "" || o.Test != "") {
		return nil, f.noImages
	}
	o.Log.Info("base", "model", o.Model, "preprocess", f.pre.String(), "from", f.preFrom)
	return &base{eng: eng, file: f, normalized: map[string]normalized{}}, nil
}

// fork returns a State to learn a task on: the cleaned model, and the reports
// of cleaning it.
func (b *base) fork(ctx context.Context, o Options) (*passes.State, []passes.Report, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == nil {
		s := &passes.State{Model: b.file.model.Clone(), Engine: b.eng, Log: o.Log, Progress: o.Progress}
		reports, err := (&passes.Manager{}).Run(ctx, s, passes.Cleaning)
		if err != nil {
			return nil, nil, err
		}
		b.state, b.reports = s, reports
	}
	s := b.state.Fork()
	s.Log, s.Progress = o.Log, o.Progress
	return s, b.reports, nil
}

// sizes returns how large the file's model is, before anything is done to it.
func (b *base) sizes(ctx context.Context) (measure.Size, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.size == nil {
		size, err := sizeOf(ctx, b.eng, b.file.model, b.file.path)
		if err != nil {
			return size, err
		}
		b.size = &size
	}
	return *b.size, nil
}

// sha256 returns the digest of the file.
func (b *base) sha256() (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var err error
	if b.digest == "" {
		b.digest, err = fileDigest(b.file.path)
	}
	return b.digest, err
}

func fileDigest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// images are what a task calibrates on and is judged by. If one of them has
// images of several classes, both do.
type images struct {
	set  *data.Set // nil without
	test *data.Set // nil without
}

// openImages opens what o names. The image root is that of CSVs; a folder
// beside a CSV has none.
func openImages(o Options) (im images, err error) {
	root := func(path string) string {
		if !data.IsCSV(path) && (data.IsCSV(o.Data) || data.IsCSV(o.Test)) {
			return ""
		}
		return o.ImageRoot
	}
	if o.Data != "" {
		if im.set, err = openSet(o.Data, root(o.Data), o.MultiLabel); err != nil {
			return im, err
		}
	}
	if o.Test == "" {
		return im, nil
	}
	if im.test, err = openSet(o.Test, root(o.Test), o.MultiLabel || im.set != nil && im.set.Multi); err == nil && im.test.Classes == nil {
		err = &fault.Error{Kind: fault.Data, File: o.Test, Got: "images without classes", Want: "one folder per class, to tell right from wrong"}
	}
	if err != nil {
		im.close()
		return im, err
	}
	if im.set != nil && im.test.Multi {
		im.set = im.set.AsMulti()
	}
	return im, nil
}

// openSet opens a folder of images, or a CSV that names them. With multi, each
// class is decided by itself even where every image has exactly one.
func openSet(path, root string, multi bool) (*data.Set, error) {
	set, err := data.OpenIn(path, root)
	if err == nil && multi {
		set = set.AsMulti()
	}
	return set, err
}

func (im images) close() {
	for _, s := range []*data.Set{im.set, im.test} {
		if s != nil {
			s.Close()
		}
	}
}
