package importer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"nuwa/graph"
	"nuwa/internal/fault"
	"nuwa/internal/onnxpb"
)

// Load reads the model file at path. External data is looked for beside the
// file.
func Load(path string) (*graph.Model, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := mapFile(f)
	if err != nil {
		return nil, &fault.Error{Kind: fault.IO, File: path, Want: "a file that can be read", Err: err}
	}
	return Decode(path, data, filepath.Dir(path))
}

// Decode reads a model from data, which must not change as long as the model
// is in use. Errors call the model name. External data is looked for in the
// folder dir; with dir empty, a model that has any is refused.
func Decode(name string, data []byte, dir string) (*graph.Model, error) {
	if what, remedy := lookalike(data); what != "" {
		return nil, &fault.Error{Kind: fault.Model, File: name, Got: what, Want: "an ONNX model", Remedy: remedy}
	}
	var p onnxpb.ModelProto
	if err := onnxpb.Unmarshal(data, &p); err != nil {
		return nil, unreadable(name, data, err)
	}
	if p.Graph == nil {
		return nil, notModel(name, &p)
	}
	d := &decoder{file: name, dir: dir}
	defer d.close()
	return d.model(&p)
}

// openFile opens a regular file for reading, saying clearly why it cannot.
func openFile(path string) (*os.File, error) {
	fail := func(got, remedy string, err error) error {
		return &fault.Error{Kind: fault.IO, File: path, Got: got, Want: "an ONNX model file", Remedy: remedy, Err: err}
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fail("no such file", "check the path", nil)
	case errors.Is(err, fs.ErrPermission):
		return nil, fail("a file that may not be read", "check the permissions of the file and its folders", nil)
	case err != nil:
		return nil, fail("", "", err)
	case info.IsDir():
		return nil, fail("a folder", "name the .onnx file inside it", nil)
	case !info.Mode().IsRegular():
		return nil, fail(fmt.Sprintf("a special file (%s)", info.Mode().Type()), "write the model to a regular file first", nil)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fail("a file that may not be read", "check the permissions of the file", nil)
	}
	if err != nil {
		return nil, fail("", "", err)
	}
	return f, nil
}

// decoder reads one model.
type decoder struct {
	file string
	dir  string
	ext  *external // opened with the first external tensor
}

func (d *decoder) close() {
	if d.ext != nil {
		_ = d.ext.root.Close() // it was only read from
	}
}

// bad makes the error for something wrong with the model at a place in it.
func (d *decoder) bad(where, got, want, remedy string) error {
	return &fault.Error{Kind: fault.Model, File: d.file, Where: where, Got: got, Want: want, Remedy: remedy}
}

// exportAgain is the remedy for files that no exporter writes.
const exportAgain = "the file is damaged or was edited; export the model again"

// quote quotes a name from a file, shortened to what a message can hold.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return fmt.Sprintf("%q...", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
