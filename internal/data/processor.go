package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"nuwa/internal/fault"
)

// A processor is what an image processor class of Hugging Face transformers
// does where its configuration is silent.
type processor struct {
	short    bool // a size given as one number is that of the shorter side, not of both
	crop     bool // the center is cut out
	resample int  // number of Pillow's filter
	convNext bool // size is that after a crop of crop_pct, done below 384 pixels only
	flip     bool // channels are reversed and not normalized
}

// processors lists the known classes without their suffix: ImageProcessor,
// ImageProcessorFast, FeatureExtractor.
var processors = map[string]processor{
	"ViT":         {resample: 2},
	"DeiT":        {resample: 3, crop: true},
	"Beit":        {resample: 3, crop: true},
	"Siglip":      {resample: 3},
	"CLIP":        {resample: 3, short: true, crop: true},
	"ChineseCLIP": {resample: 3, short: true, crop: true},
	"Bit":         {resample: 3, short: true, crop: true},
	"ViTHybrid":   {resample: 3, short: true, crop: true},
	"ConvNext":    {resample: 2, short: true, convNext: true},
	"MobileViT":   {resample: 2, short: true, crop: true, flip: true},
}

// filters are Pillow's filters by number.
var filters = []Interpolation{Nearest, Lanczos, Bilinear, Bicubic, Box, Hamming}

// LoadPreprocess reads a preprocessor_config.json of Hugging Face, or the
// pretrained_cfg of a timm config.json. Height and Width are those that the
// file asks for. A setting that cannot be followed is an error that names it.
func LoadPreprocess(path string) (Preprocess, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Preprocess{}, &fault.Error{Kind: fault.Data, File: path, Err: err}
	}
	c := config{}
	if err := json.Unmarshal(b, &c.m); err != nil {
		return Preprocess{}, &fault.Error{Kind: fault.Data, File: path, Want: "a JSON object", Err: err}
	}
	pre, err := c.preprocess()
	if err == nil {
		err = pre.Validate()
	}
	if err != nil {
		return Preprocess{}, &fault.Error{Kind: fault.Data, File: path, Err: err,
			Remedy: "correct the file, or take it away and give size, mean and std by hand"}
	}
	return pre, nil
}

// FindPreprocess looks for preprocessor_config.json beside a model, in the
// folder above when the model lies in one named "onnx", and then for a timm
// config.json in the same places. It returns the file it read; "" when there
// is none.
func FindPreprocess(model string) (Preprocess, string, error) {
	dirs := []string{filepath.Dir(model)}
	if abs, err := filepath.Abs(model); err == nil && filepath.Base(filepath.Dir(abs)) == "onnx" {
		dirs = append(dirs, filepath.Join(filepath.Dir(model), ".."))
	}
	for _, name := range []string{"preprocessor_config.json", "config.json"} {
		for _, dir := range dirs {
			path := filepath.Join(dir, name)
			b, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			var c config
			if name == "config.json" && (err != nil || json.Unmarshal(b, &c.m) != nil || c.m["pretrained_cfg"] == nil) {
				continue // the model's own configuration, which says nothing of images
			}
			pre, err := LoadPreprocess(path)
			return pre, path, err
		}
	}
	return Preprocess{}, "", nil
}

// config reads settings out of a JSON object. The first setting of the wrong
// kind is kept in err; what is read after it means nothing.
type config struct {
	m   map[string]any
	err error
}

func (c *config) fail(key, want string) {
	if c.err == nil {
		b, _ := json.Marshal(c.m[key])
		if c.m[key] == nil {
			b = []byte("nothing")
		}
		c.err = fmt.Errorf("key %q: got %s, want %s", key, b, want)
	}
}

func (c *config) flag(key string, missing bool) bool {
	if c.m[key] == nil {
		return missing
	}
	v, ok := c.m[key].(bool)
	if !ok {
		c.fail(key, "true or false")
	}
	return v
}

func (c *config) number(key string, missing float64) float64 {
	if c.m[key] == nil {
		return missing
	}
	v, ok := c.m[key].(float64)
	if !ok {
		c.fail(key, "a number")
	}
	return v
}

func (c *config) text(key, missing string) string {
	if c.m[key] == nil {
		return missing
	}
	v, ok := c.m[key].(string)
	if !ok {
		c.fail(key, "a string")
	}
	return v
}

// channels reads three numbers.
func (c *config) channels(key string) []float32 {
	list, _ := c.m[key].([]any)
	var out []float32
	for _, x := range list {
		if f, ok := x.(float64); ok {
			out = append(out, float32(f))
		}
	}
	if len(out) != 3 || len(list) != 3 {
		c.fail(key, "3 numbers, one per color channel")
	}
	return out
}

// size reads 224, {"height": h, "width": w} or {"shortest_edge": s}. In the
// last case, and for one number when short is set, w is 0.
func (c *config) size(key string, short bool) (h, w int) {
	sides := map[string]int{}
	list, _ := c.m[key].(map[string]any)
	if side, ok := c.m[key].(float64); ok {
		list = map[string]any{"height": side, "width": side}
		if short {
			list = map[string]any{"shortest_edge": side}
		}
	}
	for name, x := range list {
		if x == nil {
			continue
		}
		f, ok := x.(float64)
		if !ok || f != math.Trunc(f) || f < 1 || f > 1<<16 {
			c.fail(key, "whole numbers of pixels")
			return 1, 1
		}
		sides[name] = int(f)
	}
	switch h, w, s := sides["height"], sides["width"], sides["shortest_edge"]; {
	case len(sides) == 1 && s > 0:
		return s, 0
	case len(sides) == 2 && h > 0 && w > 0:
		return h, w
	}
	c.fail(key, `a number, {"height": h, "width": w} or {"shortest_edge": s}`)
	return 1, 1
}

