package testmodels

import (
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write manifest.json anew")

const limit = 25 << 20

// Every binary file is in the manifest with its digest, and nothing else is.
func TestManifest(t *testing.T) {
	dir, err := Dir()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Digests(dir)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		data, err := json.MarshalIndent(got, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "manifest.json"), append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := Manifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for name, d := range got {
		total += d.Bytes
		if w, ok := want[name]; !ok {
			t.Errorf("%s: not in manifest.json; run go test ./testmodels -update", name)
		} else if w != d {
			t.Errorf("%s: got %+v, manifest has %+v", name, d, w)
		}
	}
	for name := range want {
		if _, ok := got[name]; !ok {
			t.Errorf("%s: in manifest.json, but there is no such file", name)
		}
	}
	if total > limit {
		t.Errorf("%d bytes in all, at most %d are allowed", total, limit)
	}
}

// Every index lists existing files, all of its folder, with sound values.
func TestCases(t *testing.T) {
	for name, list := range map[string]func() ([]Case, error){"tiny": Tiny, "planted": Planted} {
		cases, err := list()
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, c := range cases {
			if seen[c.File] {
				t.Errorf("%s: listed twice", c.File)
			}
			seen[c.File] = true
			if _, err := os.Stat(c.Path()); err != nil {
				t.Errorf("%s: %v", c.File, err)
			}
			if all := c.Prunable.QK && c.Prunable.VO && c.Prunable.Hidden; all != (c.DeclinedReasonHint == "") {
				t.Errorf("%s: prunable %+v, yet the reason is %q", c.File, c.Prunable, c.DeclinedReasonHint)
			}
			if len(c.Probe) != c.Classes {
				t.Errorf("%s: %d probe logits for %d classes", c.File, len(c.Probe), c.Classes)
			}
			for _, v := range c.Probe {
				if math.IsNaN(v) || math.IsInf(v, 0) {
					t.Errorf("%s: probe logit %v", c.File, v)
				}
			}
		}
		all, err := Digests(cases[0].dir)
		if err != nil {
			t.Fatal(err)
		}
		for file := range all {
			if filepath.Ext(file) == ".onnx" && !seen[file] {
				t.Errorf("%s/%s: not in the index", name, file)
			}
		}
	}
}

// Spellings of equal sizes hold the same weights, so their probes agree.
func TestSpellingsAgree(t *testing.T) {
	cases, err := Tiny()
	if err != nil {
		t.Fatal(err)
	}
	var first *Case
	for i, c := range cases {
		switch c.Spelling {
		case "packed", "chunk", "interleaved", "separate", "torchvision":
		default:
			continue
		}
		if c.Dim != 32 || !c.Prunable.QK {
			continue
		}
		if first == nil {
			first = &cases[i]
		}
		for k := range c.Probe {
			if math.Abs(c.Probe[k]-first.Probe[k]) > 1e-5*(1+math.Abs(first.Probe[k])) {
				t.Errorf("%s: logit %d is %v, %s has %v", c.File, k, c.Probe[k], first.File, first.Probe[k])
			}
		}
	}
	if first == nil {
		t.Fatal("no case compared")
	}
}

// The indexes of the zoo list existing files, all of each folder.
func TestZoo(t *testing.T) {
	models, err := Zoo()
	if err != nil {
		t.Fatal(err)
	}
	seen, dirs := map[string]bool{}, map[string]bool{}
	for _, m := range models {
		if seen[m.Path()] || m.Exporter == "" || m.Architecture == "" {
			t.Errorf("%s: listed twice, or without exporter or architecture: %+v", m.File, m)
		}
		seen[m.Path()], dirs[m.dir] = true, true
		if _, err := os.Stat(m.Path()); err != nil {
			t.Errorf("%s: %v", m.File, err)
		}
	}
	for dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*.onnx"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if !seen[file] {
				t.Errorf("%s: in no index", file)
			}
		}
	}
}
