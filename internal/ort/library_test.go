package ort

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"nuwa/internal/fault"
	"nuwa/internal/ort/release"
)

// A process can load one library, so each case of the lookup runs in a child:
// this test binary, started again with childEnv naming the explicit path.
const childEnv = "NUWA_TEST_LOAD"

func TestMain(m *testing.M) {
	if explicit, ok := os.LookupEnv(childEnv); ok {
		lib, err := Load(explicit)
		if err != nil {
			fmt.Print(err)
			os.Exit(fault.ExitCode(err))
		}
		fmt.Printf("loaded %s from %s: %s, API %d", lib.Path, lib.Source, lib.Version, lib.API)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// loadIn runs Load in a child and returns what it printed and its exit code.
func loadIn(t *testing.T, dir, explicit string, env ...string) (string, int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Dir = dir
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, release.Env+"=") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, childEnv+"="+explicit)
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func mustLoad(t *testing.T) *Library {
	t.Helper()
	lib, err := Load("")
	if err != nil {
		t.Fatal(err)
	}
	return lib
}

func TestLoadFindsProjectCache(t *testing.T) {
	if os.Getenv(release.Env) != "" {
		t.Skip(release.Env + " names another library")
	}
	lib := mustLoad(t)
	root, ok := release.Root(absolute("."))
	if !ok || lib.Source != "project cache" || filepath.Dir(lib.Path) != filepath.Join(root, ".cache", "onnxruntime") {
		t.Errorf("loaded %+v, want a library of the cache in %s", lib, root)
	}
	if lib.Version != release.Version || lib.API != 27 {
		t.Errorf("loaded %+v, want %s", lib, release.Version)
	}
}

func TestLoadOnce(t *testing.T) {
	lib := mustLoad(t)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for _, explicit := range []string{"", lib.Path, filepath.Dir(lib.Path)} {
				if again, err := Load(explicit); err != nil || again != lib {
					t.Errorf("Load(%q) = %v, %v, want the loaded one", explicit, again, err)
				}
			}
		})
	}
	wait.Wait()
	if _, err := Load(os.Args[0]); fault.KindOf(err) != fault.Usage {
		t.Errorf("naming a second library: %v, want a usage error", err)
	}
}

func TestLoadNamed(t *testing.T) {
	lib := mustLoad(t)
	link := filepath.Join(t.TempDir(), "libonnxruntime.so.1.27.0")
	if err := os.Symlink(lib.Path, link); err != nil {
		t.Skip("no symbolic links:", err)
	}
	const nowhere = release.Env + "=/nowhere/lib.so"
	for _, c := range []struct {
		name, explicit, want string
		env                  []string
	}{
		{"explicit file wins", lib.Path, lib.Path + " from named explicitly", []string{nowhere}},
		{"explicit folder", filepath.Dir(link), link + " from named explicitly", nil},
		{"environment", "", link + " from " + release.Env, []string{release.Env + "=" + link}},
		{"empty environment", "", "from project cache", []string{release.Env + "="}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.want == "from project cache" && lib.Source != "project cache" {
				t.Skip("the project has no cache")
			}
			if out, code := loadIn(t, ".", c.explicit, c.env...); code != 0 || !strings.Contains(out, c.want) {
				t.Errorf("exit %d: %s\nwant %s", code, out, c.want)
			}
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the libraries of this test are ELF files")
	}
	dir := t.TempDir()
	text := filepath.Join(dir, "text.so")
	if err := os.WriteFile(text, []byte("not a library"), 0o755); err != nil {
		t.Fatal(err)
	}
	const old = `
		static const char *version(void) { return "1.10.0"; }
		static const void *api(unsigned level) { return level > 10 ? 0 : "api"; }
		static struct { const void *(*api)(unsigned); const char *(*version)(void); } base = { api, version };
		void *OrtGetApiBase(void) { return &base; }`
	for _, c := range []struct{ name, path, want string }{
		{"missing", filepath.Join(dir, "none.so"), "none.so: nothing there"},
		{"empty folder", t.TempDir(), "nothing there"},
		{"not a library", text, "not a shared library"},
		{"another library", compile(t, "other", `int f(void) { return 1; }`, ""), "does not export OrtGetApiBase"},
		{"too old", compile(t, "old", old, "VERS_1.10.0 { global: OrtGetApiBase; local: *; };"),
			"too old: got release 1.10.0 with API level 10, want API level 24 (release 1.24)"},
		{"too old, unversioned", compile(t, "plain", old, ""), "too old: got a lower API level, want API level 24"},
		{"other processor", otherProcessor(t), "for another processor"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, how := range []string{"explicit", "environment"} {
				explicit, env := c.path, ""
				if how == "environment" {
					explicit, env = "", release.Env+"="+c.path
				}
				out, code := loadIn(t, dir, explicit, env)
				if code != int(fault.Runtime) || !strings.Contains(out, c.want) || !strings.Contains(out, c.path) || !strings.Contains(out, "make onnxruntime") {
					t.Errorf("%s: exit %d: %s\nwant exit %d, %q and the remedy", how, code, out, fault.Runtime, c.want)
				}
			}
		})
	}
}

func TestLoadListsEveryPlace(t *testing.T) {
	home := t.TempDir()
	out, code := loadIn(t, home, "", "HOME="+home, "XDG_CACHE_HOME="+home+"/cache", "LD_LIBRARY_PATH="+home+"/ld")
	if code == 0 {
		t.Skip("this system has a library of its own: " + out)
	}
	places := []string{
		"user cache: " + home + "/cache/nuwa/onnxruntime: nothing there",
		"beside the executable: ",
		"system: /usr/local/lib: ",
		release.Env,
	}
	if runtime.GOOS == "linux" {
		places = append(places, "system: "+home+"/ld: nothing there")
	}
	for _, want := range places {
		if !strings.Contains(out, want) {
			t.Errorf("the error does not mention %q:\n%s", want, out)
		}
	}
}

func TestProviders(t *testing.T) {
	providers := mustLoad(t).Providers()
	if !slices.Contains(providers, CPU) {
		t.Errorf("providers %v, want the CPU among them", providers)
	}
	if slices.Contains(providers, DirectML) && runtime.GOOS != "windows" {
		t.Errorf("providers %v on %s", providers, runtime.GOOS)
	}
}

// The binding does not tell the API level it was compiled for; its header does.
func TestMinAPIIsTheBindings(t *testing.T) {
	header, err := os.ReadFile(filepath.Join(bindingDir(t), "onnxruntime_c_api.h"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^#define ORT_API_VERSION (\d+)`).FindSubmatch(header)
	if m == nil || string(m[1]) != fmt.Sprint(release.MinAPI) {
		t.Errorf("the binding's header says %s, release.MinAPI is %d", m, release.MinAPI)
	}
}

func bindingDir(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/yalue/onnxruntime_go").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// otherProcessor returns a library for a processor other than this one.
func otherProcessor(t *testing.T) string {
	t.Helper()
	if runtime.GOARCH == "arm64" {
		t.Skip("the binding carries a library for arm64 only")
	}
	return filepath.Join(bindingDir(t), "test_data", "onnxruntime_arm64.so")
}

// compile makes a shared library of C code, with a linker version script
// unless that is empty.
func compile(t *testing.T, name, code, script string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(file, text string) string {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	lib := filepath.Join(dir, name+".so")
	args := []string{"-shared", "-fPIC", "-o", lib, write(name+".c", code)}
	if script != "" {
		args = append(args, "-Wl,--version-script="+write(name+".map", script))
	}
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, out)
	}
	return lib
}
