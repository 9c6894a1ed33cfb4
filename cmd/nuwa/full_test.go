package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nuwa/internal/fault"
)

// A full disk leaves no part of a file.
func TestFullDisk(t *testing.T) {
	work := workplace(t, "packed_17_dynamic")
	small := filepath.Join(work, "small")
	if err := os.Mkdir(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("nuwa", small, "tmpfs", 0, "size=40k"); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	defer unix.Unmount(small, 0)
	derive := []string{"derive", "vit.onnx", "-o", "small/out.onnx", "--calibration", "synthetic", "--images", "16", "--rate", "0.3"}
	for _, args := range [][]string{derive, append(derive[:len(derive):len(derive)], "--report", "report.json"), {"export", "vit.onnx", "-o", "small/out.onnx"}} {
		_, wait := start(t, work, "nuwa", args...)
		if o := wait(); o.code != int(fault.IO) || !strings.Contains(o.stderr, "nuwa: small/out.onnx: writing the model") || !strings.Contains(o.stderr, "free some disk space") {
			t.Errorf("exit code %d: %s", o.code, o.stderr)
		}
		if got := content(t, small) + content(t, work); got != "small vit.onnx" {
			t.Errorf("left behind: %s", got)
		}
	}
}

// A limit on the size of files is an error like any other.
func TestFileLimit(t *testing.T) {
	work := workplace(t, "packed_17_dynamic")
	_, wait := start(t, work, "sh", "-c", `ulimit -f 40; exec nuwa derive vit.onnx -o out.onnx --calibration synthetic --images 16 --rate 0.3`)
	if o := wait(); o.code != int(fault.IO) || !strings.Contains(o.stderr, "raise the limit on file sizes") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
	if got := content(t, work); got != "vit.onnx" {
		t.Errorf("left behind: %s", got)
	}
}

// Standard output that takes nothing is an error, not a panic.
func TestFullOutput(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip(err)
	}
	work := workplace(t, "one_block")
	_, wait := start(t, work, "sh", "-c", `exec nuwa inspect vit.onnx >/dev/full`)
	if o := wait(); o.code != int(fault.IO) || !strings.Contains(o.stderr, "standard output") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
}
