package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nuwa/internal/fault"
)

// Ctrl-C ends a run within moments, with its own exit code, and leaves what
// was there before.
func TestInterrupt(t *testing.T) {
	work := workplace(t, "packed_17_dynamic")
	old := []byte("what was there before")
	if err := os.WriteFile(filepath.Join(work, "old.onnx"), old, 0o644); err != nil {
		t.Fatal(err)
	}
	many := filepath.Join(work, "many", "ant")
	writePicture(t, filepath.Join(many, "0.png"), 1000, 0, 0)
	for i := range 3000 {
		if err := os.Link(filepath.Join(many, "0.png"), filepath.Join(many, strconv.Itoa(i+1)+".png")); err != nil {
			t.Skip("no hard links:", err)
		}
	}
	if err := os.WriteFile(filepath.Join(work, "names.txt"), []byte(strings.Join(tenClasses, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	before := content(t, work)
	for name, args := range map[string][]string{
		"derive": {"derive", "vit.onnx", "-o", "old.onnx", "--force", "--calibration", "synthetic", "--images", "100000000", "--rate", "0.3", "--report", "report.json"},
		"paper":  {"derive", "vit.onnx", "-o", "new.onnx", "--recipe", "paper", "--calibration", "synthetic", "--images", "100000000", "--rate", "0.3"},
		"images": {"derive", "vit.onnx", "-o", "new.onnx", "--labels", "names.txt", "--data", "many", "--rate", "0.3", "--images", "3000"},
		"eval":   {"eval", "vit.onnx", "--labels", "names.txt", "--data", "many"},
		"bench":  {"bench", "vit.onnx", "--min-time", "1h"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd, wait := start(t, work, "nuwa", args...)
			working(t, cmd.Process.Pid)
			time.Sleep(300 * time.Millisecond)
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			o := wait()
			if o.code != int(fault.Interrupted) || o.stdout != "" || !strings.Contains(o.stderr, "nuwa: interrupted; no output was written") {
				t.Errorf("exit code %d, output %q, errors %q", o.code, o.stdout, o.stderr)
			}
			if d := time.Since(began); d > 5*time.Second {
				t.Errorf("it took %v to stop", d)
			}
			if got := content(t, work); got != before {
				t.Errorf("the folder holds %s, and held %s", got, before)
			}
			if b, err := os.ReadFile(filepath.Join(work, "old.onnx")); err != nil || !bytes.Equal(b, old) {
				t.Error("what was there before is gone")
			}
		})
	}
}

// A purification that is interrupted leaves where to go on from, and nothing
// else.
func TestInterruptPurify(t *testing.T) {
	work := workplace(t, "one_block")
	for c, class := range tenClasses {
		for i := range 5 {
			writePicture(t, filepath.Join(work, "photos", class, strconv.Itoa(i)+".png"), 16, c, i)
		}
	}
	cmd, wait := start(t, work, "nuwa", "purify", "vit.onnx", "-o", "out.onnx", "--data", "photos", "--classes", "cat,dog", "--purify-steps", "10000000")
	working(t, cmd.Process.Pid)
	for range 1000 {
		time.Sleep(30 * time.Millisecond)
		if _, err := os.Stat(filepath.Join(work, "out.onnx.purify")); err == nil {
			break
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if o := wait(); o.code != int(fault.Interrupted) || !strings.Contains(o.stderr, "the same command goes on from where this one stopped") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
	if got := content(t, work); got != "out.onnx.purify photos vit.onnx" {
		t.Errorf("the folder holds %s", got)
	}
}

// A run that is interrupted at any moment either finishes or leaves nothing.
func TestInterruptAnywhere(t *testing.T) {
	work := workplace(t, "one_block")
	args := []string{"derive", "vit.onnx", "-o", "out.onnx", "--calibration", "synthetic", "--images", "16", "--hidden", "50%", "--no-bench", "--json"}
	began := time.Now()
	_, wait := start(t, work, "nuwa", args...)
	if o := wait(); o.code != 0 {
		t.Fatalf("exit code %d: %s", o.code, o.stdout)
	}
	took := time.Since(began)
	finished := 0
	for i := range 8 {
		if err := os.RemoveAll(filepath.Join(work, "out.onnx")); err != nil {
			t.Fatal(err)
		}
		cmd, wait := start(t, work, "nuwa", args...)
		working(t, cmd.Process.Pid)
		time.Sleep(took * time.Duration(i) / 8)
		_ = cmd.Process.Signal(os.Interrupt) // it may have ended
		o := wait()
		switch got := content(t, work); {
		case o.code == 0 && got == "out.onnx vit.onnx" && strings.Contains(o.stdout, `"output": "out.onnx"`):
			finished++
		case o.code == int(fault.Interrupted) && got == "vit.onnx" && strings.Contains(o.stdout, `"kind": "interrupted"`):
		default:
			t.Errorf("after %d/8: exit code %d, the folder holds %s, output %q", i, o.code, got, o.stdout)
		}
	}
	if finished == 8 {
		t.Error("no run was interrupted in time")
	}
}

// A second Ctrl-C does not wait for the first.
func TestSecondInterrupt(t *testing.T) {
	work := workplace(t, "one_block")
	pipe := filepath.Join(work, "slow", "ant", "0.png")
	if err := os.MkdirAll(filepath.Dir(pipe), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(pipe, 0o644); err != nil {
		t.Skip(err)
	}
	w, err := os.OpenFile(pipe, os.O_RDWR, 0) // so that nuwa waits for what is never written
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := os.WriteFile(filepath.Join(work, "names.txt"), []byte(strings.Join(tenClasses, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd, wait := start(t, work, "nuwa", "eval", "vit.onnx", "--data", "slow", "--labels", "names.txt")
	working(t, cmd.Process.Pid)
	for range 2 {
		time.Sleep(500 * time.Millisecond)
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
	}
	wait()
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGINT {
		t.Errorf("ended with %v", cmd.ProcessState)
	}
}

// working waits until a process has loaded ONNX Runtime: it has begun.
func working(t *testing.T, pid int) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("how far a process is can be seen on Linux only")
	}
	maps := filepath.Join("/proc", strconv.Itoa(pid), "maps")
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if b, err := os.ReadFile(maps); err == nil && bytes.Contains(b, []byte("libonnxruntime")) {
			return
		}
	}
	t.Fatal("the process does not begin to work")
}
