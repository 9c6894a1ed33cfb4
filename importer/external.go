package importer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"nuwa/graph"
	"nuwa/internal/fault"
)

// external gives access to the files of tensor data beside a model. Nothing
// outside the model's folder can be reached through it: the root refuses
// absolute paths, "..", and symbolic links that lead out.
type external struct {
	root   *os.Root
	mapped map[string][]byte
}

// externalData returns the bytes that the location entries of a tensor mean.
// want is the size in bytes that the tensor's type and dims ask for.
func (d *decoder) externalData(where string, entries []graph.Entry, want int64) ([]byte, error) {
	at := map[string]string{}
	for _, e := range entries {
		at[e.Key] = e.Value
	}
	location := at["location"]
	if location == "" {
		return nil, d.bad(where, "external data without a location", "a file beside the model", exportAgain)
	}
	file, err := d.externalFile(where, location)
	if err != nil {
		return nil, err
	}
	offset, length := int64(0), want
	for key, n := range map[string]*int64{"offset": &offset, "length": &length} {
		s, ok := at[key]
		if !ok {
			continue
		}
		if *n, err = strconv.ParseInt(s, 10, 64); err != nil || *n < 0 {
			return nil, d.bad(where, fmt.Sprintf("the %s %s of external data", key, quote(s)), "a number of bytes", exportAgain)
		}
	}
	if length != want {
		return nil, d.bad(where, fmt.Sprintf("%d bytes of external data", length), fmt.Sprintf("%d for the tensor's type and dims", want), exportAgain)
	}
	if size := int64(len(file)); offset > size || length > size-offset {
		return nil, d.bad(where, fmt.Sprintf("external data file %s of %d bytes", quote(location), size),
			fmt.Sprintf("%d bytes from offset %d on", length, offset),
			"the data file is cut short or belongs to another model; copy it again")
	}
	return file[offset : offset+length : offset+length], nil
}

func (d *decoder) externalFile(where, location string) ([]byte, error) {
	const beside = "a file in the model's folder, named relative to it"
	if d.dir == "" {
		return nil, d.bad(where, fmt.Sprintf("external data in %s", quote(location)), "all weights inside the model",
			"load the model from its file, so that its folder is known")
	}
	if !filepath.IsLocal(location) {
		return nil, d.bad(where, fmt.Sprintf("external data in %s", quote(location)), beside,
			"a model may not read files elsewhere; save it again with its data beside it")
	}
	if d.ext == nil {
		root, err := os.OpenRoot(d.dir)
		if err != nil {
			return nil, &fault.Error{Kind: fault.IO, File: d.dir, Want: "the folder of the model", Err: err}
		}
		d.ext = &external{root: root, mapped: map[string][]byte{}}
	}
	name := filepath.Clean(location)
	if data, ok := d.ext.mapped[name]; ok {
		return data, nil
	}
	f, err := d.ext.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // never wait for a pipe's writer
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, d.bad(where, fmt.Sprintf("no file %s", quote(filepath.Join(d.dir, name))), "the model's external data",
			"copy the data file beside the model, under the name it was saved with")
	case errors.Is(err, fs.ErrPermission):
		return nil, &fault.Error{Kind: fault.IO, File: filepath.Join(d.dir, name), Where: where,
			Got: "a data file that may not be read", Remedy: "check the permissions of the file"}
	case err != nil: // of the remaining reasons, a link out of the folder is the one that happens
		return nil, &fault.Error{Kind: fault.Model, File: d.file, Where: where, Err: err, Want: beside,
			Remedy: "links out of the model's folder are not followed; copy the data file beside the model"}
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, d.bad(where, fmt.Sprintf("external data in %s, which is no regular file", quote(location)), beside, exportAgain)
	}
	data, err := mapFile(f)
	if err != nil {
		return nil, &fault.Error{Kind: fault.IO, File: filepath.Join(d.dir, name), Where: where, Err: err}
	}
	d.ext.mapped[name] = data
	return data, nil
}
