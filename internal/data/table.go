package data

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"nuwa/internal/fault"
)

// table is a CSV of images and their classes.
type table struct {
	classes []string
	rows    []tableRow
	oneHot  bool
}

// tableRow is one line: an image and its classes, ascending.
type tableRow struct {
	line    int
	path    string
	classes []int
}

// What the columns of a header may be called, without case, spaces, hyphens
// and underscores.
var (
	imageColumns = []string{"image", "images", "imageid", "imagename", "imagepath", "imagefile", "img", "imgpath", "imgname", "file", "files", "filename", "filepath", "path", "name", "id", "photo", "picture"}
	classColumns = []string{"class", "classes", "label", "labels", "tag", "tags", "category", "categories", "classname", "labelname", "target", "targets"}
)

// readTable parses a CSV in one of three layouts.
//
//	a.jpg,cat;dog          a list of classes
//	a.jpg,cat,dog          a class per further column
//	image,bee,cat,dog      a column per class: 1 or true where the image
//	a.jpg,0,1,1            has it, 0, false or nothing where not
//
// The third needs a header, which names its classes in the order of the
// columns; the other two may have one, and their classes are sorted by name.
func readTable(name string, text []byte) (*table, error) {
	fail := func(line int, err error) error {
		where := ""
		if line > 0 {
			where = fmt.Sprintf("line %d", line)
		}
		return &fault.Error{Kind: fault.Data, File: name, Where: where, Err: err,
			Remedy: "write image,classes with the classes separated by ; or |, or a column of 0 and 1 per class under its name"}
	}
	text, err := decoded(text)
	if err != nil {
		return nil, fail(0, err)
	}
	records, lines, err := readRecords(text)
	if err != nil {
		var at *csv.ParseError
		if errors.As(err, &at) {
			return nil, fail(at.Line, at.Err)
		}
		return nil, fail(0, err)
	}
	if len(records) == 0 {
		return nil, fail(0, errors.New("it holds no lines"))
	}
	var header []string
	if isHeader(records) {
		header, records, lines = records[0], records[1:], lines[1:]
	}
	if len(records) == 0 {
		return nil, fail(1, errors.New("there is no image after the header"))
	}
	image := columnOf(header, imageColumns)
	list := columnOf(header, classColumns)
	image = max(image, 0)
	switch {
	case len(header) > 2 && binary(records, image):
		return readOneHot(header, records, lines, image, fail)
	case list >= 0 && list != image:
		return readList(records, lines, image, func(r []string) []string { return r[min(list, len(r)):min(list+1, len(r))] }, fail)
	case header != nil && binary(records, image):
		return readOneHot(header, records, lines, image, fail)
	case header != nil && len(header) > 2 && len(header) == longest(records):
		return readOneHot(header, records, lines, image, fail) // which tells what is wrong in which line
	}
	if header == nil && longest(records) > 2 && binary(records, 0) {
		return nil, fail(lines[0], errors.New("columns of 0 and 1 without a header that names their classes"))
	}
	return readList(records, lines, image, func(r []string) []string { return slices.Delete(slices.Clone(r), image, image+1) }, fail)
}

