package data

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"nuwa/internal/fault"
)

// maxFile bounds the size of one image file.
const maxFile = 1 << 28

// source is a folder of files, on disk or inside a zip archive. It may be read
// from several goroutines.
type source struct {
	fs.FS
	name   string // as the user would write it, with slashes
	closer io.Closer
}

// openSource opens a directory, or a path that goes on inside a zip archive.
func openSource(name string) (*source, error) {
	if name == "" {
		return nil, &fault.Error{Kind: fault.Usage, Where: "data", Got: "an empty path",
			Want: "a folder of images, or a path into a zip archive"}
	}
	name = filepath.Clean(name)
	archive, inner := name, "."
	for {
		info, err := os.Stat(archive)
		switch {
		case err == nil && info.IsDir() && inner == ".":
			return &source{os.DirFS(name), filepath.ToSlash(name), io.NopCloser(nil)}, nil
		case err == nil && info.IsDir():
			return nil, notThere(name, archive, os.DirFS(archive), inner)
		case err == nil:
			return openZip(name, archive, inner)
		case errors.Is(err, fs.ErrPermission):
			return nil, &fault.Error{Kind: fault.IO, File: archive, Err: err}
		}
		parent := filepath.Dir(archive)
		if parent == archive {
			return nil, &fault.Error{Kind: fault.Data, File: name, Got: "no such folder"}
		}
		inner = path.Join(filepath.Base(archive), inner)
		archive = parent
	}
}

func openZip(name, archive, inner string) (*source, error) {
	damaged := func(err error) error {
		return &fault.Error{Kind: fault.Data, File: archive, Got: "a file that is not a readable zip archive",
			Want: "a folder of images or a zip archive of one", Err: err,
			Remedy: "if it is a zip archive it is damaged: copy or download it again"}
	}
	z, err := zip.OpenReader(archive)
	if err != nil {
		return nil, damaged(err)
	}
	info, err := fs.Stat(z, inner)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = notThere(name, archive, z, inner)
	case err != nil:
		err = damaged(err)
	case !info.IsDir():
		err = &fault.Error{Kind: fault.Data, File: filepath.ToSlash(name), Got: "a file", Want: "a folder inside the archive"}
	}
	var sub fs.FS
	if err == nil {
		sub, err = fs.Sub(z, inner)
	}
	if err != nil {
		z.Close()
		return nil, err
	}
	return &source{sub, filepath.ToSlash(name), z}, nil
}

// notThere says how much of the inner path exists below base and what could
// follow.
func notThere(name, base string, fsys fs.FS, inner string) error {
	at := "."
	parts := strings.Split(inner, "/")
	for len(parts) > 0 {
		if info, err := fs.Stat(fsys, path.Join(at, parts[0])); err != nil || !info.IsDir() {
			break
		}
		at, parts = path.Join(at, parts[0]), parts[1:]
	}
	e := &fault.Error{Kind: fault.Data, File: filepath.ToSlash(name), Got: "no such folder"}
	if entries, err := fs.ReadDir(fsys, at); err == nil {
		var have []string
		for _, d := range entries {
			if d.IsDir() && !hidden(d.Name()) || strings.EqualFold(path.Ext(d.Name()), ".zip") {
				have = append(have, d.Name())
			}
		}
		if len(have) > 0 && len(parts) > 0 {
			e.Remedy = fmt.Sprintf("in %s: %s", path.Join(filepath.ToSlash(base), at), suggest(parts[0], have))
		}
	}
	return e
}

// at names a file inside the source the way the user would find it.
func (s *source) at(file string) string { return path.Join(s.name, file) }

// listing is what lies directly in a folder, each sorted by name.
type listing struct {
	folders, images []string // full paths inside the source
	ignored         int      // hidden files and folders, and files that are no images
}

func (s *source) list(dir string) (listing, error) {
	var l listing
	entries, err := fs.ReadDir(s, dir)
	if err != nil {
		return l, &fault.Error{Kind: fault.Data, File: s.at(dir), Err: err, Remedy: "the folder or archive cannot be read"}
	}
	for _, d := range entries {
		file := path.Join(dir, d.Name())
		isDir := d.IsDir()
		if d.Type()&fs.ModeSymlink != 0 {
			info, err := fs.Stat(s, file)
			if err != nil {
				return l, &fault.Error{Kind: fault.Data, File: s.at(file), Err: err, Remedy: "remove the broken link"}
			}
			isDir = info.IsDir()
		}
		switch {
		case hidden(d.Name()):
			l.ignored++
		case isDir:
			l.folders = append(l.folders, file)
		case imageExt[strings.ToLower(path.Ext(file))]:
			l.images = append(l.images, file)
		default:
			l.ignored++
		}
	}
	return l, nil
}

// hidden reports files and folders that operating systems leave behind.
func hidden(name string) bool {
	return strings.HasPrefix(name, ".") || name == "__MACOSX" || name == "@eaDir"
}

var imageExt = map[string]bool{
	".jpg": true, ".jpeg": true, ".jpe": true, ".jfif": true, ".png": true, ".webp": true,
}

// walk lists the images of a folder and of the folders in it.
func (s *source) walk(dir string, depth int) (images []string, ignored int, err error) {
	if depth > 16 {
		return nil, 0, &fault.Error{Kind: fault.Data, File: s.at(dir), Got: "folders nested more than 16 deep",
			Remedy: "look for a link that leads back to a folder above it"}
	}
	l, err := s.list(dir)
	if err != nil {
		return nil, 0, err
	}
	images, ignored = l.images, l.ignored
	for _, f := range l.folders {
		more, n, err := s.walk(f, depth+1)
		if err != nil {
			return nil, 0, err
		}
		images, ignored = append(images, more...), ignored+n
	}
	return images, ignored, nil
}

// read returns the bytes of a file.
func (s *source) read(file string) ([]byte, error) {
	f, err := s.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("the file is larger than %d MiB", maxFile>>20)
	}
	return b, nil
}

// load reads and decodes an image.
func (s *source) load(file string) (pixels, error) {
	b, err := s.read(file)
	remedy := "replace the file or take it out of the folder"
	if err != nil {
		return pixels{}, &fault.Error{Kind: fault.Data, File: s.at(file), Err: err, Remedy: remedy}
	}
	img, err := decode(b)
	if err != nil {
		return pixels{}, &fault.Error{Kind: fault.Data, File: s.at(file), Err: err, Remedy: remedy}
	}
	return img, nil
}
