package data

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"nuwa/internal/fault"
)

// IsCSV reports whether name is that of a table rather than of a folder.
func IsCSV(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".csv", ".tsv":
		return true
	}
	return false
}

// openCSV lists the images of a table (see [OpenIn]). Its paths are relative to
// root, or to the folder that the table is in where root is "".
func openCSV(name, root string) (*Set, error) {
	dir := filepath.Dir(name)
	if root == "" {
		root = dir
	}
	src, err := openSource(root)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(name)
	if err != nil && dir == filepath.Clean(root) { // it may be inside the archive that the images are in
		text, err = src.read(filepath.Base(name))
	}
	if err != nil {
		src.closer.Close()
		return nil, &fault.Error{Kind: fault.Data, File: name, Err: err, Remedy: "give a folder of images, or a CSV that names them"}
	}
	s, err := fromTable(src, name, text)
	if err != nil {
		src.closer.Close()
		return nil, err
	}
	return s, nil
}

// fromTable makes a set of a table's rows.
func fromTable(src *source, name string, text []byte) (*Set, error) {
	t, err := readTable(name, text)
	if err != nil {
		return nil, err
	}
	s := &Set{Root: filepath.ToSlash(name), Classes: t.classes, src: src}
	row := map[string]int{} // by path
	var lines []int
	for _, r := range t.rows {
		file, err := src.find(r.path)
		if err != nil {
			return nil, &fault.Error{Kind: fault.Data, File: name, Where: fmt.Sprintf("line %d", r.line), Err: err,
				Remedy: "paths are relative to the folder that the CSV is in, or to the image root where one is given"}
		}
		at, seen := row[file]
		if !seen {
			row[file] = len(s.Samples)
			s.Samples = append(s.Samples, Sample{Path: file, Class: -1, Classes: r.classes})
			lines = append(lines, r.line)
			continue
		}
		x := &s.Samples[at]
		if t.oneHot && !slices.Equal(x.Classes, r.classes) {
			return nil, &fault.Error{Kind: fault.Data, File: name, Where: fmt.Sprintf("line %d", r.line),
				Got: fmt.Sprintf("%s with other classes than in line %d", file, lines[at]), Want: "each image once"}
		}
		x.Classes = union(x.Classes, r.classes)
	}
	slices.SortStableFunc(s.Samples, func(a, b Sample) int { return strings.Compare(a.Path, b.Path) })
	s.Multi = slices.ContainsFunc(s.Samples, func(x Sample) bool { return len(x.Classes) != 1 })
	if !s.Multi {
		for i, x := range s.Samples {
			s.Samples[i] = Sample{Path: x.Path, Class: x.Classes[0]}
		}
	}
	return s, nil
}

// union joins two ascending lists.
func union(a, b []int) []int {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

// find returns the image that a table names. A name without an ending stands
// for the one image whose name goes on with an ending.
func (s *source) find(name string) (string, error) {
	if filepath.IsAbs(name) {
		abs, err := filepath.Abs(filepath.FromSlash(s.name))
		if err == nil {
			name, err = filepath.Rel(abs, name)
		}
		if err != nil {
			return "", err
		}
	}
	var file string
	for _, spelled := range []string{name, strings.ReplaceAll(name, `\`, "/")} {
		file = path.Clean(filepath.ToSlash(spelled))
		if !fs.ValidPath(file) {
			return "", fmt.Errorf("%q lies outside %s", name, s.name)
		}
		if info, err := fs.Stat(s, file); err == nil && !info.IsDir() {
			if !imageExt[strings.ToLower(path.Ext(file))] {
				return "", fmt.Errorf("%q is not a JPEG, PNG or WebP file", name)
			}
			return file, nil
		}
	}
	if !imageExt[strings.ToLower(path.Ext(file))] {
		var found []string
		for ext := range imageExt {
			for _, e := range []string{ext, strings.ToUpper(ext)} {
				if _, err := fs.Stat(s, file+e); err == nil {
					found = append(found, file+e)
				}
			}
		}
		switch slices.Sort(found); len(found) {
		case 0:
			return "", fmt.Errorf("there is no image %q in %s, nor one with an ending", name, s.name)
		case 1:
			return found[0], nil
		}
		return "", fmt.Errorf("%q may be %s", name, strings.Join(found, " or "))
	}
	return "", fmt.Errorf("there is no image %q in %s", name, s.name)
}

// decoded returns text without the mark that some programs begin a file with.
func decoded(text []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(text, []byte("\ufeff")):
		return text[3:], nil
	case bytes.HasPrefix(text, []byte{0xff, 0xfe}), bytes.HasPrefix(text, []byte{0xfe, 0xff}), bytes.IndexByte(text, 0) >= 0:
		return nil, errors.New("it is not UTF-8 text: save it as UTF-8")
	}
	return text, nil
}
