package files

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"nuwa/internal/fault"
)

// Vacant tells before any work is done whether output can be written: that it
// is none of the inputs, that it is not there yet unless force is given, and
// that its folder takes new files.
func Vacant(output string, force bool, inputs ...string) error {
	st, err := os.Stat(output)
	for _, in := range inputs {
		if other, e := os.Stat(in); err == nil && e == nil && os.SameFile(st, other) {
			return &fault.Error{Kind: fault.Usage, File: output, Where: "output", Got: "the file that is read", Want: "another one",
				Remedy: "choose another name; the input is never written to"}
		}
	}
	if st, err := os.Lstat(output); !errors.Is(err, fs.ErrNotExist) {
		switch regular := err == nil && (st.Mode().IsRegular() || st.Mode().Type() == fs.ModeSymlink); {
		case err != nil:
			return &fault.Error{Kind: fault.IO, File: output, Err: err, Remedy: "check the folder and its permissions"}
		case !regular:
			return &fault.Error{Kind: fault.Exists, File: output, Got: "a folder or a special file", Want: "the name of a file to write", Remedy: "choose another name"}
		case !force:
			return &fault.Error{Kind: fault.Exists, File: output, Got: "a file that is there already", Remedy: "give --force to replace it"}
		}
	}
	probe, err := os.MkdirTemp(filepath.Dir(output), ".nuwa-*.tmp")
	if err == nil {
		err = os.Remove(probe)
	}
	if err == nil {
		return nil
	}
	dir := filepath.Dir(output)
	if _, e := os.Stat(dir); errors.Is(e, fs.ErrNotExist) {
		return &fault.Error{Kind: fault.IO, File: output, Got: "a folder that is not there", Want: "a folder to write to", Remedy: "create the folder first"}
	}
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return &fault.Error{Kind: fault.IO, File: output, Where: "output", Got: "the folder " + dir + " takes no new files", Err: err, Remedy: "check its permissions, or write elsewhere"}
}
