package testmodels

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"image"
	_ "image/jpeg"
	"io"
	"slices"
	"strings"
	"testing"
)

// The images lie in SPLIT/CLASS/NNNN.jpg with one folder per label, are RGB of
// 48x48, and none occurs twice.
func TestImages(t *testing.T) {
	z, err := zip.NewReader(bytes.NewReader(Images()), int64(len(Images())))
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	seen := map[[32]byte]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		c, format, err := image.DecodeConfig(bytes.NewReader(data))
		if err != nil || format != "jpeg" || c.Width != 48 || c.Height != 48 {
			t.Errorf("%s: %s of %dx%d, error %v", f.Name, format, c.Width, c.Height, err)
		}
		sum := sha256.Sum256(data)
		if other, ok := seen[sum]; ok {
			t.Errorf("%s is the same image as %s", f.Name, other)
		}
		seen[sum] = f.Name
		count[f.Name[:strings.LastIndexByte(f.Name, '/')]]++
	}
	for _, label := range Labels() {
		for split, n := range map[string]int{"train": 60, "val": 25, "test": 50} {
			dir := split + "/" + label
			if count[dir] != n {
				t.Errorf("%s: %d images, want %d", dir, count[dir], n)
			}
			delete(count, dir)
		}
	}
	for dir := range count {
		t.Errorf("%s: no such label", dir)
	}
}

// Labels are at least twelve and in alphabetical order, as folders are read.
func TestLabels(t *testing.T) {
	l := Labels()
	if len(l) < 12 || !slices.IsSorted(l) {
		t.Errorf("labels %q", l)
	}
}

func TestPreprocessor(t *testing.T) {
	var p struct {
		Mean   []float64      `json:"image_mean"`
		Std    []float64      `json:"image_std"`
		Factor float64        `json:"rescale_factor"`
		Size   map[string]int `json:"size"`
	}
	if err := json.Unmarshal(Preprocessor(), &p); err != nil {
		t.Fatal(err)
	}
	half := []float64{0.5, 0.5, 0.5}
	if !slices.Equal(p.Mean, half) || !slices.Equal(p.Std, half) || p.Factor != 1.0/255 || p.Size["height"] != 48 || p.Size["width"] != 48 {
		t.Errorf("preprocessing %+v", p)
	}
}
