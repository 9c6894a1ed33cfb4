package data

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"nuwa/graph"
	"nuwa/internal/fault"
)

// Resize says how an image comes to the size that the model wants.
type Resize string

// The ways to resize. Sizes before a crop are ⌊wanted size / CropFraction⌋.
const (
	Squash   Resize = "squash"   // both sides to the size before the crop, whatever the aspect ratio
	Shortest Resize = "shortest" // the shorter side to the smaller size before the crop, aspect ratio kept
	Center   Resize = "center"   // no scaling: the middle is cut out, black is put around a smaller image
	Keep     Resize = "none"     // the image must have the wanted size already
)

// Interpolation is a resampling filter of Pillow, always antialiased as there.
type Interpolation string

// The filters.
const (
	Nearest  Interpolation = "nearest"
	Box      Interpolation = "box"
	Bilinear Interpolation = "bilinear"
	Hamming  Interpolation = "hamming"
	Bicubic  Interpolation = "bicubic"
	Lanczos  Interpolation = "lanczos"
)

// Order is the order of the color channels in the tensor.
type Order string

// The channel orders.
const (
	RGB Order = "RGB"
	BGR Order = "BGR"
)

// Layout is the order of the tensor's axes.
type Layout string

// The layouts.
const (
	NCHW Layout = "NCHW"
	NHWC Layout = "NHWC"
)

var (
	resizes        = []Resize{Squash, Shortest, Center, Keep}
	interpolations = []Interpolation{Nearest, Box, Bilinear, Hamming, Bicubic, Lanczos}
	orders         = []Order{RGB, BGR}
	layouts        = []Layout{NCHW, NHWC}
)

// Preprocess says how an image becomes a model input: it is resized to
// Height×Width pixels, and channel c of every pixel v in 0..255 becomes
//
//	(v·Rescale − Mean[c]) / Std[c]
//
// in float32. A nil Mean is all zeros, a nil Std all ones; both are in the
// channel order of the tensor.
type Preprocess struct {
	Height        int           `json:"height"`
	Width         int           `json:"width"`
	Resize        Resize        `json:"resize"`
	CropFraction  float64       `json:"crop_fraction"` // part of each side that the center crop keeps; 1 for no crop
	Interpolation Interpolation `json:"interpolation"`
	Rescale       float64       `json:"rescale"`
	Mean          []float32     `json:"mean,omitempty"`
	Std           []float32     `json:"std,omitempty"`
	Order         Order         `json:"order"`
	Layout        Layout        `json:"layout"`
	Type          graph.DType   `json:"-"` // element type of the model input; Undefined means Float32
}

// Default returns the preprocessing that most small ViTs use: squash to
// height×width with bicubic interpolation, values in 0..1, RGB, NCHW, f32.
func Default(height, width int) Preprocess {
	return Preprocess{
		Height: height, Width: width, Resize: Squash, CropFraction: 1, Interpolation: Bicubic,
		Rescale: 1.0 / 255, Order: RGB, Layout: NCHW, Type: graph.Float32,
	}
}

// Validate reports the first setting that makes no sense.
func (p Preprocess) Validate() error {
	bad := func(where, got, want string) error {
		return &fault.Error{Kind: fault.Usage, Where: "preprocessing: " + where, Got: got, Want: want}
	}
	if p.Height < 1 || p.Width < 1 || p.Height > maxPixels/p.Width {
		return bad("size", fmt.Sprintf("%dx%d", p.Height, p.Width), "height and width of at least 1 pixel")
	}
	if !slices.Contains(resizes, p.Resize) {
		return bad("resize", quote(p.Resize), oneOf(resizes))
	}
	if !slices.Contains(interpolations, p.Interpolation) {
		return bad("interpolation", quote(p.Interpolation), oneOf(interpolations))
	}
	if !slices.Contains(orders, p.Order) {
		return bad("channel order", quote(p.Order), oneOf(orders))
	}
	if !slices.Contains(layouts, p.Layout) {
		return bad("layout", quote(p.Layout), oneOf(layouts))
	}
	scaled := p.Resize == Squash || p.Resize == Shortest
	switch {
	case scaled && !(p.CropFraction >= 0.1 && p.CropFraction <= 2):
		return bad("crop fraction", fmt.Sprint(p.CropFraction), "a number from 0.1 to 2, 1 for no crop")
	case !scaled && p.CropFraction != 1:
		return bad("crop fraction", fmt.Sprint(p.CropFraction), fmt.Sprintf("1, as resize is %q", p.Resize))
	}
	if p.Rescale == 0 || !finite(p.Rescale) {
		return bad("rescale", fmt.Sprint(p.Rescale), "a factor other than 0, such as 1/255")
	}
	if len(p.Mean) != 0 && len(p.Mean) != 3 || slices.ContainsFunc(p.Mean, notFinite) {
		return bad("mean", fmt.Sprint(p.Mean), "3 finite numbers, one per channel")
	}
	if len(p.Std) != 0 && len(p.Std) != 3 || slices.ContainsFunc(p.Std, notFinite) || slices.Contains(p.Std, 0) {
		return bad("std", fmt.Sprint(p.Std), "3 finite numbers other than 0, one per channel")
	}
	_, err := p.table()
	return err
}

