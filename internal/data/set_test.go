package data

import (
	"archive/zip"
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nuwa/internal/fault"
)

// picture returns a PNG whose every pixel is {shade, 2·shade, 3·shade} mod 256.
func picture(t testing.TB, w, h, shade int) []byte {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		img.SetNRGBA(i%w, i/w, color.NRGBA{byte(shade), byte(2 * shade), byte(3 * shade), 255})
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// folder writes files below a new directory.
func folder(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(file, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// archive writes the same into a zip archive.
func archive(t testing.TB, files map[string][]byte) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, content := range files {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "photos.zip")
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func open(t testing.TB, name string) *Set {
	t.Helper()
	s, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// listed prints a set's samples.
func listed(s *Set) string {
	var b strings.Builder
	for _, x := range s.Samples {
		fmt.Fprintf(&b, "%d %s\n", x.Class, x.Path)
	}
	return b.String()
}

func pets(t testing.TB) map[string][]byte {
	return map[string][]byte{
		"cat/b.png": picture(t, 4, 4, 1), "cat/a.PNG": picture(t, 4, 4, 2), "cat/notes.txt": []byte("hello"),
		"Dog/x/1.png": picture(t, 4, 4, 3), "Dog/0.png": picture(t, 4, 4, 4), "Dog/._0.png": []byte("junk"),
		"bird/1.png": picture(t, 4, 4, 5), ".DS_Store": []byte("junk"), "__MACOSX/cat/._b.png": []byte("junk"),
	}
}

func TestOpen(t *testing.T) {
	want := "0 Dog/0.png\n0 Dog/x/1.png\n1 bird/1.png\n2 cat/a.PNG\n2 cat/b.png\n"
	for name, path := range map[string]string{"folder": folder(t, pets(t)), "zip": archive(t, pets(t))} {
		s := open(t, path)
		if got := listed(s); got != want {
			t.Errorf("%s: got\n%swant\n%s", name, got, want)
		}
		if !slices.Equal(s.Classes, []string{"Dog", "bird", "cat"}) || !slices.Equal(s.Counts(), []int{2, 1, 2}) {
			t.Errorf("%s: got classes %v with %v images", name, s.Classes, s.Counts())
		}
		if s.Ignored != 4 { // notes.txt, ._0.png, .DS_Store, __MACOSX
			t.Errorf("%s: ignored %d, want 4", name, s.Ignored)
		}
	}
}

// under puts every file below a folder.
func under(dir string, files map[string][]byte) map[string][]byte {
	out := map[string][]byte{}
	for name, b := range files {
		out[dir+"/"+name] = b
	}
	return out
}

func TestOpenDescends(t *testing.T) {
	nested := under("a/b", pets(t))
	for _, c := range []struct{ path, root string }{
		{folder(t, nested), "/a/b"},
		{archive(t, nested), "/a/b"},
		{archive(t, nested) + "/a", "/a/b"},
		{archive(t, nested) + "/a/b/", "/a/b"},
	} {
		s := open(t, c.path)
		if len(s.Classes) != 3 || !strings.HasSuffix(s.Root, c.root) {
			t.Errorf("%s: got classes %v at %s, want three at %s", c.path, s.Classes, s.Root, c.root)
		}
	}
	one := open(t, archive(t, map[string][]byte{"cat/1.png": picture(t, 2, 2, 1)}))
	if !slices.Equal(one.Classes, []string{"cat"}) {
		t.Errorf("a single class folder gives the classes %q, want cat", one.Classes)
	}
}

func TestOpenWithoutClasses(t *testing.T) {
	s := open(t, folder(t, map[string][]byte{"2.png": picture(t, 1, 1, 1), "1.png": picture(t, 1, 1, 2)}))
	if s.Classes != nil || listed(s) != "-1 1.png\n-1 2.png\n" {
		t.Errorf("got classes %v and\n%s", s.Classes, listed(s))
	}
}

func TestOpenFollowsLinks(t *testing.T) {
	dir := folder(t, pets(t))
	links := t.TempDir()
	if err := os.Symlink(filepath.Join(dir, "cat"), filepath.Join(links, "linked")); err != nil {
		t.Skip("this system makes no symbolic links: ", err)
	}
	if got := listed(open(t, links)); got != "0 linked/a.PNG\n0 linked/b.png\n" {
		t.Errorf("got\n%s", got)
	}
	if err := os.Symlink(links, filepath.Join(links, "loop")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(links); err == nil || !strings.Contains(err.Error(), "nested more than 16 deep") {
		t.Errorf("a loop of links gave %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	good := archive(t, under("photos", under("train", pets(t))))
	b, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	empty := pets(t)
	empty["fish/readme.txt"] = nil
	both := under("train", pets(t))
	for name, b := range under("Test", pets(t)) {
		both[name] = b
	}
	files := folder(t, map[string][]byte{
		"cut.zip": b[:len(b)/2], "text.zip": []byte("not a zip"), "none.zip": nil, "photo.png": picture(t, 1, 1, 1),
	})
	for _, c := range []struct{ path, want string }{
		{filepath.Join(files, "missing"), "no such folder"},
		{filepath.Join(files, "missing.zip/photos/train"), "no such folder"},
		{"", "an empty path"},
		{filepath.Join(files, "cut.zip"), "not a readable zip archive"},
		{filepath.Join(files, "text.zip"), "not a readable zip archive"},
		{filepath.Join(files, "none.zip/photos"), "not a readable zip archive"},
		{filepath.Join(files, "photo.png"), "not a readable zip archive"},
		{good + "/photos/trian", "photos.zip/photos: there are train"},
		{good + "/photos/train/cat/a.PNG", "got a file, want a folder"},
		{folder(t, map[string][]byte{"a.txt": nil}), "no images (1 other files)"},
		{folder(t, nil), "no images (0 other files)"},
		{folder(t, empty), `no images in 1 of 4 class folders: "fish" (1 other files)`},
		{archive(t, empty), `no images in 1 of 4 class folders: "fish"`},
		{folder(t, map[string][]byte{"a/": nil, "b/": nil}), `no images in 2 of 2 class folders: "a"`},
		{archive(t, both), "photos.zip: got the splits Test and train, want one folder per class (name one of them"},
	} {
		s, err := Open(c.path)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.path, err, c.want)
			continue
		}
		if k := fault.KindOf(err); k != fault.Data && c.path != "" {
			t.Errorf("%s: got kind %s, want data", c.path, k)
		}
	}
}

func TestSelect(t *testing.T) {
	s := open(t, folder(t, pets(t)))
	got, err := s.Select([]string{"cat", "DOG"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Classes, []string{"Dog", "cat"}) || listed(got) != "0 Dog/0.png\n0 Dog/x/1.png\n1 cat/a.PNG\n1 cat/b.png\n" {
		t.Errorf("got classes %v and\n%s", got.Classes, listed(got))
	}
	if _, err := s.Select([]string{"cow"}); err == nil || !strings.Contains(err.Error(), "there are Dog, bird, cat") {
		t.Errorf("an unknown class gave %v", err)
	}
}

// grid is a set of the given number of images per class, never read.
func grid(counts ...int) *Set {
	s := &Set{Root: "grid", src: &source{name: "grid"}}
	for c, n := range counts {
		s.Classes = append(s.Classes, fmt.Sprintf("class%02d", c))
		for i := range n {
			s.Samples = append(s.Samples, Sample{Path: fmt.Sprintf("class%02d/%03d.png", c, i), Class: c})
		}
	}
	return s
}

func TestSplit(t *testing.T) {
	s := grid(10, 2, 1, 101)
	a, b := s.Split(1, 0.8)
	if !slices.Equal(a.Counts(), []int{8, 1, 1, 81}) || !slices.Equal(b.Counts(), []int{2, 1, 0, 20}) {
		t.Errorf("got %v and %v images per class", a.Counts(), b.Counts())
	}
	joined := append(slices.Clone(a.Samples), b.Samples...)
	slices.SortFunc(joined, func(x, y Sample) int { return strings.Compare(x.Path, y.Path) })
	if listed(&Set{Samples: joined}) != listed(s) {
		t.Error("the parts together are not the set")
	}
	if again, _ := s.Split(1, 0.8); listed(again) != listed(a) {
		t.Error("the same seed gave another split")
	}
	if other, _ := s.Split(2, 0.8); listed(other) == listed(a) {
		t.Error("another seed gave the same split")
	}
	one, err := s.Select([]string{"class03"})
	if err != nil {
		t.Fatal(err)
	}
	alone, _ := one.Split(1, 0.8)
	within, err := a.Select([]string{"class03"})
	if err != nil {
		t.Fatal(err)
	}
	if listed(alone) != listed(within) {
		t.Error("a class is split otherwise when it is alone")
	}
	if all, none := s.Split(1, 1); all.Len() != 114 || none.Len() != 0 {
		t.Errorf("the fraction 1 split %d from %d", all.Len(), none.Len())
	}
}

func TestTake(t *testing.T) {
	s := grid(10, 2, 30)
	for n, want := range map[int][]int{0: {0, 0, 0}, 1: {1, 0, 0}, 7: {3, 2, 2}, 20: {9, 2, 9}, 99: {10, 2, 30}, -1: {0, 0, 0}} {
		if got := s.Take(n, 3).Counts(); !slices.Equal(got, want) {
			t.Errorf("Take(%d) took %v per class, want %v", n, got, want)
		}
	}
	if !strings.HasPrefix(listed(s.Take(20, 3)), listed(s.Take(7, 3))) {
		t.Error("a larger sample does not begin with the smaller one")
	}
	if listed(s.Take(7, 3)) == listed(s.Take(7, 4)) {
		t.Error("the seed changes nothing")
	}
	flat := &Set{Samples: []Sample{{Path: "a.png", Class: -1}, {Path: "b.png", Class: -1}}}
	if got := flat.Take(5, 0).Len(); got != 2 {
		t.Errorf("took %d of a set without classes, want 2", got)
	}
}

func TestDigest(t *testing.T) {
	ctx := t.Context()
	digest := func(s *Set) string {
		t.Helper()
		d, err := s.Digest(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	dir, zipped := open(t, folder(t, pets(t))), open(t, archive(t, pets(t)))
	base := digest(dir)
	if len(base) != 64 || base != digest(zipped) {
		t.Errorf("folder %s, archive %s: want the same", base, digest(zipped))
	}
	changed := pets(t)
	changed["cat/b.png"] = picture(t, 4, 4, 9)
	renamed := pets(t)
	renamed["cat/c.png"] = renamed["cat/b.png"]
	delete(renamed, "cat/b.png")
	for name, s := range map[string]*Set{
		"changed": open(t, folder(t, changed)), "renamed": open(t, folder(t, renamed)), "fewer": dir.Take(3, 0),
	} {
		if digest(s) == base {
			t.Errorf("%s: the digest stayed the same", name)
		}
	}
}
