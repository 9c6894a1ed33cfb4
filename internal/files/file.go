package files

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"nuwa/internal/fault"
)

// File is one that gets its name once it is written. It is opened before the
// work starts, so that a folder that cannot be written to is found out early.
type File struct {
	path string
	tmp  *os.File
}

// New opens a file that is to replace none, unless force is given.
func New(path string, force bool) (*File, error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) && !force {
		return nil, &fault.Error{Kind: fault.Exists, File: path, Got: "a file that is there already", Remedy: "give --force to replace it"}
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".nuwa-*.tmp")
	if err != nil {
		return nil, Failed(path, err)
	}
	return &File{path, tmp}, nil
}

// Replace writes a file, in the place of one that is there.
func Replace(path string, content func(io.Writer) error) error {
	f, err := New(path, true)
	if err != nil {
		return err
	}
	defer f.Discard()
	return f.Write(content)
}

// Write fills the file and gives it its name.
func (f *File) Write(content func(io.Writer) error) error {
	w := bufio.NewWriter(f.tmp)
	err := content(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.tmp.Chmod(0o644)
	}
	if e := f.tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.tmp.Name(), f.path)
	}
	if err != nil {
		return Failed(f.path, err)
	}
	return nil
}

// Discard removes what was not given a name.
func (f *File) Discard() {
	_ = f.tmp.Close()           // closed already when it was written
	_ = os.Remove(f.tmp.Name()) // renamed already when it was written
}

// Failed says that a file could not be written.
func Failed(path string, err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err // of a temporary name, which means nothing to the user
	}
	return &fault.Error{Kind: fault.IO, File: path, Err: err, Remedy: "check the folder, its permissions and the space left"}
}
