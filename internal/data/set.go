package data

import (
	"fmt"
	"path"
	"strings"

	"nuwa/internal/fault"
)

// Sample is one image of a set.
type Sample struct {
	Path    string // inside the set's root, with slashes
	Class   int    // index into Set.Classes; −1 when the set has no classes, or several per image
	Classes []int  // those of an image that may have several, ascending indices into Set.Classes
}

// Set is a list of images. Sets made from one another share the open folder
// or archive; a Set is never changed and may be used from several goroutines.
type Set struct {
	Root    string   // as given to Open, plus the folders descended into
	Classes []string // sorted by name, or in the order of a CSV's columns; nil when the images lie in one folder without classes
	Samples []Sample // sorted by class and path
	Multi   bool     // an image may have any number of classes, none too: each class is decided by itself
	Ignored int      // files and folders passed over: hidden, or not images

	src *source
}

// Open lists the images of a directory, or of a folder inside a zip archive
// ("photos.zip/photos/train"). Every folder in it is a class. A folder that
// holds nothing but one folder of classes stands for that folder. A folder
// with images and no folders gives a set without classes. No image is read.
// Close the set after use.
//
// A file that ends in .csv or .tsv names images and their classes instead:
// see [OpenIn].
func Open(name string) (*Set, error) { return OpenIn(name, "") }

// OpenIn is Open, where the images that a CSV names are looked for in root, a
// directory or a path into a zip archive; "" is the CSV's own folder, which may
// be inside an archive. Each line holds an image and a list of its classes,
// separated by ; or | (or by spaces, in a table without those), or a column of 0
// and 1 for each class, whose names are in the header. A header is found by
// what it calls the image: image, file, path, id and the like; where it also
// has a column called classes, labels, tags or the like, other columns do not
// count. Lines of the same image add up.
//
// A set is Multi unless every image of the CSV has exactly one class.
func OpenIn(name, root string) (*Set, error) {
	switch {
	case IsCSV(name):
		return openCSV(name, root)
	case root != "":
		return nil, &fault.Error{Kind: fault.Usage, File: name, Where: "image root", Got: fmt.Sprintf("%s beside a folder", root),
			Want: "a CSV whose paths are relative to it", Remedy: "leave the image root out"}
	}
	return openFolder(name)
}

func openFolder(name string) (*Set, error) {
	src, err := openSource(name)
	if err != nil {
		return nil, err
	}
	s, err := scan(src)
	if err != nil {
		src.closer.Close()
		return nil, err
	}
	return s, nil
}

// Close releases the archive. It ends the use of every set made from this one.
func (s *Set) Close() error { return s.src.closer.Close() }

// Len returns the number of images.
func (s *Set) Len() int { return len(s.Samples) }

// Of returns the classes of image i; nil where it has none.
func (s *Set) Of(i int) []int {
	x := s.Samples[i]
	if !s.Multi && x.Class >= 0 {
		return []int{x.Class}
	}
	return x.Classes
}

// Counts returns the number of images of each class.
func (s *Set) Counts() []int {
	n := make([]int, len(s.Classes))
	for i := range s.Samples {
		for _, c := range s.Of(i) {
			n[c]++
		}
	}
	return n
}

// AsMulti returns s as a set in which an image may have several classes.
func (s *Set) AsMulti() *Set {
	if s.Multi || s.Classes == nil {
		return s
	}
	out := *s
	out.Multi, out.Samples = true, make([]Sample, len(s.Samples))
	for i, x := range s.Samples {
		out.Samples[i] = Sample{Path: x.Path, Class: -1, Classes: s.Of(i)}
	}
	return &out
}

func scan(src *source) (*Set, error) {
	root, top, err := descend(src)
	if err != nil {
		return nil, err
	}
	s := &Set{Root: src.at(root), Ignored: top.ignored, src: src}
	if len(top.folders) == 0 {
		if len(top.images) == 0 {
			return nil, &fault.Error{Kind: fault.Data, File: s.Root, Got: fmt.Sprintf("no images (%d other files)", top.ignored),
				Want: "one folder per class with JPEG, PNG or WebP files"}
		}
		for _, f := range top.images {
			s.Samples = append(s.Samples, Sample{Path: f, Class: -1})
		}
		return s, nil
	}
	if err := refuseSplits(s.Root, top); err != nil {
		return nil, err
	}
	s.Ignored += len(top.images)
	var empty []string
	for class, dir := range top.folders {
		images, ignored, err := src.walk(dir, 0)
		if err != nil {
			return nil, err
		}
		if len(images) == 0 {
			empty = append(empty, fmt.Sprintf("%q (%d other files)", path.Base(dir), ignored))
		}
		s.Classes = append(s.Classes, path.Base(dir))
		s.Ignored += ignored
		for _, f := range images {
			s.Samples = append(s.Samples, Sample{Path: f, Class: class})
		}
	}
	if len(empty) > 0 {
		return nil, &fault.Error{Kind: fault.Data, File: s.Root,
			Got:    fmt.Sprintf("no images in %d of %d class folders: %s", len(empty), len(top.folders), few(empty)),
			Want:   "at least one JPEG, PNG or WebP file in each",
			Remedy: "add images or remove the folders"}
	}
	return s, nil
}

// descend follows single folders down to the one that holds the classes.
func descend(src *source) (string, listing, error) {
	root := "."
	top, err := src.list(root)
	for depth := 0; err == nil && len(top.folders) == 1 && len(top.images) == 0 && depth < 16; depth++ {
		var below listing
		below, err = src.list(top.folders[0])
		if err != nil || len(below.folders) == 0 || len(below.images) > 0 {
			break // it is itself a class
		}
		below.ignored += top.ignored
		root, top = top.folders[0], below
	}
	return root, top, err
}

// splits are folder names that divide a data set rather than name classes.
var splits = map[string]bool{
	"train": true, "training": true, "test": true, "testing": true, "val": true, "valid": true,
	"validation": true, "eval": true, "dev": true,
}

func refuseSplits(root string, top listing) error {
	if len(top.folders) < 2 {
		return nil
	}
	for _, f := range top.folders {
		if !splits[strings.ToLower(path.Base(f))] {
			return nil
		}
	}
	names := make([]string, len(top.folders))
	for i, f := range top.folders {
		names[i] = path.Base(f)
	}
	return &fault.Error{Kind: fault.Data, File: root, Got: "the splits " + strings.Join(names, " and "), Want: "one folder per class",
		Remedy: "name one of them, such as " + path.Join(root, names[0])}
}

// few joins at most five items.
func few(items []string) string {
	if len(items) > 5 {
		return strings.Join(items[:5], ", ") + fmt.Sprintf(" and %d more", len(items)-5)
	}
	return strings.Join(items, ", ")
}
