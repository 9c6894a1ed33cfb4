package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"nuwa/internal/fault"
	"nuwa/internal/files"
	"nuwa/internal/ort/release"
)

// pack writes an npm archive with the given files and returns its path and
// integrity.
func pack(t *testing.T, files map[string]string) (path, integrity string) {
	t.Helper()
	var buf bytes.Buffer
	zip := gzip.NewWriter(&buf)
	out := tar.NewWriter(zip)
	for name, text := range files {
		if err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(out.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "pack.tgz")
	if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512(buf.Bytes())
	return path, "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
}

func TestExtract(t *testing.T) {
	sum := sha256.Sum256([]byte("library"))
	lib := release.File{Entry: "package/lib.so", Name: "lib.so.1", SHA256: hex.EncodeToString(sum[:])}
	archive, integrity := pack(t, map[string]string{"package/other": "x", "package/lib.so": "library"})
	for _, c := range []struct {
		name, archive, integrity string
		lib                      release.File
		want                     string // of the error
	}{
		{"right", archive, integrity, lib, ""},
		{"altered archive", archive, release.Integrity, lib, "want " + release.Integrity},
		{"altered library", archive, integrity, release.File{Entry: lib.Entry, SHA256: "00"}, "want 00"},
		{"no such entry", archive, integrity, release.File{Entry: "package/none"}, "want package/none"},
		{"no archive", archive + ".none", integrity, lib, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := filepath.Join(t.TempDir(), "lib.so.1")
			err := extract(c.archive, c.integrity, c.lib, target)
			text, readErr := os.ReadFile(target)
			if c.want == "" {
				if err != nil || string(text) != "library" {
					t.Errorf("%v, %q", err, text)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if !errors.Is(readErr, os.ErrNotExist) {
				t.Errorf("a library that failed its check was left behind: %q", text)
			}
		})
	}
}

func TestRunLeavesWhatIsRight(t *testing.T) {
	lib, ok := release.For(runtime.GOOS, runtime.GOARCH)
	root, found := release.Root(mustGetwd(t))
	if !ok || !found {
		t.Skip("no library for this platform")
	}
	cached := filepath.Join(root, filepath.FromSlash(release.CacheDir), lib.Name)
	if sum, err := files.Digest(cached); err != nil || sum != lib.SHA256 {
		t.Skip("the library is not in the cache; run `make onnxruntime`")
	}
	t.Setenv("PATH", "") // no npm
	t.Setenv(release.Env, "")
	if err := run(t.Context(), ""); err != nil {
		t.Error(err)
	}
	t.Setenv(release.Env, "/some/library.so")
	if err := run(t.Context(), ""); err != nil {
		t.Errorf("with a library of the user's own: %v", err)
	}
}

func TestRunFailures(t *testing.T) {
	if _, ok := release.For(runtime.GOOS, runtime.GOARCH); !ok || runtime.GOOS == "windows" {
		t.Skip("npm is replaced by a shell script here")
	}
	altered, _ := pack(t, map[string]string{"package/lib.so": "library"})
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name   string
		npm    string // script; "" for none
		ctx    context.Context
		kind   fault.Kind
		wanted string
	}{
		{"no npm", "", t.Context(), fault.Runtime, "install npm, or set " + release.Env},
		{"npm fails", "exit 3", t.Context(), fault.Runtime, "exit status 3 (check the network"},
		{"npm fetches nothing", "exit 0", t.Context(), fault.Runtime, "got 0 archives, want 1"},
		{"altered download", "/bin/cp " + altered + " .", t.Context(), fault.Check, "want " + release.Integrity},
		{"interrupted", "exit 0", cancelled, fault.Interrupted, "context canceled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, dir := t.TempDir(), t.TempDir()
			if c.npm != "" {
				if err := os.WriteFile(filepath.Join(path, "npm"), []byte("#!/bin/sh\n"+c.npm+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", path)
			err := run(c.ctx, dir)
			if fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.wanted) {
				t.Errorf("got %v, want %s", err, c.wanted)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func mustGetwd(t *testing.T) string {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return wd
}
