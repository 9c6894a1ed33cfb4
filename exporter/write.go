package exporter

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"nuwa/graph"
	"nuwa/internal/fault"
	"nuwa/internal/onnxpb"
)

// Options says how Write writes. The zero value refuses to overwrite and keeps
// weights where the model has them.
type Options struct {
	Force     bool    // replace existing files
	Weights   Weights // where the weights go
	Threshold int64   // from how many bytes on External moves a tensor out; 0 means 1024

	// Validate is called with the path of the finished model before it gets its
	// name; external data is beside it. An error stops Write and nothing is
	// left behind.
	Validate func(path string) error
}

// Weights says where weights go: into the model file, or into a data file
// beside it that is called after it, as in vit.onnx.data.
type Weights int

// The places of weights.
const (
	Keep     Weights = iota // as the model has them; outside where the file would exceed 2 GB
	Embedded                // into the model file
	External                // initializers of at least Threshold bytes into the data file
)

// Info says what Write wrote.
type Info struct {
	Path      string `json:"path"`
	Bytes     int64  `json:"bytes"`
	DataPath  string `json:"data_path,omitempty"` // "" where all weights are in the model file
	DataBytes int64  `json:"data_bytes,omitempty"`
}

// Write writes m to path. Both files are written in a temporary folder beside
// their final place, validated there, and then renamed.
func Write(m *graph.Model, path string, opt Options) (Info, error) {
	info := Info{Path: path}
	plan, pieces, err := plan(m, path, opt)
	if err != nil {
		return info, err
	}
	if plan.size > 0 {
		info.DataPath, info.DataBytes = path+dataSuffix, plan.size
	}
	if err := vacant(info, opt.Force); err != nil {
		return info, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".nuwa-*.tmp")
	if err != nil {
		return info, ioError(path, "the folder of the output", err)
	}
	defer os.RemoveAll(dir)
	tmp := filepath.Join(dir, filepath.Base(path))
	if info.DataPath != "" {
		if err := writeFile(tmp+dataSuffix, plan.write); err != nil {
			return info, ioError(info.DataPath, "the weights", err)
		}
	}
	err = writeFile(tmp, func(w *bufio.Writer) error {
		for _, piece := range pieces {
			info.Bytes += int64(len(piece))
			if _, err := w.Write(piece); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return info, ioError(path, "the model", err)
	}
	if opt.Validate != nil {
		if err := opt.Validate(tmp); err != nil {
			return info, err
		}
	}
	if err := publish(dir, info); err != nil {
		return info, ioError(path, "the output", err)
	}
	return info, nil
}

// plan decides where each tensor goes and serializes the model accordingly.
func plan(m *graph.Model, path string, opt Options) (*dataFile, [][]byte, error) {
	for weights := opt.Weights; ; weights = External {
		f := newDataFile(filepath.Base(path)+dataSuffix, m, weights, opt.Threshold)
		p, err := convert(m, f.place)
		if err != nil {
			return nil, nil, err
		}
		pieces, size, err := onnxpb.Marshal(p)
		if err != nil {
			return nil, nil, &fault.Error{Kind: fault.Internal, File: path, Where: "writing the model", Err: err}
		}
		if size <= maxProto {
			return f, pieces, nil
		}
		if weights != Keep {
			return nil, nil, &fault.Error{Kind: fault.Model, File: path, Got: fmt.Sprintf("a model of %d bytes", size),
				Want: "at most 2 GB in the model file", Remedy: "let the weights go to a data file beside it"}
		}
	}
}

// vacant reports output files that are already there.
func vacant(info Info, force bool) error {
	for _, path := range []string{info.Path, info.DataPath} {
		if path == "" {
			continue
		}
		st, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return ioError(path, "the output", err)
		case st.IsDir():
			return &fault.Error{Kind: fault.Exists, File: path, Got: "a folder", Want: "the name of a file to write", Remedy: "choose another name"}
		case !force:
			return &fault.Error{Kind: fault.Exists, File: path, Got: "an existing file", Want: "a new one",
				Remedy: "choose another name, or allow overwriting with --force"}
		}
	}
	return nil
}

// writeFile creates a file, fills it and makes sure that it is on disk.
func writeFile(path string, fill func(*bufio.Writer) error) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	err = fill(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// publish moves the finished files from dir to their names. When the model
// cannot be moved, a data file that was there before comes back.
func publish(dir string, info Info) error {
	tmp := filepath.Join(dir, filepath.Base(info.Path))
	old := filepath.Join(dir, "replaced")
	if info.DataPath != "" {
		if err := os.Rename(info.DataPath, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Rename(tmp+dataSuffix, info.DataPath); err != nil {
			return errors.Join(err, restore(old, info.DataPath))
		}
	}
	if err := os.Rename(tmp, info.Path); err != nil {
		if info.DataPath != "" {
			err = errors.Join(err, os.Remove(info.DataPath), restore(old, info.DataPath))
		}
		return err
	}
	d, err := os.Open(filepath.Dir(info.Path))
	if err != nil {
		return nil // the files are in place; their names reach the disk a little later
	}
	defer d.Close()
	_ = d.Sync() // not every file system can
	return nil
}

func restore(old, path string) error {
	if err := os.Rename(old, path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// ioError makes the error for a failure to write.
func ioError(path, what string, err error) error {
	remedy := "check the folder and its permissions"
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		remedy = "free some disk space, or write to another disk"
	case errors.Is(err, syscall.EFBIG):
		remedy = "raise the limit on file sizes, or write to another disk"
	case errors.Is(err, fs.ErrNotExist):
		remedy = "create the folder first"
	}
	return &fault.Error{Kind: fault.IO, File: path, Where: "writing " + what, Err: err, Remedy: remedy}
}
