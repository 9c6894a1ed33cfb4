package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"nuwa"
	"nuwa/testmodels"
)

// TestMain lets the scripts and the tests below start this binary as nuwa.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"nuwa": main})
}

// tenClasses are the folders that fit the tiny models, in the order of their
// logits.
var tenClasses = []string{"ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay"}

// environment is what a run of nuwa needs to know of this machine: where ONNX
// Runtime is. Nothing else of the environment may reach it.
func environment(t *testing.T) []string {
	h, err := nuwa.Doctor(nuwa.Runtime{})
	if err != nil {
		t.Fatal(err)
	}
	return []string{"ONNXRUNTIME_SHARED_LIBRARY_PATH=" + h.Library, "NUWA_THREADS=1"}
}

// TestScripts runs testdata/script/*.txtar. Besides testscript's own commands:
//
//	exits N nuwa ARG...      run nuwa and hold it to its exit code
//	tiny NAME [TO]           copy a model of testmodels/tiny
//	edit HOW FROM TO         copy a model with something wrong in it: see edits
//	images DIR N CLASS|ten...   make N images of 16x16 pixels for each class; DIR-WxH, DIR-gray or .jpg say otherwise
//	pack DIR ZIP                put the folders of DIR into an archive
//	holds DIR FILE...        hold a folder to the files in it, all of them
//	json FILE KEY[=VALUE]... hold a file, or stdout, to be one JSON document with these values in it
func TestScripts(t *testing.T) {
	env := environment(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, env...)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits, "tiny": tiny, "edit": edit, "images": images, "pack": pack, "holds": holds, "json": holdsJSON,
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
	})
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func tiny(ts *testscript.TestScript, _ bool, args []string) {
	dir, err := testmodels.Dir()
	ts.Check(err)
	b, err := os.ReadFile(filepath.Join(dir, "tiny", args[0]+".onnx"))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[len(args)-1]), b, 0o644))
}

// images draws seeded noise over a color of the class's own.
func images(ts *testscript.TestScript, _ bool, args []string) {
	dir, ending, gray, w, h := args[0], ".png", false, 16, 16
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	var classes []string
	for _, a := range args[2:] {
		switch {
		case a == "ten":
			classes = append(classes, tenClasses...)
		case a == "-jpeg":
			ending = ".jpg"
		case a == "-gray":
			gray = true
		case strings.HasPrefix(a, "-"):
			_, err := fmt.Sscanf(a, "-%dx%d", &w, &h)
			ts.Check(err)
		default:
			classes = append(classes, a)
		}
	}
	ts.Check(os.MkdirAll(ts.MkAbs(dir), 0o755))
	for c, class := range classes {
		folder := filepath.Join(ts.MkAbs(dir), class)
		ts.Check(os.MkdirAll(folder, 0o755))
		for i := range n {
			var b bytes.Buffer
			img := picture(w, h, c, uint64(i), gray)
			if ending == ".jpg" {
				ts.Check(jpeg.Encode(&b, img, nil))
			} else {
				ts.Check(png.Encode(&b, img))
			}
			ts.Check(os.WriteFile(filepath.Join(folder, fmt.Sprintf("%02d%s", i, ending)), b.Bytes(), 0o644))
		}
	}
}

func picture(w, h, class int, seed uint64, gray bool) image.Image {
	r := rand.New(rand.NewPCG(uint64(class), seed))
	rgb, one := image.NewRGBA(image.Rect(0, 0, w, h)), image.NewGray(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := color.RGBA{uint8(class*25) + uint8(r.IntN(30)), uint8(r.IntN(256)), uint8(255 - class*25), 255}
			rgb.Set(x, y, c)
			one.Set(x, y, c)
		}
	}
	if gray {
		return one
	}
	return rgb
}

func pack(ts *testscript.TestScript, _ bool, args []string) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	ts.Check(z.AddFS(os.DirFS(ts.MkAbs(args[0]))))
	ts.Check(z.Close())
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b.Bytes(), 0o644))
}

func holds(ts *testscript.TestScript, _ bool, args []string) {
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if want := slices.Sorted(slices.Values(args[1:])); !slices.Equal(got, want) {
		ts.Fatalf("%s holds %q, want %q", args[0], got, want)
	}
}

func holdsJSON(ts *testscript.TestScript, _ bool, args []string) {
	d := json.NewDecoder(strings.NewReader(ts.ReadFile(args[0])))
	var doc any
	ts.Check(d.Decode(&doc))
	if _, err := d.Token(); err != io.EOF {
		ts.Fatalf("%s goes on after the JSON document", args[0])
	}
	for _, a := range args[1:] {
		key, want, compare := strings.Cut(a, "=")
		at := doc
		for _, k := range strings.Split(key, ".") {
			switch x := at.(type) {
			case map[string]any:
				at = x[k]
			case []any:
				i, err := strconv.Atoi(k)
				ts.Check(err)
				if i >= len(x) {
					ts.Fatalf("%s: %d values at %q of %q", args[0], len(x), k, key)
				}
				at = x[i]
			default:
				ts.Fatalf("%s has nothing at %q of %q", args[0], k, key)
			}
		}
		if got := fmt.Sprint(at); at == nil || compare && got != want {
			ts.Fatalf("%s: %s is %s, want %s", args[0], key, got, want)
		}
	}
}
