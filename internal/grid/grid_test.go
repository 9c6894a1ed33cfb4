package grid

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nuwa/internal/fault"
)

const sound = `
models:
  - name: m
    base: base.onnx
    data: train
    test: test
    tasks: [{name: a, classes: [x, y]}, {name: b, classes: [x, z]}]
rates: [.5, .8]
seeds: [0, 1]
recipes:
  - {name: paper, purify: none}
  - {name: best}
  - {name: other, recipe: best, refit: none, rates: [.8], seeds: [1]}
`

func load(t *testing.T, text string) (*Config, error) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"grid.yaml": text, "base.onnx": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Load(filepath.Join(dir, "grid.yaml"))
}

func TestConfig(t *testing.T) {
	c, err := load(t, sound)
	if err != nil {
		t.Fatal(err)
	}
	cells := c.Cells()
	if len(cells) != 2*(2*2*2+1) {
		t.Errorf("%d cells", len(cells))
	}
	if last := cells[len(cells)-1]; last.Recipe.Refit != "none" || last.Recipe.Recipe != "best" || last.Seed != 1 || last.Rate != .8 || last.Task.Name != "b" {
		t.Errorf("the last cell is %+v of %+v", last, last.Recipe)
	}
	if !filepath.IsAbs(c.Models[0].Data) {
		t.Errorf("data at %s, want it beside the file", c.Models[0].Data)
	}
	for _, bad := range []struct{ from, to, want string }{
		{".8]\nseeds", "1.8]\nseeds", "1.8"}, {"{name: best}", "{name: paper}", `"paper"`}, {"refit", "refitting", "refitting"},
		{"base: base", "base: none", "none.onnx"}, {"rates: [.5, .8]", "rates: []", "at least one"}, {"{name: best}", "{name: good, recipe: best}", `"best"`},
	} {
		if _, err := load(t, strings.Replace(sound, bad.from, bad.to, 1)); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s instead of %s: %v, want an error with %q", bad.to, bad.from, err, bad.want)
		}
	}
	if _, err := Load("nowhere.yaml"); fault.KindOf(err) != fault.Usage {
		t.Errorf("no file: %v", err)
	}
}

// An interrupted log is read again up to the line that was cut off, and goes
// on after it.
func TestLogGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cells")
	l, err := OpenLog(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []Outcome{{Key: "a", Right: "101"}, {Key: "b", Right: "111"}} {
		if err := l.Add(o); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	text, _ := os.ReadFile(path)
	if err := os.WriteFile(path, text[:len(text)-9], 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if l, err = OpenLog(path); err != nil {
			t.Fatal(err)
		}
		if o, ok := l.Find("a"); !ok || o.Right != "101" {
			t.Errorf("a is %+v", o)
		}
		if _, ok := l.Find("c"); !ok {
			if _, ok := l.Find("b"); ok {
				t.Error("b was cut off and is there")
			}
			if err := l.Add(Outcome{Key: "c"}); err != nil {
				t.Fatal(err)
			}
		}
		l.Close()
	}
	if _, ok := l.Find("c"); !ok {
		t.Error("c was added behind a line that was cut off, and is not there")
	}
}

func outcome(recipe, task, right string, rate float64, seed uint64) Outcome {
	return Outcome{Model: "m", Task: task, Recipe: recipe, Seed: seed, Asked: rate, Rate: rate, Right: right, BaseRight: "1111111110", Learn: 2, Seconds: 1, MACs: 5}
}

func TestResults(t *testing.T) {
	c, err := load(t, sound)
	if err != nil {
		t.Fatal(err)
	}
	var all []Outcome
	for _, seed := range c.Seeds {
		for _, task := range []string{"a", "b"} {
			all = append(all, outcome("paper", task, "1111111000", .5, seed), outcome("paper", task, "1111100000", .8, seed),
				outcome("best", task, "1111111110", .5, seed), outcome("best", task, "1111111100", .8, seed))
		}
	}
	all = append(all, outcome("other", "a", "1111111000", .8, 1))
	tab := newTable(c, all)
	p := place{"m", "a"}
	if r := tab.noise(tab.lost(p, "paper", .8)); math.Abs(r.Value-40) > 1e-9 || r.Low < 0 || r.Low > 40 || r.High < 40 || r.High > 80 || r.High-r.Low < 20 {
		t.Errorf("lost %+v, want 40 and noise", r)
	}
	if r := tab.noise(func(*sample) float64 { return 3 }); r.Low != 3 || r.High != 3 {
		t.Errorf("a constant has the noise %+v", r)
	}
	dir := t.TempDir()
	if err := Write(dir, c, all, "nuwa bench recipes grid.yaml"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "RESULTS.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"    nuwa bench recipes grid.yaml\n", "Base: 90.00 on 10 test images", "| `other` | recipe best, refit none | 8 |",
		"`best` loses 10.00", "`paper` 40.00", "a part of 0.25", "| `other` | -10.00", "| m | `best` | 2.0 | 1.00 |",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for _, name := range []string{"results/cells.csv", "results/m-a-macs.svg"} {
		if x, err := os.ReadFile(filepath.Join(dir, name)); err != nil || len(x) == 0 {
			t.Errorf("%s: %d bytes, %v", name, len(x), err)
		}
	}
}

func TestCrossing(t *testing.T) {
	xs := []float64{.3, .5, .7}
	for _, c := range []struct {
		ys   []float64
		want float64
	}{{[]float64{0, 0, 2}, .6}, {[]float64{2, 3, 4}, .15}, {[]float64{0, math.NaN(), 2}, .5}, {[]float64{0, .5, 1}, math.NaN()}} {
		if got := crossing(xs, c.ys, 1); !(math.Abs(got-c.want) < 1e-9 || math.IsNaN(got) && math.IsNaN(c.want)) {
			t.Errorf("%v crosses 1 at %g, want %g", c.ys, got, c.want)
		}
	}
}
