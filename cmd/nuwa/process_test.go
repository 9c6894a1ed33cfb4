package main

import (
	"bytes"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"nuwa/testmodels"
)

// outcome is how a run of nuwa ended.
type outcome struct {
	code           int
	stdout, stderr string
}

// start begins a run of nuwa in dir; the result waits for its end.
func start(t *testing.T, dir string, name string, args ...string) (*exec.Cmd, func() outcome) {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	cmd.Env = append(environment(t), "PATH="+os.Getenv("PATH"), "HOME="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, func() outcome {
		_ = cmd.Wait() // the exit code tells
		return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	}
}

// workplace is a folder with a tiny model in it.
func workplace(t *testing.T, model string) string {
	t.Helper()
	dir, err := testmodels.Dir()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "tiny", model+".onnx"))
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	if err := os.WriteFile(filepath.Join(work, "vit.onnx"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	return work
}

// content lists a folder.
func content(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// writePicture writes a picture of side × side pixels, and the folder it is in.
func writePicture(t *testing.T, path string, side, class, seed int) {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, picture(side, side, class, uint64(seed), false)); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
