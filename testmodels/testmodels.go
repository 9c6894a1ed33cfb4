package testmodels

import (
	_ "embed"
	"strings"
)

//go:embed vit_vehicles.onnx
var demo []byte

//go:embed labels.txt
var labels string

//go:embed preprocessor_config.json
var preprocessor []byte

//go:embed data/vehicles.zip
var images []byte

// Demo returns the ONNX bytes of the trained demo model: images [B, 3, 48, 48]
// to logits [B, 14], normalized with mean and std 0.5. The caller must not
// change them.
func Demo() []byte { return demo }

// Labels returns the class names of the trained models in the order of their
// logits.
func Labels() []string { return strings.Fields(labels) }

// Preprocessor returns the demo model's preprocessor_config.json.
func Preprocessor() []byte { return preprocessor }

// Images returns a zip of 48x48 JPEG images, laid out as SPLIT/CLASS/NNNN.jpg
// with the splits train, val and test. The caller must not change the bytes.
func Images() []byte { return images }
