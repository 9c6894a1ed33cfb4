package data

import (
	"bytes"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The goldens come from testdata/make_goldens.py.

func golden(t *testing.T, name string) pixels {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return toRGB(img, nil)
}

// differ returns the greatest and the mean difference in levels.
func differ(t *testing.T, got, want pixels) (most int, mean float64) {
	t.Helper()
	if got.w != want.w || got.h != want.h {
		t.Fatalf("got %dx%d pixels, want %dx%d", got.w, got.h, want.w, want.h)
	}
	sum := 0
	for i, v := range got.pix {
		d := int(v) - int(want.pix[i])
		d = max(d, -d)
		most, sum = max(most, d), sum+d
	}
	return most, float64(sum) / float64(len(got.pix))
}

func TestDecodeLikePillow(t *testing.T) {
	files, err := filepath.Glob("testdata/decode/*")
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	for _, file := range files {
		if strings.HasSuffix(file, ".want.png") {
			continue
		}
		cases++
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := decode(b)
			if err != nil {
				t.Fatal(err)
			}
			most, mean := differ(t, got, golden(t, "decode/"+name+".want.png"))
			// The inverse DCT of Go rounds otherwise than libjpeg's: one level of
			// luma or chroma here and there. Everything else is exact.
			if strings.HasPrefix(name, "jpeg") && most <= 4 && mean <= 0.2 {
				return
			}
			if most > 0 {
				t.Errorf("differs by up to %d levels, %.3f on average", most, mean)
			}
		})
	}
	if cases != 26 {
		t.Errorf("got %d cases, want 26", cases)
	}
}

func TestDecodeRefuses(t *testing.T) {
	good, err := os.ReadFile("testdata/decode/png_rgb.png")
	if err != nil {
		t.Fatal(err)
	}
	huge := bytes.Clone(good)
	copy(huge[16:], []byte{0, 1, 0, 0, 0, 1, 0, 0}) // 65536x65536; DecodeConfig checks the header's checksum
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"empty":     {nil, "the file is empty"},
		"text":      {[]byte("<html>not found"), "not a JPEG, PNG or WebP image"},
		"truncated": {good[:len(good)/2], "damaged PNG"},
		"header":    {good[:12], "damaged PNG"},
		"checksum":  {huge, "damaged PNG"},
		"jpeg":      {[]byte("\xff\xd8\xff\xe0\x00\x10JFIF\x00"), "damaged JPEG"},
		"webp":      {[]byte("RIFF\x10\x00\x00\x00WEBPVP8 "), "damaged WebP"},
		"huge": {[]byte("RIFF\x16\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\xff\x7f\x00\xff\x7f\x00"),
			"WebP of 32768x32768 pixels"},
	} {
		_, err := decode(c.b)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// TestDecodeDamaged flips bytes of every golden: an error or wrong pixels may
// come of it, but pixels of the promised number or none.
func TestDecodeDamaged(t *testing.T) {
	files, err := filepath.Glob("testdata/decode/*")
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for _, file := range files {
		good, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			b := bytes.Clone(good)
			for range 1 + r.IntN(4) {
				b[r.IntN(len(b))] ^= byte(1 + r.IntN(255))
			}
			img, err := decode(b)
			if err != nil {
				refused++
			} else if img.w < 1 || img.h < 1 || len(img.pix) != 3*img.w*img.h {
				t.Fatalf("%s damaged: %d bytes for %dx%d pixels", file, len(img.pix), img.w, img.h)
			}
		}
	}
	if all := 100 * len(files); refused < all/4 || refused == all {
		t.Errorf("%d of %d damaged files were refused", refused, all)
	}
}

func TestResizeLikePillow(t *testing.T) {
	source := golden(t, "resize/source.png")
	for _, by := range interpolations {
		for _, size := range []string{"21x16", "70x45", "48x5", "13x90"} {
			want := golden(t, "resize/"+string(by)+"_"+size+".png")
			if most, mean := differ(t, source.resize(want.w, want.h, by), want); most > 0 {
				t.Errorf("%s to %s: differs by up to %d levels, %.3f on average", by, size, most, mean)
			}
		}
	}
}

func TestResizeEdges(t *testing.T) {
	one := pixels{1, 1, []byte{10, 200, 30}}
	for _, by := range interpolations {
		big := one.resize(3, 2, by)
		if want := bytes.Repeat(one.pix, 6); !bytes.Equal(big.pix, want) {
			t.Errorf("%s: one pixel became %v", by, big.pix)
		}
		if back := big.resize(1, 1, by); !bytes.Equal(back.pix, one.pix) {
			t.Errorf("%s: a flat image became %v", by, back.pix)
		}
	}
}

// rotate turns by 90 degrees counterclockwise.
func rotate(p pixels) pixels {
	out := newPixels(p.h, p.w)
	for y := range p.h {
		for x := range p.w {
			copy(out.pix[3*((p.w-1-x)*out.w+y):], p.pix[3*(y*p.w+x):][:3])
		}
	}
	return out
}

func corner(p pixels, w, h int) pixels {
	out := newPixels(w, h)
	for y := range h {
		copy(out.pix[3*w*y:3*w*(y+1)], p.pix[3*p.w*y:])
	}
	return out
}

func TestFitLikePillow(t *testing.T) {
	source := golden(t, "resize/source.png")
	for _, c := range []struct {
		golden string
		src    pixels
		mode   Resize
		crop   float64
	}{
		{"squash", source, Squash, 1},
		{"shortest", source, Shortest, 0.8},
		{"shortest_tall", rotate(source), Shortest, 0.8},
		{"center", source, Center, 1},
		{"center_small", corner(source, 9, 30), Center, 1},
	} {
		pre := Default(16, 20)
		pre.Resize, pre.CropFraction = c.mode, c.crop
		if err := pre.Validate(); err != nil {
			t.Fatal(err)
		}
		got, err := pre.fit(c.src)
		if err != nil {
			t.Fatal(err)
		}
		if most, _ := differ(t, got, golden(t, "fit/"+c.golden+".png")); most > 0 {
			t.Errorf("%s: differs by up to %d levels", c.golden, most)
		}
	}
}
