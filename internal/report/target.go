package report

import "nuwa/exporter/target"

// Target is the device that a model was made for, and how far it is what that
// device wants.
type Target struct {
	Name            string             `json:"name,omitempty"`     // "" where precision alone was asked for
	Provider        string             `json:"provider,omitempty"` // ONNX Runtime's execution provider that the device runs models with
	ProviderOptions map[string]string  `json:"provider_options,omitempty"`
	Threads         int                `json:"threads,omitempty"`
	Opset           int64              `json:"opset"`                   // of the file
	OpsetCeiling    int                `json:"opset_ceiling,omitempty"` // the newest that the device reads
	Align           int                `json:"align"`                   // widths that were changed are multiples of this
	Unaligned       []string           `json:"unaligned,omitempty"`     // widths that are not, as they were left as they are
	Precision       string             `json:"precision"`
	Batch           int                `json:"batch,omitempty"`      // images per run, fixed in the file
	Layout          string             `json:"layout,omitempty"`     // of the input
	Placement       *Placement         `json:"placement,omitempty"`  // nil where it cannot be known
	Violations      []target.Violation `json:"violations,omitempty"` // what the device does not take
	Quantized       *Quantized         `json:"quantized,omitempty"`
	Limits          []Limit            `json:"limits,omitempty"` // of the device, which the model meets
}

// Placement says which nodes of a model a target's execution provider runs.
type Placement struct {
	From    string         `json:"from"`               // "profile": what ONNX Runtime did; "operators": what the target's list says, as the provider is not here
	Taken   int            `json:"taken"`              // nodes that the provider runs
	Left    int            `json:"left"`               // nodes that the CPU runs instead
	LeftOps map[string]int `json:"left_ops,omitempty"` // those, by operator
}

// Quantized says how a model came to compute in 8-bit integers.
type Quantized struct {
	Calibrated    int          `json:"calibrated"` // images that ranges of activations come from
	Validated     int          `json:"validated"`  // other images, that choices were made by
	Range         string       `json:"range"`      // how ranges were taken: "extremes", or the part left out at either end
	Layers        int          `json:"layers"`     // linear maps in integers
	Float         []FloatLayer `json:"float"`      // linear maps that stay in single precision
	Accuracy      float64      `json:"accuracy"`   // on the validation images
	Single        float64      `json:"single"`     // the same, of the model in single precision
	Entropy       float64      `json:"entropy"`    // cross-entropy on the validation images
	SingleEntropy float64      `json:"single_entropy"`
}

// FloatLayer is a linear map that stays in single precision.
type FloatLayer struct {
	Layer string  `json:"layer"`
	Why   string  `json:"why"`
	Harm  float64 `json:"harm,omitempty"` // by how much the cross-entropy on the validation images rises when it alone computes in integers
}
