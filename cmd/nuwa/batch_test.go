package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

// A batch that is killed at any moment shows no part of a model under its
// name, and goes on from there to the same models, making none twice.
func TestKillBatch(t *testing.T) {
	work := workplace(t, "one_block")
	config := `base: vit.onnx
defaults: {calibration: synthetic, images: 16}
tasks: [{name: a, classes: [1, 2]}, {name: b, classes: [3, 4, 5]}]
sizes: [{rate: 0.2}, {rate: 0.3}]
targets: [{name: cpu, align: 1}]
`
	if err := os.WriteFile(filepath.Join(work, "batch.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	models := func(folder string) map[string][]byte {
		found := map[string][]byte{}
		paths, _ := filepath.Glob(filepath.Join(work, folder, "*.onnx"))
		for _, p := range paths {
			b, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			found[filepath.Base(p)] = b
		}
		return found
	}
	args := func(folder string) []string {
		return []string{"batch", "batch.yaml", "-o", folder, "--cache", folder + "-cache", "--cores", "2"}
	}
	began := time.Now()
	_, wait := start(t, work, "nuwa", args("whole")...)
	if o := wait(); o.code != 0 {
		t.Fatalf("exit code %d: %s", o.code, o.stderr)
	}
	took := time.Since(began)
	want := models("whole")
	if len(want) != 4 {
		t.Fatalf("%d models", len(want))
	}
	kills := 6
	if n, err := strconv.Atoi(os.Getenv("NUWA_TEST_KILLS")); err == nil {
		kills = n
	}
	stopped := map[string]time.Time{}
	killed := 0
	for i := range kills {
		cmd, wait := start(t, work, "nuwa", args("killed")...)
		time.Sleep(took * time.Duration(3+5*i%17) / 20)
		_ = cmd.Process.Kill() // it may have ended
		if o := wait(); o.code != 0 {
			killed++
		}
		for name, b := range models("killed") {
			if !bytes.Equal(b, want[name]) {
				t.Fatalf("kill %d: %s is %d bytes that are not the model", i, name, len(b))
			}
			info, err := os.Stat(filepath.Join(work, "killed", name))
			if err != nil {
				t.Fatal(err)
			}
			if at, ok := stopped[name]; ok && at != info.ModTime() {
				t.Errorf("kill %d: %s was made twice", i, name)
			}
			stopped[name] = info.ModTime()
		}
		if kills > 6 && len(stopped) == len(want) { // begin anew
			clear(stopped)
			for _, f := range []string{"killed", "killed-cache"} {
				if err := os.RemoveAll(filepath.Join(work, f)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if killed == 0 {
		t.Error("no run was killed in time")
	}
	t.Logf("%d of %d runs were killed; models that were there at the last: %d", killed, kills, len(stopped))
	_, wait = start(t, work, "nuwa", args("killed")...)
	if o := wait(); o.code != 0 {
		t.Fatalf("exit code %d: %s", o.code, o.stderr)
	}
	got := models("killed")
	if len(got) != len(want) {
		t.Errorf("%d models, want %d", len(got), len(want))
	}
	for name := range want {
		if !bytes.Equal(got[name], want[name]) {
			t.Errorf("%s differs", name)
		}
		if info, err := os.Stat(filepath.Join(work, "killed", name)); err != nil || !stopped[name].IsZero() && stopped[name] != info.ModTime() {
			t.Errorf("%s was made twice, %v", name, err)
		}
	}
	left, err := os.ReadDir(filepath.Join(work, "killed"))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(left, func(e os.DirEntry) bool { return e.Name() == "index.html" }) {
		t.Error("no index")
	}
}