// readRecords splits the text at tabs, commas or semicolons, whichever the
// first line has, in that order.
func readRecords(text []byte) (records [][]string, lines []int, err error) {
	first, _, _ := bytes.Cut(bytes.TrimLeft(text, "\r\n"), []byte("\n"))
	r := csv.NewReader(bytes.NewReader(text))
	r.FieldsPerRecord, r.TrimLeadingSpace = -1, true
	for _, c := range []rune{'\t', ',', ';'} {
		if bytes.ContainsRune(first, c) {
			r.Comma = c
			r.TrimLeadingSpace = c != '\t' // which would be eaten as space
			break
		}
	}
	for {
		cells, err := r.Read()
		if err == io.EOF {
			return records, lines, nil
		}
		if err != nil {
			return nil, nil, err
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if !slices.ContainsFunc(cells, func(c string) bool { return c != "" }) {
			continue
		}
		line, _ := r.FieldPos(0)
		records, lines = append(records, cells), append(lines, line)
	}
}

// isHeader reports whether the first line names columns: it calls one of them
// what images are called, or names no image file where the second line does.
func isHeader(records [][]string) bool {
	if columnOf(records[0], imageColumns) >= 0 {
		return true
	}
	image := func(c string) bool { return imageExt[strings.ToLower(path.Ext(c))] }
	return len(records) > 1 && !image(records[0][0]) && image(records[1][0])
}

// columnOf returns the first column that is called one of names, −1 if none is.
func columnOf(header, names []string) int {
	return slices.IndexFunc(header, func(c string) bool { return slices.Contains(names, normal(c)) })
}

func longest(records [][]string) (n int) {
	for _, r := range records {
		n = max(n, len(r))
	}
	return n
}

// truth reads a cell that says whether an image has a class.
func truth(cell string) (yes, ok bool) {
	switch strings.ToLower(cell) {
	case "1", "1.0", "true":
		return true, true
	case "", "0", "0.0", "false":
		return false, true
	}
	return false, false
}

// binary reports whether every cell but the image's is a truth.
func binary(records [][]string, image int) bool {
	for _, r := range records {
		for i, c := range r {
			if _, ok := truth(c); i != image && !ok {
				return false
			}
		}
	}
	return longest(records) > 1
}

// readOneHot reads a column per class.
func readOneHot(header []string, records [][]string, lines []int, image int, fail func(int, error) error) (*table, error) {
	t := &table{oneHot: true}
	of := make([]int, len(header)) // column → class
	for i, c := range header {
		of[i] = len(t.classes)
		switch {
		case i == image:
			of[i] = -1
		case c == "":
			return nil, fail(1, fmt.Errorf("column %d has no name", i+1))
		case slices.Contains(t.classes, c):
			return nil, fail(1, fmt.Errorf("two columns are called %q", c))
		default:
			t.classes = append(t.classes, c)
		}
	}
	for k, r := range records {
		if len(r) != len(header) {
			return nil, fail(lines[k], fmt.Errorf("%d cells under a header of %d", len(r), len(header)))
		}
		row := tableRow{line: lines[k], path: r[image]}
		for i, c := range r {
			if i == image {
				continue
			}
			yes, ok := truth(c)
			if !ok {
				return nil, fail(lines[k], fmt.Errorf("%q under %q, want 0 or 1", c, header[i]))
			}
			if yes {
				row.classes = append(row.classes, of[i])
			}
		}
		if row.path == "" {
			return nil, fail(lines[k], errors.New("no image is named"))
		}
		t.rows = append(t.rows, row)
	}
	return t, nil
}

// readList reads classes by name from the cells that pick chooses of a line.
// Lines of one image add up.
func readList(records [][]string, lines []int, image int, pick func([]string) []string, fail func(int, error) error) (*table, error) {
	t := &table{}
	marked := slices.ContainsFunc(records, func(r []string) bool {
		return slices.ContainsFunc(pick(r), func(c string) bool { return strings.ContainsAny(c, ";|,") })
	})
	names := make([][]string, len(records))
	for k, r := range records {
		if image >= len(r) || r[image] == "" {
			return nil, fail(lines[k], errors.New("no image is named"))
		}
		for _, c := range pick(r) {
			names[k] = append(names[k], classNames(c, marked)...)
		}
		t.classes = append(t.classes, names[k]...)
	}
	slices.Sort(t.classes)
	t.classes = slices.Compact(t.classes)
	if len(t.classes) == 0 {
		return nil, fail(lines[0], errors.New("no image has a class"))
	}
	for k, r := range records {
		row := tableRow{line: lines[k], path: r[image]}
		for _, n := range names[k] {
			at, _ := slices.BinarySearch(t.classes, n)
			row.classes = append(row.classes, at)
		}
		row.classes = union(row.classes, nil)
		t.rows = append(t.rows, row)
	}
	return t, nil
}

// classNames splits a cell at ; | and commas, as in "cat;dog" or
// "['cat', 'dog']". Spaces separate names only in a table that is not marked by
// any of these, so that names may hold them.
func classNames(cell string, marked bool) []string {
	if strings.HasPrefix(cell, "[") && strings.HasSuffix(cell, "]") {
		cell, marked = cell[1:len(cell)-1], true
	}
	separator := func(r rune) bool { return strings.ContainsRune(";|,", r) || !marked && r == ' ' }
	var out []string
	for _, n := range strings.FieldsFunc(cell, separator) {
		if n = strings.Trim(n, ` '"`); n != "" {
			out = append(out, n)
		}
	}
	return out
}