func (c *config) preprocess() (Preprocess, error) {
	for _, key := range []string{"pretrained_cfg", "data_config"} {
		if inner, ok := c.m[key].(map[string]any); ok {
			return (&config{m: inner}).timm()
		}
	}
	key := "image_processor_type"
	if c.m[key] == nil {
		key = "feature_extractor_type"
	}
	name := c.text(key, "")
	for _, suffix := range []string{"Fast", "ImageProcessor", "FeatureExtractor"} {
		name = strings.TrimSuffix(name, suffix)
	}
	class, known := processors[name]
	if !known {
		names := make([]string, 0, len(processors))
		for n := range processors {
			names = append(names, n+"ImageProcessor")
		}
		slices.Sort(names)
		c.fail(key, "one of "+strings.Join(names, ", "))
		return Preprocess{}, c.err
	}
	return c.transformers(class)
}

// transformers follows the order of an image processor: resize, center crop,
// rescale, normalize, flip channels.
func (c *config) transformers(class processor) (Preprocess, error) {
	pre := Default(1, 1)
	c.refuseUnknownSteps()
	n := c.number("resample", float64(class.resample))
	if n != math.Trunc(n) || n < 0 || int(n) >= len(filters) {
		c.fail("resample", "a filter number of Pillow, 0 to 5")
		n = 0
	}
	pre.Interpolation = filters[int(n)]
	c.geometry(class, &pre)

	pre.Rescale = 1
	if c.flag("do_rescale", true) {
		pre.Rescale = c.number("rescale_factor", 1.0/255)
	}
	if c.flag("do_normalize", !class.flip) {
		pre.Mean, pre.Std = c.channels("image_mean"), c.channels("image_std")
	}
	if c.flag("do_flip_channel_order", class.flip) {
		pre.Order = BGR
	}
	return pre, c.err
}

// refuseUnknownSteps finds steps that are switched on and would go undone.
func (c *config) refuseUnknownSteps() {
	known := []string{"do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb",
		"do_flip_channel_order", "do_reduce_labels"}
	var unknown []string
	for key, v := range c.m {
		if strings.HasPrefix(key, "do_") && v == true && !slices.Contains(known, key) {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) > 0 {
		c.fail(slices.Min(unknown), "false: this step is not supported")
	}
}

// geometry sets size, resize mode and crop.
func (c *config) geometry(class processor, pre *Preprocess) {
	resize, crop := c.flag("do_resize", true), c.flag("do_center_crop", class.crop)
	if class.convNext {
		c.convNext(resize, pre)
		return
	}
	switch {
	case !resize && !crop:
		pre.Resize = Keep
		pre.Height, pre.Width = c.fullSize("size", false)
	case !resize:
		pre.Resize = Center
		pre.Height, pre.Width = c.fullSize("crop_size", false)
	case !crop:
		pre.Height, pre.Width = c.fullSize("size", class.short)
	default:
		h, w := c.size("size", class.short)
		pre.Height, pre.Width = c.fullSize("crop_size", false)
		if w == 0 {
			pre.Resize = Shortest
			pre.CropFraction = float64(min(pre.Height, pre.Width)) / float64(h)
		} else {
			pre.CropFraction = float64(pre.Height) / float64(h)
			if pre.Height*w != pre.Width*h {
				c.fail("crop_size", fmt.Sprintf("the same part of the height %d as of the width %d", h, w))
			}
		}
	}
}

// fullSize reads a size that must name both sides.
func (c *config) fullSize(key string, short bool) (h, w int) {
	if h, w = c.size(key, short); w == 0 {
		c.fail(key, "height and width: a shortest edge that is not cropped gives images of differing sizes")
	}
	return h, w
}

// convNext reads the size after the crop: below 384 pixels the shorter side
// is scaled to size/crop_pct and the center cut out, from there on the image
// is squashed.
func (c *config) convNext(resize bool, pre *Preprocess) {
	side, w := c.size("size", true)
	if w != 0 && w != side || !resize {
		c.fail("size", `{"shortest_edge": s} with do_resize`)
	}
	pre.Height, pre.Width = side, side
	if side < 384 {
		pre.Resize = Shortest
		pre.CropFraction = c.number("crop_pct", 224.0/256)
	}
}

// timm reads a data configuration of timm.
func (c *config) timm() (Preprocess, error) {
	pre := Default(1, 1)
	dims, _ := c.m["input_size"].([]any)
	if len(dims) != 3 || dims[0] != 3.0 {
		c.fail("input_size", "[3, height, width]")
		return pre, c.err
	}
	size := config{m: map[string]any{"input_size": map[string]any{"height": dims[1], "width": dims[2]}}}
	pre.Height, pre.Width = size.size("input_size", false)
	if size.err != nil {
		c.fail("input_size", "[3, height, width]")
	}
	pre.CropFraction = c.number("crop_pct", 0.875)
	switch c.text("crop_mode", "center") {
	case "center":
		pre.Resize = Shortest
		if pre.Height != pre.Width {
			c.fail("input_size", "a square for crop_mode center")
		}
	case "squash":
		pre.Resize = Squash
	default:
		c.fail("crop_mode", `"center" or "squash"`)
	}
	pre.Interpolation = Interpolation(c.text("interpolation", string(Bicubic)))
	if !slices.Contains(interpolations, pre.Interpolation) {
		c.fail("interpolation", oneOf(interpolations))
	}
	pre.Mean, pre.Std = c.channels("mean"), c.channels("std")
	return pre, c.err
}
