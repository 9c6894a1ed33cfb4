// Package release says which ONNX Runtime nuwa is built and tested against,
// and where the project keeps its copy.
//
// It owns the pinned version, the npm package that carries the library, the
// digest of every file in it that a platform needs, and the names of the cache
// folders. The fetch command puts a library there and package ort finds it, so
// both read the facts here. It imports only the standard library.
//
//	file, ok := release.For(runtime.GOOS, runtime.GOARCH)
//	dir := filepath.Join(root, release.CacheDir)
package release

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
)

// What is fetched.
const (
	// Version is the pinned ONNX Runtime.
	Version = "1.27.0"

	// MinAPI is the C API level that the Go binding was compiled against. A
	// library serves its own level and all below it; the level of release 1.N
	// is N, so every library from 1.24 on will do.
	MinAPI = 24

	// Package is the npm package that carries the library for all platforms.
	Package = "onnxruntime-node@" + Version

	// Integrity is the sha512 digest of the package, as npm writes it.
	Integrity = "sha512-QEzGwrvNBgv4uPVdnbHsOGG4G6T96mdlcFI8aAKPjMU8wOPpVocPXb6k3QGkaZagVTv2G9Bnnbo6Z3JdXr1fQw=="

	// CacheDir is the folder of the library below the project's root.
	CacheDir = ".cache/onnxruntime"

	// UserCacheDir is the same below os.UserCacheDir.
	UserCacheDir = "nuwa/onnxruntime"

	// Env names a library outside the project.
	Env = "ONNXRUNTIME_SHARED_LIBRARY_PATH"
)

// File is one shared library inside the package.
type File struct {
	Entry  string // path inside the package archive
	Name   string // file name that it is installed under
	SHA256 string // digest of the library, in hexadecimal
}

const bin = "package/bin/napi-v6/"

var files = map[string]File{
	"linux/amd64": {bin + "linux/x64/libonnxruntime.so.1", "libonnxruntime.so.1",
		"d8aff4aa8abee8fb2abb2f2f2459ffc94461e781e41b9f7c072829dd0d470221"},
	"linux/arm64": {bin + "linux/arm64/libonnxruntime.so.1", "libonnxruntime.so.1",
		"c36bc200e7e6c093b8abb0b34590fbdd8c52fd3fb5e33795b9523ffdde2fce0f"},
	"darwin/arm64": {bin + "darwin/arm64/libonnxruntime.1.27.0.dylib", "libonnxruntime.1.dylib",
		"89f692a3a1a224e4ad0b796b0e7c0bd81113b0741bfe84211eceef14d05a9e59"},
	"windows/amd64": {bin + "win32/x64/onnxruntime.dll", "onnxruntime.dll",
		"273f9ef9cf755c6a0f342226a80448156c10ceb74db2ae8c8370dc98e75af0eb"},
	"windows/arm64": {bin + "win32/arm64/onnxruntime.dll", "onnxruntime.dll",
		"908ce63e73f375e90daabe24c52486b42392c19df3d63973a26f871cfeab5453"},
}

// For returns the library for an operating system and architecture as Go
// names them; false where the package has none.
func For(goos, goarch string) (File, bool) {
	f, ok := files[goos+"/"+goarch]
	return f, ok
}

// Root returns the nearest folder, from dir upward, that holds the go.mod of
// the module nuwa; false when there is none.
func Root(dir string) (string, bool) {
	for {
		if isRoot(dir) {
			return dir, true
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", false
		}
		dir = parent
	}
}

func isRoot(dir string) bool {
	f, err := os.Open(filepath.Join(dir, "go.mod"))
	if err != nil {
		return false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if words := strings.Fields(s.Text()); len(words) > 1 && words[0] == "module" {
			return words[1] == "nuwa"
		}
	}
	return false
}
