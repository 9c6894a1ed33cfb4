package purify_test

import (
	"bufio"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"nuwa/graph"
	"nuwa/passes/purify"
	"nuwa/passes/structure"
)

var kills = flag.Int("kills", 20, "how often TestResumeAfterKill kills a learning process")

// pause is how long the process that is killed waits after each step.
const pause = 5 * time.Millisecond

// A process that is killed at a random moment leaves a checkpoint, the one
// before, or nothing; after any number of kills the result is that of a run
// that nothing disturbed, bit for bit. With -kills 500 it takes some minutes.
func TestResumeAfterKill(t *testing.T) {
	m, vit, o := tiny(t, "packed_17_dynamic.onnx")
	o.Steps = 30 * *kills // longer than all lives together
	if file := os.Getenv("NUWA_TEST_CHECKPOINT"); file != "" {
		learnSlowly(t, m, vit, o, file)
		return
	}
	want := text(t, learn(t, m, vit, o))
	file := filepath.Join(t.TempDir(), "state")
	rng := rand.New(rand.NewPCG(2, 2))
	found := 0
	for range *kills {
		if _, err := os.Stat(file); err == nil {
			found++
		}
		cmd, began := startLearning(t, file)
		if rng.IntN(4) > 0 { // else perhaps before the first step
			began()
		}
		time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the process had ended before it was killed")
		}
	}
	cmd, _ := startLearning(t, file)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file + ".result")
	if err != nil || string(got) != want {
		t.Errorf("%s, want %s (%v)", got, want, err)
	}
	t.Logf("killed %d times; %d runs went on from a checkpoint", *kills, found)
	if found < *kills/2 {
		t.Error("hardly any run left a checkpoint")
	}
}

// startLearning runs this test in a process of its own, which learns with a
// checkpoint file. The function returned waits for its first step.
func startLearning(t *testing.T, file string) (*exec.Cmd, func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestResumeAfterKill$", fmt.Sprintf("-kills=%d", *kills))
	cmd.Env = append(os.Environ(), "NUWA_TEST_CHECKPOINT="+file)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, func() { _, _ = bufio.NewReader(out).ReadString('\n') } // an error is the end of the process, which Wait tells
}

// learnSlowly is the other side of startLearning.
func learnSlowly(t *testing.T, m *graph.Model, vit *structure.ViT, o purify.Options, file string) {
	o.Checkpoint = file
	told := false
	o.Progress = func(purify.Progress) {
		if !told {
			fmt.Println("learning")
			told = true
		}
		time.Sleep(pause)
	}
	if err := os.WriteFile(file+".result", []byte(text(t, learn(t, m, vit, o))), 0o600); err != nil {
		t.Fatal(err)
	}
}
