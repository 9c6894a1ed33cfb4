package data

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nuwa/internal/fault"
)

// zoo are images in two folders, beside the given table.
func zoo(t testing.TB, table string) map[string][]byte {
	p := picture(t, 4, 4, 1)
	return map[string][]byte{"a.png": p, "in/b.jpg": p, "in/c d.PNG": p, "e.webp": p, "twice.png": p, "twice.jpg": p, "notes.txt": []byte("x"), "labels.csv": []byte(table)}
}

// described prints classes and samples, several classes of an image joined by +.
func described(s *Set) string {
	var rows []string
	for i, x := range s.Samples {
		var names []string
		for _, c := range s.Of(i) {
			names = append(names, s.Classes[c])
		}
		rows = append(rows, x.Path+"="+strings.Join(names, "+"))
	}
	return fmt.Sprintf("%v %v: %s", s.Multi, s.Classes, strings.Join(rows, ", "))
}

func TestTables(t *testing.T) {
	for name, c := range map[string]struct{ table, want string }{
		"list":                 {"image,classes\na.png,cat;dog\nin/b.jpg,dog\n", "true [cat dog]: a.png=cat+dog, in/b.jpg=dog"},
		"no header":            {"a.png,cat|dog\nin/b.jpg,\n", "true [cat dog]: a.png=cat+dog, in/b.jpg="},
		"spaces":               {"a.png,dog cat\n./in/b.jpg,dog\n", "true [cat dog]: a.png=cat+dog, in/b.jpg=dog"},
		"names with spaces":    {"a.png,red cat;dog\nin/b.jpg,red cat\n", "true [dog red cat]: a.png=dog+red cat, in/b.jpg=red cat"},
		"quoted":               {"file_name,tags\n\"in/c d.PNG\",\"cat, dog\"\n", "true [cat dog]: in/c d.PNG=cat+dog"},
		"list of Python":       {"path,labels\na.png,\"['cat', 'dog']\"\ne.webp,[]\n", "true [cat dog]: a.png=cat+dog, e.webp="},
		"a column per class":   {"a.png,cat,dog\ne.webp,dog\n", "true [cat dog]: a.png=cat+dog, e.webp=dog"},
		"one-hot":              {"image,dog,big cat,eel\na.png,1,0,0\ne.webp,0,1,1\nin/b.jpg,0,0,0\n", "true [dog big cat eel]: a.png=dog, e.webp=big cat+eel, in/b.jpg="},
		"one-hot, other words": {"cat,filename,dog\nTrue,a.png,False\n,e.webp,1.0\n", "false [cat dog]: a.png=cat, e.webp=dog"},
		"one-hot, tag a class": {"image,tag,dog\na.png,1,1\n", "true [tag dog]: a.png=tag+dog"},
		"one class one-hot":    {"image,cat\na.png,1\ne.webp,0\n", "true [cat]: a.png=cat, e.webp="},
		"numbers as classes":   {"image,label\na.png,1\ne.webp,0\n", "false [0 1]: a.png=1, e.webp=0"},
		"lines add up":         {"width,filename,class,xmin\n4,a.png,cat,0\n4,a.png,dog,1\n4,a.png,cat,2\n4,e.webp,dog,1\n", "true [cat dog]: a.png=cat+dog, e.webp=dog"},
		"without endings":      {"id,label\na,cat\nin/c d,dog\n", "false [cat dog]: a.png=cat, in/c d.PNG=dog"},
		"tabs":                 {"image\tclasses\na.png\tcat,dog\n", "true [cat dog]: a.png=cat+dog"},
		"semicolons":           {"image;classes\na.png;cat|dog\n", "true [cat dog]: a.png=cat+dog"},
		"unknown header":       {"what,it is\na.png,cat\ne.webp,dog;cat\n", "true [cat dog]: a.png=cat, e.webp=cat+dog"},
		"Windows":              {"\ufeffimage,classes\r\nin\\b.jpg,cat;dog\r\n\r\n", "true [cat dog]: in/b.jpg=cat+dog"},
		"a class twice":        {"a.png,cat;cat;dog\n", "true [cat dog]: a.png=cat+dog"},
	} {
		for kind, dir := range map[string]string{"folder": folder(t, zoo(t, c.table)), "zip": archive(t, zoo(t, c.table))} {
			s, err := Open(filepath.Join(dir, "labels.csv"))
			if err != nil {
				t.Errorf("%s, %s: %v", name, kind, err)
				continue
			}
			if got := described(s); got != c.want {
				t.Errorf("%s, %s: got  %s\nwant %s", name, kind, got, c.want)
			}
			if _, err := s.Digest(t.Context()); err != nil {
				t.Error(err)
			}
			s.Close()
		}
	}
}

