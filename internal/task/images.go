package task

import (
	"nuwa/internal/data"
	"nuwa/internal/fault"
	"nuwa/internal/modelfile"
)

// Images are what a task calibrates on and is judged by. If one of them has
// images of several classes, both do.
type Images struct {
	Set  *data.Set // nil without
	Test *data.Set // nil without
}

// OpenImages opens what o names. The image root is that of CSVs; a folder
// beside a CSV has none.
func OpenImages(o Options) (im Images, err error) {
	root := func(path string) string {
		if !data.IsCSV(path) && (data.IsCSV(o.Data) || data.IsCSV(o.Test)) {
			return ""
		}
		return o.ImageRoot
	}
	if o.Data != "" {
		if im.Set, err = modelfile.OpenSet(o.Data, root(o.Data), o.MultiLabel); err != nil {
			return im, err
		}
	}
	if o.Test == "" {
		return im, nil
	}
	if im.Test, err = modelfile.OpenSet(o.Test, root(o.Test), o.MultiLabel || im.Set != nil && im.Set.Multi); err == nil && im.Test.Classes == nil {
		err = &fault.Error{Kind: fault.Data, File: o.Test, Got: "images without classes", Want: "one folder per class, to tell right from wrong"}
	}
	if err != nil {
		im.Close()
		return im, err
	}
	if im.Set != nil && im.Test.Multi {
		im.Set = im.Set.AsMulti()
	}
	return im, nil
}

// Close closes the images; what was read of them stays.
func (im Images) Close() {
	for _, s := range []*data.Set{im.Set, im.Test} {
		if s != nil {
			s.Close()
		}
	}
}
