package ort

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"nuwa/internal/ort/release"
)

// place is one stop of the lookup.
type place struct {
	source string
	path   string // a library file, or a folder that may hold one
	named  bool   // the user named it, so nothing else will do
}

// places returns where to look, best first.
func places(explicit string) []place {
	if explicit != "" {
		return []place{{"named explicitly", absolute(explicit), true}}
	}
	if env := os.Getenv(release.Env); env != "" {
		return []place{{release.Env, absolute(env), true}}
	}
	var out []place
	add := func(source, dir string) {
		p := place{source: source, path: dir}
		if !slices.ContainsFunc(out, func(q place) bool { return q.path == dir }) {
			out = append(out, p)
		}
	}
	var exeDir string
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		exeDir = filepath.Dir(exe)
	}
	for _, from := range []string{absolute("."), exeDir} {
		if root, ok := release.Root(from); ok && from != "" {
			add("project cache", filepath.Join(root, filepath.FromSlash(release.CacheDir)))
		}
	}
	if dir, err := os.UserCacheDir(); err == nil {
		add("user cache", filepath.Join(dir, filepath.FromSlash(release.UserCacheDir)))
	}
	if exeDir != "" {
		add("beside the executable", exeDir)
	}
	for _, dir := range systemDirs() {
		add("system", dir)
	}
	return out
}

// systemDirs returns the folders that the platform's loader searches, and the
// usual ones for libraries that were installed by hand.
func systemDirs() []string {
	switch runtime.GOOS {
	case "windows":
		return filepath.SplitList(os.Getenv("PATH"))
	case "darwin":
		return append(filepath.SplitList(os.Getenv("DYLD_LIBRARY_PATH")),
			"/opt/homebrew/lib", "/usr/local/lib", "/opt/onnxruntime/lib")
	}
	dirs := filepath.SplitList(os.Getenv("LD_LIBRARY_PATH"))
	dirs = append(dirs, "/usr/local/lib", "/opt/onnxruntime/lib")
	if triple, ok := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[runtime.GOARCH]; ok {
		dirs = append(dirs, "/usr/lib/"+triple)
	}
	return append(dirs, "/usr/lib64", "/usr/lib", "/lib")
}

// files returns the existing library files at p, the plain name first, then
// higher versions before lower ones.
func (p place) files() []string {
	info, err := os.Stat(p.path)
	if err != nil {
		return nil
	}
	if !info.IsDir() {
		return []string{p.path}
	}
	patterns := map[string][]string{
		"windows": {"onnxruntime.dll"},
		"darwin":  {"libonnxruntime.dylib", "libonnxruntime.*.dylib"},
	}[runtime.GOOS]
	if patterns == nil {
		patterns = []string{"libonnxruntime.so", "libonnxruntime.so.*", "onnxruntime.so"}
	}
	var out []string
	for _, pattern := range patterns {
		found, err := filepath.Glob(filepath.Join(escape(p.path), pattern))
		if err != nil {
			continue // escape leaves no malformed pattern
		}
		slices.Sort(found)
		slices.Reverse(found)
		for _, f := range found {
			if !slices.ContainsFunc(out, func(o string) bool { return sameFile(o, f) }) {
				out = append(out, f)
			}
		}
	}
	return out
}

// escape quotes the characters of a path that have a meaning in a pattern.
func escape(path string) string {
	if runtime.GOOS == "windows" {
		return path
	}
	var out []rune
	for _, r := range path {
		if r == '*' || r == '?' || r == '[' || r == '\\' {
			out = append(out, '\\')
		}
		out = append(out, r)
	}
	return string(out)
}

func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