// Dims returns the dimensions of a batch of n images.
func (p Preprocess) Dims(n int) []int64 {
	if p.Layout == NHWC {
		return []int64{int64(n), int64(p.Height), int64(p.Width), 3}
	}
	return []int64{int64(n), 3, int64(p.Height), int64(p.Width)}
}

// String returns one line, such as
// "224x224 shortest crop 0.875 bicubic, RGB NCHW f32, x/255, mean 0.5 0.5 0.5, std 0.5 0.5 0.5".
func (p Preprocess) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%dx%d %s", p.Height, p.Width, p.Resize)
	if p.CropFraction != 1 {
		fmt.Fprintf(&b, " crop %.4g", p.CropFraction)
	}
	fmt.Fprintf(&b, " %s, %s %s %s", p.Interpolation, p.Order, p.Layout, p.dtype())
	switch {
	case math.Abs(p.Rescale*255-1) < 1e-9:
		b.WriteString(", x/255")
	case p.Rescale != 1:
		fmt.Fprintf(&b, ", x*%g", p.Rescale)
	}
	for _, s := range []struct {
		name string
		x    []float32
	}{{"mean", p.Mean}, {"std", p.Std}} {
		if len(s.x) > 0 {
			fmt.Fprintf(&b, ", %s %s", s.name, strings.Trim(fmt.Sprint(s.x), "[]"))
		}
	}
	return b.String()
}

func (p Preprocess) dtype() graph.DType {
	if p.Type == graph.Undefined {
		return graph.Float32
	}
	return p.Type
}

// fit brings an image to Height×Width.
func (p Preprocess) fit(img pixels) (pixels, error) {
	before := func(n int) int { return int(float64(n)/p.CropFraction + 1e-6) }
	switch p.Resize {
	case Squash:
		img = img.resize(before(p.Width), before(p.Height), p.Interpolation)
	case Shortest:
		short := before(min(p.Width, p.Height))
		w, h := short, short
		if img.w <= img.h {
			h = int(float64(short*img.h) / float64(img.w))
		} else {
			w = int(float64(short*img.w) / float64(img.h))
		}
		if w > maxPixels/h {
			return pixels{}, fmt.Errorf("%dx%d pixels would become %dx%d: the image is too narrow to keep its aspect ratio",
				img.w, img.h, w, h)
		}
		img = img.resize(w, h, p.Interpolation)
	case Keep:
		if img.w != p.Width || img.h != p.Height {
			return pixels{}, &fault.Error{Kind: fault.Data,
				Got:    fmt.Sprintf("%dx%d pixels", img.w, img.h),
				Want:   fmt.Sprintf("%dx%d", p.Width, p.Height),
				Remedy: "resize the images, or set a resize mode other than none"}
		}
	}
	return img.crop(p.Width, p.Height), nil
}

// table returns for each channel of the tensor the encoded elements of the
// values 0..255, one after the other.
func (p Preprocess) table() ([3][]byte, error) {
	var out [3][]byte
	for c := range out {
		elems := make([]float64, 256)
		for v := range elems {
			x := float32(float64(v) * p.Rescale)
			if len(p.Mean) == 3 {
				x -= p.Mean[c]
			}
			if len(p.Std) == 3 {
				x /= p.Std[c]
			}
			elems[v] = float64(x)
		}
		t, err := encode(p.dtype(), elems)
		if err != nil {
			return out, &fault.Error{Kind: fault.Usage, Where: "preprocessing: element type", Err: err}
		}
		out[c] = t
	}
	return out, nil
}

// encode stores elements as a floating type, or as u8 when they are the
// integers 0..255.
func encode(typ graph.DType, elems []float64) ([]byte, error) {
	if typ != graph.Uint8 {
		t, err := graph.FromFloats(typ, []int64{int64(len(elems))}, elems)
		if err != nil {
			return nil, err
		}
		return t.Data, nil
	}
	out := make([]byte, len(elems))
	for i, x := range elems {
		if x != math.Trunc(x) || x < 0 || x > 255 {
			return nil, fmt.Errorf("got the value %g, want integers from 0 to 255 for u8: "+
				"set rescale to 1 and leave mean and std out", x)
		}
		out[i] = byte(x)
	}
	return out, nil
}

// fill writes an image of the right size into dst, which holds
// 3·Height·Width elements.
func (p Preprocess) fill(dst []byte, pix []byte, table *[3][]byte) {
	size := len(table[0]) / 256
	plane, step := size*p.Height*p.Width, size
	if p.Layout == NHWC {
		plane, step = size, 3*size
	}
	for c, t := range table {
		from, to := c, c*plane
		if p.Order == BGR {
			from = 2 - c
		}
		for ; from < len(pix); from += 3 {
			copy(dst[to:to+size], t[int(pix[from])*size:])
			to += step
		}
	}
}

func finite(x float64) bool       { return !math.IsNaN(x) && !math.IsInf(x, 0) }
func notFinite(x float32) bool    { return !finite(float64(x)) }
func quote[S ~string](s S) string { return fmt.Sprintf("%q", string(s)) }

func oneOf[S ~string](all []S) string {
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = string(s)
	}
	return "one of " + strings.Join(names, ", ")
}
