package ort

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	ort "github.com/yalue/onnxruntime_go"

	"nuwa/internal/fault"
	"nuwa/internal/ort/release"
)

// Library is the loaded shared library.
type Library struct {
	Path    string // absolute path of the file
	Source  string // which place of the lookup it came from, such as "project cache"
	Version string // such as "1.27.0"
	API     int    // highest C API level it serves; 27 for release 1.27
}

var loaded struct {
	sync.Mutex
	lib *Library
}

const howToGet = "run `make onnxruntime` in the project, or set " + release.Env + " to an installed library"

// Load finds ONNX Runtime and initialises it. The first success holds for the
// life of the process; later calls return the same Library.
//
// The places, in order: explicit (a file or folder named by a flag or the
// configuration; may be ""), the environment variable
// ONNXRUNTIME_SHARED_LIBRARY_PATH, the project's cache above the working
// directory or the executable, the user's cache, the folder of the
// executable, the system's library folders. A library that was named
// explicitly or by the environment is the only one tried. Errors are of kind
// fault.Runtime and list every place with what was found there; naming a
// second library after one was loaded is fault.Usage.
func Load(explicit string) (*Library, error) {
	loaded.Lock()
	defer loaded.Unlock()
	if loaded.lib != nil {
		if explicit != "" && !holds(explicit, loaded.lib.Path) {
			return nil, &fault.Error{Kind: fault.Usage, Where: "ONNX Runtime",
				Got: explicit, Want: loaded.lib.Path + ", which is loaded already",
				Remedy: "one process can use one library; name it before the first model is opened"}
		}
		return loaded.lib, nil
	}
	var tried attempts
	for _, p := range places(explicit) {
		files := p.files()
		if len(files) == 0 {
			tried = append(tried, attempt{p, "nothing there"})
		}
		for _, file := range files {
			lib, err := open(file)
			if err == nil {
				lib.Source = p.source
				loaded.lib = lib
				return lib, nil
			}
			tried = append(tried, attempt{place{source: p.source, path: file}, err.Error()})
		}
		if p.named {
			break
		}
	}
	return nil, &fault.Error{Kind: fault.Runtime, Where: "ONNX Runtime",
		Got: "no library to load", Want: fmt.Sprintf("release 1.%d or newer for %s/%s", release.MinAPI, runtime.GOOS, runtime.GOARCH),
		Err: tried, Remedy: howToGet}
}

// Loaded reports whether a library is loaded.
func Loaded() bool {
	loaded.Lock()
	defer loaded.Unlock()
	return loaded.lib != nil
}

// open loads one file that exists.
func open(path string) (*Library, error) {
	version, err := inspect(path)
	if err != nil {
		return nil, err
	}
	if api, ok := apiLevel(version); ok && api < release.MinAPI {
		return nil, tooOld(fmt.Sprintf("release %s with API level %d", version, api))
	}
	ort.SetSharedLibraryPath(path)
	if err := ort.InitializeEnvironment(ort.WithLogLevelFatal()); err != nil {
		if strings.Contains(err.Error(), "setting ORT API base: 2") {
			return nil, tooOld("a lower API level")
		}
		return nil, fmt.Errorf("does not load: %w", err)
	}
	if err := ort.DisableTelemetry(); err != nil {
		return nil, fmt.Errorf("does not turn off telemetry: %w", err)
	}
	lib := &Library{Path: path, Version: ort.GetVersion()}
	lib.API, _ = apiLevel(lib.Version)
	return lib, nil
}

func tooOld(got string) error {
	return fmt.Errorf("too old: got %s, want API level %d (release 1.%d)", got, release.MinAPI, release.MinAPI)
}

// apiLevel returns N of a version 1.N.x.
func apiLevel(version string) (int, bool) {
	part := strings.SplitN(version, ".", 3)
	if len(part) < 2 || part[0] != "1" {
		return 0, false
	}
	n, err := strconv.Atoi(part[1])
	return n, err == nil
}

// holds reports whether named is the file path or the folder it lies in.
func holds(named, path string) bool {
	for _, p := range []string{path, filepath.Dir(path)} {
		a, errA := os.Stat(named)
		b, errB := os.Stat(p)
		if errA == nil && errB == nil && os.SameFile(a, b) {
			return true
		}
	}
	return false
}

// attempts is the error that lists where a library was looked for.
type attempts []attempt

type attempt struct {
	place place
	found string
}

func (a attempts) Error() string {
	var b strings.Builder
	b.WriteString("looked in this order:")
	for _, t := range a {
		fmt.Fprintf(&b, "\n  %s: %s: %s", t.place.source, t.place.path, t.found)
	}
	b.WriteByte('\n')
	return b.String()
}
