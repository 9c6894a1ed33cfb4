package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"nuwa/internal/fault"
)

// report is a file that gets its name once it is written. It is opened before
// the work starts, so that a folder that cannot be written to is found out
// early.
type report struct {
	path string
	tmp  *os.File
}

// newReport opens the file that --report names; nil without that flag.
func (a *app) newReport(others ...string) (*report, error) {
	path := a.config.GetString("report")
	if path == "" {
		return nil, nil
	}
	for _, other := range others {
		if filepath.Clean(other) == filepath.Clean(path) {
			return nil, usageError("--report", path, "another file than the models")
		}
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) && !a.config.GetBool("force") {
		return nil, &fault.Error{Kind: fault.Exists, File: path, Got: "a file that is there already", Remedy: "give --force to replace it"}
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".report-*.tmp")
	if err != nil {
		return nil, ioError(path, err)
	}
	return &report{path, tmp}, nil
}

// write fills the file and gives it its name.
func (r *report) write(result any) error {
	if r == nil {
		return nil
	}
	err := writeJSON(r.tmp, result)
	if err == nil {
		err = r.tmp.Chmod(0o644)
	}
	if e := r.tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(r.tmp.Name(), r.path)
	}
	if err != nil {
		return ioError(r.path, err)
	}
	return nil
}

// discard removes what was not given a name.
func (r *report) discard() {
	if r != nil {
		_ = r.tmp.Close()           // closed already when it was written
		_ = os.Remove(r.tmp.Name()) // renamed already when it was written
	}
}

func ioError(path string, err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err // of a temporary name, which means nothing to the user
	}
	return &fault.Error{Kind: fault.IO, File: path, Err: err, Remedy: "check the folder, its permissions and the space left"}
}
