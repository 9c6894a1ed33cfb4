package data

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"

	"golang.org/x/image/webp"
)

// maxPixels bounds the memory that one image may ask for: a file of a few
// bytes can claim any size.
const maxPixels = 1 << 27

// pixels is an 8-bit RGB image: rows from the top, three bytes per pixel.
type pixels struct {
	w, h int
	pix  []byte
}

func newPixels(w, h int) pixels { return pixels{w: w, h: h, pix: make([]byte, 3*w*h)} }

// A codec decodes one file format. The planes function converts images whose
// color is stored as separate luma and chroma planes, as the format's
// reference decoder does.
type codec struct {
	name   string
	magic  func(b []byte) bool
	config func(b []byte) (image.Config, error)
	decode func(b []byte) (image.Image, error)
	planes func(*image.YCbCr) pixels
}

var codecs = []codec{
	{
		name:   "JPEG",
		magic:  func(b []byte) bool { return bytes.HasPrefix(b, []byte{0xff, 0xd8, 0xff}) },
		config: func(b []byte) (image.Config, error) { return jpeg.DecodeConfig(bytes.NewReader(b)) },
		decode: func(b []byte) (image.Image, error) { return jpeg.Decode(bytes.NewReader(b)) },
		planes: jpegRGB,
	},
	{
		name:   "PNG",
		magic:  func(b []byte) bool { return bytes.HasPrefix(b, []byte("\x89PNG\r\n\x1a\n")) },
		config: func(b []byte) (image.Config, error) { return png.DecodeConfig(bytes.NewReader(b)) },
		decode: func(b []byte) (image.Image, error) { return png.Decode(bytes.NewReader(b)) },
	},
	{
		name: "WebP",
		magic: func(b []byte) bool {
			return len(b) >= 12 && string(b[:4]) == "RIFF" && string(b[8:12]) == "WEBP"
		},
		config: func(b []byte) (image.Config, error) { return webp.DecodeConfig(bytes.NewReader(b)) },
		decode: func(b []byte) (image.Image, error) { return webp.Decode(bytes.NewReader(b)) },
		planes: webpRGB,
	},
}

// decode reads a JPEG, PNG or WebP file; the content decides which.
func decode(b []byte) (pixels, error) {
	if len(b) == 0 {
		return pixels{}, errors.New("the file is empty")
	}
	for _, c := range codecs {
		if !c.magic(b) {
			continue
		}
		cfg, err := c.config(b)
		if err != nil {
			return pixels{}, fmt.Errorf("damaged %s: %w", c.name, err)
		}
		if cfg.Width <= 0 || cfg.Height <= 0 || cfg.Width > maxPixels/cfg.Height {
			return pixels{}, fmt.Errorf("%s of %dx%d pixels, want at least 1 and at most %d in all",
				c.name, cfg.Width, cfg.Height, maxPixels)
		}
		img, err := c.decode(b)
		if err != nil {
			return pixels{}, fmt.Errorf("damaged %s: %w", c.name, err)
		}
		return toRGB(img, c.planes), nil
	}
	return pixels{}, fmt.Errorf("not a JPEG, PNG or WebP image: it starts with %q", b[:min(8, len(b))])
}

// toRGB drops alpha without compositing and keeps the high byte of 16-bit
// samples.
func toRGB(img image.Image, planes func(*image.YCbCr) pixels) pixels {
	r := img.Bounds()
	switch m := img.(type) {
	case *image.YCbCr:
		return planes(m)
	case *image.NYCbCrA:
		return planes(&m.YCbCr)
	case *image.Gray:
		return gather(r, m.Pix, m.Stride, 1, 0, 0, 0)
	case *image.Gray16:
		return gather(r, m.Pix, m.Stride, 2, 0, 0, 0)
	case *image.RGBA: // only of opaque images, so not premultiplied
		return gather(r, m.Pix, m.Stride, 4, 0, 1, 2)
	case *image.NRGBA:
		return gather(r, m.Pix, m.Stride, 4, 0, 1, 2)
	case *image.RGBA64:
		return gather(r, m.Pix, m.Stride, 8, 0, 2, 4)
	case *image.NRGBA64:
		return gather(r, m.Pix, m.Stride, 8, 0, 2, 4)
	case *image.CMYK:
		return cmykRGB(m)
	}
	out := newPixels(r.Dx(), r.Dy())
	i := 0
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			c := color.NRGBAModel.Convert(img.At(x, y)).(color.NRGBA)
			out.pix[i], out.pix[i+1], out.pix[i+2] = c.R, c.G, c.B
			i += 3
		}
	}
	return out
}

// gather picks three bytes out of every step bytes. The decoders give images
// whose first pixel is at the start of pix.
func gather(rect image.Rectangle, pix []byte, stride, step, r, g, b int) pixels {
	out := newPixels(rect.Dx(), rect.Dy())
	i := 0
	for y := range out.h {
		row := pix[y*stride:]
		for x := range out.w {
			p := row[x*step:]
			out.pix[i], out.pix[i+1], out.pix[i+2] = p[r], p[g], p[b]
			i += 3
		}
	}
	return out
}

// cmykRGB multiplies each ink's remainder with black's, rounding as Pillow
// does: with k' = 255−k, R = k' − c·k'/255.
func cmykRGB(m *image.CMYK) pixels {
	out := newPixels(m.Rect.Dx(), m.Rect.Dy())
	i := 0
	for y := range out.h {
		row := m.Pix[y*m.Stride:]
		for x := range out.w {
			p := row[4*x:]
			left := 255 - int(p[3])
			for c := range 3 {
				t := int(p[c])*left + 128
				out.pix[i+c] = byte(left - (t+t>>8)>>8)
			}
			i += 3
		}
	}
	return out
}
