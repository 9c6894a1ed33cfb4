package files_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"nuwa/internal/fault"
	"nuwa/internal/files"
)

// A file that could not be written whole leaves the old one, and nothing else.
func TestReplaceIsWholeOrNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "result")
	write := func(text string, fail error) error {
		return files.Replace(path, func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return errors.Join(err, fail)
		})
	}
	if err := write("old", nil); err != nil {
		t.Fatal(err)
	}
	if err := write("half", errors.New("no space")); fault.KindOf(err) != fault.IO {
		t.Errorf("got %v, want an error of kind io", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "old" {
		t.Errorf("got %q, %v, want the old content", got, err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	const sha = "cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4"
	if got, err := files.Digest(path); err != nil || got != sha {
		t.Errorf("digest %q, %v, want %s", got, err, sha)
	}
}

// Only a name that is free, or may be replaced, and is none of the inputs can be
// written to.
func TestVacant(t *testing.T) {
	dir := t.TempDir()
	there, free := filepath.Join(dir, "there"), filepath.Join(dir, "free")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		output string
		force  bool
		input  string
		want   fault.Kind
	}{
		{free, false, there, 0},
		{there, false, free, fault.Exists},
		{there, true, free, 0},
		{there, true, there, fault.Usage},
		{dir, true, there, fault.Exists},
		{filepath.Join(dir, "none", "file"), false, there, fault.IO},
	} {
		if err := files.Vacant(x.output, x.force, x.input); fault.KindOf(err) != x.want {
			t.Errorf("%s, force %v: got %v, want kind %v", x.output, x.force, err, x.want)
		}
	}
}
