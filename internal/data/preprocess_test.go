package data

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/internal/fault"
)

func TestValidate(t *testing.T) {
	nan := float32(math.NaN())
	for want, change := range map[string]func(p *Preprocess){
		"":                     func(p *Preprocess) {},
		"size: got 0x4":        func(p *Preprocess) { p.Height = 0 },
		"size: got 100000x":    func(p *Preprocess) { p.Height, p.Width = 100000, 100000 },
		`resize: got "fill"`:   func(p *Preprocess) { p.Resize = "fill" },
		`resize: got ""`:       func(p *Preprocess) { p.Resize = "" },
		`interpolation: got`:   func(p *Preprocess) { p.Interpolation = "cubic" },
		"channel order: got":   func(p *Preprocess) { p.Order = "GRB" },
		"layout: got":          func(p *Preprocess) { p.Layout = "CHWN" },
		"crop fraction: got 0": func(p *Preprocess) { p.CropFraction = 0 },
		`resize is "none"`:     func(p *Preprocess) { p.Resize, p.CropFraction = Keep, 0.9 },
		"rescale: got 0":       func(p *Preprocess) { p.Rescale = 0 },
		"rescale: got +Inf":    func(p *Preprocess) { p.Rescale = math.Inf(1) },
		"mean: got [1 2]":      func(p *Preprocess) { p.Mean = []float32{1, 2} },
		"mean: got [NaN 1 1]":  func(p *Preprocess) { p.Mean = []float32{nan, 1, 1} },
		"std: got [0 1 1]":     func(p *Preprocess) { p.Std = []float32{0, 1, 1} },
		"element type: cannot": func(p *Preprocess) { p.Type = graph.Int64 },
		"integers from 0 to":   func(p *Preprocess) { p.Type = graph.Uint8 },
	} {
		p := Default(4, 4)
		change(&p)
		switch err := p.Validate(); {
		case want == "" && err != nil:
			t.Errorf("the default is refused: %v", err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || fault.KindOf(err) != fault.Usage):
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestPreprocessPrints(t *testing.T) {
	p := Default(224, 192)
	p.Resize, p.CropFraction, p.Mean, p.Std = Shortest, 0.875, []float32{0.5, 0.25, 0.125}, []float32{1, 2, 3}
	if got, want := p.String(), "224x192 shortest crop 0.875 bicubic, RGB NCHW f32, x/255, mean 0.5 0.25 0.125, std 1 2 3"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back Preprocess
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	back.Type = p.Type // belongs to the model
	if !reflect.DeepEqual(back, p) {
		t.Errorf("JSON %s reads back as %+v", b, back)
	}
}

func TestNarrowImage(t *testing.T) {
	p := Default(224, 224)
	p.Resize = Shortest
	if _, err := p.fit(newPixels(1, 10000)); err == nil || !strings.Contains(err.Error(), "too narrow") {
		t.Errorf("got %v, want an image of 224x2240000 refused", err)
	}
}

func written(t *testing.T, name, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

const half = `"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]`

func TestLoadPreprocess(t *testing.T) {
	const halves = ", RGB NCHW f32, x/255, mean 0.5 0.5 0.5, std 0.5 0.5 0.5"
	for content, want := range map[string]string{
		`{"feature_extractor_type": "ViTFeatureExtractor", "do_normalize": true, "do_resize": true, ` + half + `, "resample": 2, "size": 224}`: "224x224 squash bilinear" + halves,

		`{"image_processor_type": "ViTImageProcessorFast", "size": {"height": 384, "width": 192, "longest_edge": null}, "rescale_factor": 0.00392156862745098, ` + half + `}`: "384x192 squash bilinear" + halves,

		`{"image_processor_type": "ViTImageProcessor", "size": 32, "do_resize": false, "do_normalize": false, "do_convert_rgb": true}`: "32x32 none bilinear, RGB NCHW f32, x/255",

		`{"feature_extractor_type": "DeiTFeatureExtractor", "size": 256, "crop_size": 224, "resample": 3, ` + half + `}`: "224x224 squash crop 0.875 bicubic" + halves,

		`{"feature_extractor_type": "BeitFeatureExtractor", "do_center_crop": false, "crop_size": 224, "size": 224, "do_reduce_labels": true, ` + half + `}`: "224x224 squash bicubic" + halves,

		`{"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224, ` + half + `}`: "224x224 shortest bicubic" + halves,

		`{"image_processor_type": "CLIPImageProcessor", "do_resize": false, "size": {"shortest_edge": 224}, "crop_size": {"height": 32, "width": 48}, ` + half + `}`: "32x48 center bicubic" + halves,

		`{"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "resample": 1, ` + half + `}`: "224x224 shortest crop 0.875 lanczos" + halves,

		`{"image_processor_type": "SiglipImageProcessor", "size": {"height": 224, "width": 224}, "do_rescale": false, ` + half + `}`: "224x224 squash bicubic, RGB NCHW f32, mean 0.5 0.5 0.5, std 0.5 0.5 0.5",

		`{"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}, "crop_pct": 0.875, ` + half + `}`: "224x224 shortest crop 0.875 bilinear" + halves,

		`{"image_processor_type": "ConvNextImageProcessor", "size": 384, "crop_pct": 0.875, ` + half + `}`: "384x384 squash bilinear" + halves,

		`{"image_processor_type": "MobileViTImageProcessor", "size": {"shortest_edge": 288}, "crop_size": {"height": 256, "width": 256}}`: "256x256 shortest crop 0.8889 bilinear, BGR NCHW f32, x/255",

		`{"architecture": "vit", "pretrained_cfg": {"input_size": [3, 224, 224], "interpolation": "bicubic", "crop_pct": 0.9, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}`: "224x224 shortest crop 0.9 bicubic" + halves,

		`{"image_processor_type": "TimmWrapperImageProcessor", "data_config": {"input_size": [3, 64, 32], "crop_mode": "squash", "crop_pct": 1.0, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}`: "64x32 squash bicubic" + halves,
	} {
		p, err := LoadPreprocess(written(t, "preprocessor_config.json", content))
		if err != nil {
			t.Errorf("%s: %v", content, err)
		} else if p.String() != want {
			t.Errorf("%s:\n got %s\nwant %s", content, p, want)
		}
	}
}

func TestLoadPreprocessRefuses(t *testing.T) {
	vit := func(more string) string { return `{"image_processor_type": "ViTImageProcessor", ` + more + `}` }
	for content, want := range map[string]string{
		`[1]`:  "want a JSON object",
		`{"a"`: "unexpected end",
		`{}`:   `key "feature_extractor_type": got nothing, want one of BeitImageProcessor`,
		`{"image_processor_type": "DonutImageProcessor"}`: `key "image_processor_type": got "DonutImageProcessor"`,
		vit(`"size": 224`): `key "image_mean": got nothing`,
		vit(`"size": 224, "image_mean": [0.5], "image_std": [1]`): `key "image_mean": got [0.5], want 3 numbers`,
		vit(half):                                              `key "size": got nothing`,
		vit(`"size": "big", ` + half):                          `key "size": got "big"`,
		vit(`"size": 22.5, ` + half):                           `key "size": got 22.5`,
		vit(`"size": {"longest_edge": 22}, ` + half):           `key "size": got {"longest_edge":22}`,
		vit(`"size": {"shortest_edge": 22}, ` + half):          "differing sizes",
		vit(`"size": 224, "resample": 7, ` + half):             `key "resample": got 7`,
		vit(`"size": 224, "do_resize": "yes", ` + half):        `key "do_resize": got "yes", want true or false`,
		vit(`"size": 224, "do_pad": true, ` + half):            `key "do_pad": got true`,
		vit(`"size": 224, "rescale_factor": "1/255", ` + half): `key "rescale_factor": got "1/255"`,
		`{"feature_extractor_type": "DeiTFeatureExtractor", "size": {"height": 256, "width": 300}, "crop_size": 224, ` + half + `}`: `key "crop_size": got 224, want the same part`,
		`{"pretrained_cfg": {"input_size": [1, 28, 28]}}`:                                      `key "input_size": got [1,28,28]`,
		`{"pretrained_cfg": {"input_size": [3, "a", 28]}}`:                                     `key "input_size"`,
		`{"pretrained_cfg": {"input_size": [3, 28, 28], "crop_mode": "border"}}`:               `key "crop_mode": got "border"`,
		`{"pretrained_cfg": {"input_size": [3, 28, 28], "interpolation": "random"}}`:           `key "interpolation": got "random"`,
		`{"pretrained_cfg": {"input_size": [3, 28, 28], "mean": [0, 0, 0], "std": [0, 0, 0]}}`: "std: got [0 0 0]",
	} {
		file := written(t, "preprocessor_config.json", content)
		_, err := LoadPreprocess(file)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), file) || fault.KindOf(err) != fault.Data {
			t.Errorf("%s:\n got %v\nwant %q", content, err, want)
		}
	}
	if _, err := LoadPreprocess(filepath.Join(t.TempDir(), "none.json")); fault.KindOf(err) != fault.Data {
		t.Errorf("a missing file gave %v", err)
	}
}

func TestFindPreprocess(t *testing.T) {
	const vit = `{"image_processor_type": "ViTImageProcessor", "do_normalize": false, "size": 32}`
	const timm = `{"pretrained_cfg": {"input_size": [3, 64, 64], "mean": [0, 0, 0], "std": [1, 1, 1]}}`
	for _, c := range []struct {
		files map[string][]byte
		model string
		found string
	}{
		{map[string][]byte{"preprocessor_config.json": []byte(vit), "config.json": []byte(timm)}, "vit.onnx", "preprocessor_config.json"},
		{map[string][]byte{"config.json": []byte(timm)}, "vit.onnx", "config.json"},
		{map[string][]byte{"config.json": []byte(`{"hidden_size": 4}`)}, "vit.onnx", ""},
		{map[string][]byte{"config.json": []byte(`no JSON`)}, "vit.onnx", ""},
		{map[string][]byte{"preprocessor_config.json": []byte(vit), "onnx/": nil}, "onnx/vit.onnx", "preprocessor_config.json"},
		{map[string][]byte{"preprocessor_config.json": []byte(vit), "other/": nil}, "other/vit.onnx", ""},
	} {
		dir := folder(t, c.files)
		p, found, err := FindPreprocess(filepath.Join(dir, c.model))
		if err != nil {
			t.Error(err)
			continue
		}
		if found != "" {
			found = filepath.Base(found)
		}
		if found != c.found || (found != "") != (p.Height > 0) {
			t.Errorf("%s beside %v: found %q (%s), want %q", c.model, c.files, found, p, c.found)
		}
	}
	dir := folder(t, map[string][]byte{"preprocessor_config.json": []byte("{}")})
	if _, _, err := FindPreprocess(filepath.Join(dir, "vit.onnx")); err == nil {
		t.Error("an unusable file beside the model was passed over")
	}
}
