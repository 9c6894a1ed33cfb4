package data

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"testing"
)

// readWithPillow prints the RGB bytes of the named files of an archive.
const readWithPillow = `
import io, json, sys, zipfile
from PIL import Image
archive, names = json.load(sys.stdin)
z = zipfile.ZipFile(archive)
for n in names:
    sys.stdout.buffer.write(Image.open(io.BytesIO(z.read(n))).convert("RGB").tobytes())
`

// TestPhotosLikePillow measures the whole way from a JPEG in an archive to
// pixels on real photos.
func TestPhotosLikePillow(t *testing.T) {
	file := cifar(t)
	python := "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import PIL").Run(); err != nil {
		t.Skip("needs Python with Pillow (Debian's python3-pil): ", err)
	}
	s := open(t, file+"/cifar10/test").Take(200, 1)
	names := make([]string, s.Len())
	for i, x := range s.Samples {
		names[i] = "cifar10/test/" + x.Path
	}
	stdin, err := json.Marshal([]any{file, names})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-c", readWithPillow)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := pixels{32, 32 * s.Len(), out}
	got := newPixels(32, 32*s.Len())
	for i := range s.Samples {
		img, err := s.image(i, raw(32, 32))
		if err != nil {
			t.Fatal(err)
		}
		copy(got.pix[i*3*32*32:], img.pix)
	}
	most, mean := differ(t, got, want)
	t.Logf("%d photos differ by up to %d levels, %.4f on average", s.Len(), most, mean)
	if most > 4 || mean > 0.05 {
		t.Errorf("got differences up to %d and of %.4f on average, want at most 4 and 0.05", most, mean)
	}
}

func TestOpenPhotos(t *testing.T) {
	s := open(t, cifar(t)+"/cifar10/test")
	if len(s.Classes) != 10 || s.Len() != 2000 || s.Ignored != 0 {
		t.Errorf("got %d classes, %d images and %d others, want 10, 2000 and 0", len(s.Classes), s.Len(), s.Ignored)
	}
	if _, err := Open(cifar(t)); err == nil {
		t.Error("the archive as a whole holds splits, not classes, and was accepted")
	}
}
