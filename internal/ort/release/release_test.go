package release

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestEveryPlatformIsPinned(t *testing.T) {
	digest := regexp.MustCompile(`^[0-9a-f]{64}$`)
	for _, p := range []string{"linux/amd64", "linux/arm64", "darwin/arm64", "windows/amd64", "windows/arm64"} {
		goos, goarch, _ := strings.Cut(p, "/")
		f, ok := For(goos, goarch)
		if !ok || !digest.MatchString(f.SHA256) || !strings.HasPrefix(f.Entry, "package/") || strings.ContainsAny(f.Name, `/\`) {
			t.Errorf("%s: %+v, %v", p, f, ok)
		}
	}
	if f, ok := For("plan9", "amd64"); ok {
		t.Errorf("plan9/amd64: %+v", f)
	}
}

func TestRoot(t *testing.T) {
	top := t.TempDir()
	write := func(dir, mod string) string {
		path := filepath.Join(top, dir)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if mod != "" {
			if err := os.WriteFile(filepath.Join(path, "go.mod"), []byte(mod), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	root := write("a", "// a comment\n\nmodule nuwa // the project\n\ngo 1.26\n")
	write("a/other", "module example.com/nuwa\n")
	for dir, want := range map[string]string{"a": root, "a/b/c": root, "a/other/d": root, "elsewhere": ""} {
		if got, ok := Root(write(dir, "")); got != want || ok != (want != "") {
			t.Errorf("from %s: %q, %v, want %q", dir, got, ok, want)
		}
	}
}