// A table may lie elsewhere than its images, which may be in an archive.
func TestTableElsewhere(t *testing.T) {
	table := filepath.Join(t.TempDir(), "labels.tsv")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(table, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("b.jpg\tcat\n")
	for _, root := range []string{folder(t, zoo(t, "")) + "/in", archive(t, zoo(t, "")) + "/in"} {
		s, err := OpenIn(table, root)
		if err != nil {
			t.Fatal(err)
		}
		if got := described(s); got != "false [cat]: b.jpg=cat" {
			t.Error(got)
		}
		s.Close()
	}
	dir := folder(t, zoo(t, ""))
	write(filepath.Join(dir, "a.png") + "\tcat\n")
	if s, err := OpenIn(table, dir); err != nil {
		t.Error(err)
	} else if s.Samples[0].Path != "a.png" {
		t.Errorf("an absolute path is %q", s.Samples[0].Path)
	}
	if _, err := OpenIn(dir, dir); fault.KindOf(err) != fault.Usage {
		t.Errorf("a root for a folder: %v", err)
	}
}

func TestTableRefuses(t *testing.T) {
	for name, c := range map[string]struct{ table, says string }{
		"empty":                {"\n", "holds no lines"},
		"header only":          {"image,classes\n", "line 1: there is no image after the header"},
		"missing image":        {"image,classes\na.png,cat\nx.png,dog\n", `line 3: there is no image "x.png"`},
		"missing, no ending":   {"image,classes\nzzz,cat\n", `line 2: there is no image "zzz"`},
		"two images":           {"image,classes\ntwice,cat\n", `line 2: "twice" may be twice.jpg or twice.png`},
		"no image file":        {"image,classes\nnotes.txt,cat\n", `line 2: "notes.txt" is not a JPEG`},
		"outside":              {"image,classes\n../a.png,cat\n", `line 2: "../a.png" lies outside`},
		"no image named":       {"image,classes\n,cat\n", "line 2: no image is named"},
		"one-hot, bad cell":    {"image,cat,dog\na.png,1,0\ne.webp,2,0\n", `line 3: "2" under "cat", want 0 or 1`},
		"one-hot, short line":  {"image,cat,dog\na.png,1,0\ne.webp,1\n", "line 3: 2 cells under a header of 3"},
		"one-hot, same column": {"image,cat,cat\na.png,1,0\n", `line 1: two columns are called "cat"`},
		"one-hot, no name":     {"image,,cat\na.png,1,0\n", "line 1: column 2 has no name"},
		"one-hot, no header":   {"a.png,1,0\ne.webp,0,1\n", "line 1: columns of 0 and 1 without a header"},
		"one-hot, contradicts": {"image,cat,dog\na.png,1,0\na.png,0,1\n", "line 3: got a.png with other classes than in line 2"},
		"no classes":           {"image,classes\na.png,\ne.webp,\n", "line 2: no image has a class"},
		"UTF-16":               {"\xff\xfea\x00", "UTF-8"},
		"broken quotes":        {"image,classes\na.png,\"cat\ne.webp,dog\n", "line "},
	} {
		path := filepath.Join(folder(t, zoo(t, c.table)), "labels.csv")
		_, err := Open(path)
		if fault.KindOf(err) != fault.Data || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "labels.csv") {
			t.Errorf("%s: %v, want a data error that says %q", name, err, c.says)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none.csv")); fault.KindOf(err) != fault.Data {
		t.Errorf("a table that is not there: %v", err)
	}
}
