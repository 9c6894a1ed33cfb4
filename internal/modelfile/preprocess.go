package modelfile

import (
	"encoding/json"
	"fmt"
	"strings"

	"nuwa/internal/data"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
)

// Where preprocessing comes from.
const (
	FromMetadata = "the model's metadata"
	FromDefaults = "defaults" // nothing tells
)

// Preprocess overrides how images become inputs; fields left zero come from
// the model's metadata, a preprocessor_config.json beside it, or defaults.
type Preprocess struct {
	Size          int       // height and width, for models that leave them open
	Mean, Std     []float32 // per channel, of values in 0..1
	Resize        string    // "squash", "shortest", "center" or "none"
	CropFraction  float64
	Interpolation string // "nearest", "box", "bilinear", "hamming", "bicubic" or "lanczos"
	Order         string // "RGB" or "BGR"
}

// apply lays the overrides over p.
func (o Preprocess) apply(p data.Preprocess) data.Preprocess {
	if len(o.Mean) > 0 {
		p.Mean = o.Mean
	}
	if len(o.Std) > 0 {
		p.Std = o.Std
	}
	if o.Resize != "" {
		p.Resize = data.Resize(o.Resize)
		if p.Resize == data.Keep || p.Resize == data.Center {
			p.CropFraction = 1
		}
	}
	if o.CropFraction != 0 {
		p.CropFraction = o.CropFraction
	}
	if o.Interpolation != "" {
		p.Interpolation = data.Interpolation(o.Interpolation)
	}
	if o.Order != "" {
		p.Order = data.Order(strings.ToUpper(o.Order))
	}
	return p
}

// findPreprocess takes the model's own metadata, else a file beside it, else
// the defaults, and lays the overrides over them.
func (f *File) findPreprocess(o Preprocess) error {
	if s, ok := f.Model.Meta(MetaPreprocess); ok {
		if err := json.Unmarshal([]byte(s), &f.Pre); err != nil {
			return &fault.Error{Kind: fault.Model, File: f.Path, Where: "metadata " + MetaPreprocess, Err: err}
		}
		f.PreFrom = FromMetadata
	} else {
		pre, file, err := data.FindPreprocess(f.Path)
		if err != nil {
			return err
		}
		f.Pre, f.PreFrom = pre, file
		if file == "" {
			f.Pre, f.PreFrom = data.Default(0, 0), FromDefaults
			f.Pre.Mean, f.Pre.Std = []float32{0.5, 0.5, 0.5}, []float32{0.5, 0.5, 0.5}
		}
	}
	f.Pre = o.apply(f.Pre)
	if f.PreFrom == FromDefaults && (len(o.Mean) > 0 || len(o.Std) > 0) {
		f.PreFrom = "the options"
	}
	if o.Size > 0 {
		f.Pre.Height, f.Pre.Width = o.Size, o.Size
	}
	return nil
}

// fitInput makes the preprocessing give what the model's image input takes.
func (f *File) fitInput(o Preprocess) error {
	feeds := engine.Feeds(f.Model)
	if len(feeds) != 1 {
		return &fault.Error{Kind: fault.Unsupported, Got: fmt.Sprintf("%d inputs", len(feeds)), Want: "one input that takes images",
			Remedy: "export the model with the image as its only input"}
	}
	in := feeds[0]
	dims, ok := in.Type.Dims()
	if !ok || len(dims) != 4 || !in.Type.Elem.IsFloat() {
		return &fault.Error{Kind: fault.Unsupported, Where: fmt.Sprintf("input %q", in.Name()), Got: in.Type.String(),
			Want: "floating-point images [batch, 3, height, width] or [batch, height, width, 3]"}
	}
	h, w := dims[2], dims[3]
	f.Pre.Layout = data.NCHW
	if dims[1] != 3 && dims[3] == 3 {
		f.Pre.Layout, h, w = data.NHWC, dims[1], dims[2]
	} else if dims[1] != 3 && dims[1] != -1 {
		return &fault.Error{Kind: fault.Unsupported, Where: fmt.Sprintf("input %q", in.Name()), Got: fmt.Sprintf("%d channels", dims[1]), Want: "3"}
	}
	if o.Size < 0 {
		return &fault.Error{Kind: fault.Usage, Where: "size", Got: fmt.Sprint(o.Size), Want: "at least 1 pixel"}
	}
	if h > 0 && w > 0 {
		if o.Size > 0 && (int64(o.Size) != h || int64(o.Size) != w) {
			return &fault.Error{Kind: fault.Usage, Where: "size", Got: fmt.Sprint(o.Size), Want: fmt.Sprintf("%dx%d, which the model fixes", h, w)}
		}
		f.Pre.Height, f.Pre.Width = int(h), int(w)
	}
	f.Pre.Type = in.Type.Elem
	return nil
}
