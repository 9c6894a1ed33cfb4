package report

import (
	"nuwa/internal/measure"
	"nuwa/passes"
	"nuwa/passes/focus"
	"nuwa/passes/purify"
)

// Result is what a derivation made and how it compares with the base.
type Result struct {
	Schema int `json:"schema"`

	Model   string   `json:"model"`
	Output  string   `json:"output,omitempty"` // empty for a dry run
	Recipe  string   `json:"recipe"`
	Classes []string `json:"classes"` // in the order of the slim model's logits

	RateAsked float64 `json:"rate_asked,omitempty"`
	Rate      float64 `json:"rate"`            // 1 − MACs(slim)/MACs(base)
	Saved     *Saved  `json:"saved,omitempty"` // what the rate asked for is a share of, where that is not MACs

	// Summary holds accuracy, size and latency of base and slim, in that order.
	// The base is judged among all its classes and among the wanted ones.
	Summary measure.Summary `json:"summary"`
	Judged  string          `json:"judged_on,omitempty"` // what the accuracies were measured on

	Budget *Found  `json:"budget,omitempty"` // how the rate was found; nil for one that was asked for
	Target *Target `json:"target,omitempty"` // the device and the precision; nil for single precision and no device

	Blocks       []BlockWidths   `json:"blocks"`
	Purification *purify.Result  `json:"purification,omitempty"` // nil without purification
	Other        *Other          `json:"other,omitempty"`        // nil without a logit for other classes
	Passes       []passes.Report `json:"passes"`
	Declined     []Declined      `json:"declined,omitempty"`
	Notes        []string        `json:"notes,omitempty"` // numerical doubt and choices worth knowing
	Seconds      float64         `json:"seconds"`         // to derive, without judging

	Provenance *Provenance `json:"provenance,omitempty"`
}

// Saved is the share of something that went.
type Saved struct {
	What string  `json:"what"` // "parameters" or "latency"
	Part float64 `json:"part"` // of latency, as predicted from times of parts of the model
}

// Provenance is what it takes to make the same model again.
type Provenance struct {
	Version    string   `json:"nuwa"`
	Runtime    string   `json:"onnxruntime"` // its version
	Base       string   `json:"base_sha256"`
	Output     string   `json:"output_sha256,omitempty"` // empty for a dry run
	Preprocess string   `json:"preprocess,omitempty"`    // how images become inputs, and what says so
	Images     int      `json:"calibration_images,omitempty"`
	Seed       uint64   `json:"seed"`
	Command    []string `json:"command,omitempty"` // arguments of nuwa that give the same model, where it was made so
}

// Other is the logit that stands for all classes that are not wanted, and how
// the slim model does with it on the images that judge.
type Other struct {
	focus.Other
	Measured *measure.Rejection `json:"measured"`
}

// BlockWidths are the numbers of heads and the widths of one block before and
// after. A part that the block does not have is zero, and so is, after, one that
// was removed: the mean of what it added stands in its place.
type BlockWidths struct {
	Heads  [2]int `json:"heads"`
	QK     [2]int `json:"qk"`     // per head
	VO     [2]int `json:"vo"`     // per head
	Hidden [2]int `json:"hidden"` // per block
}

// Declined is a part of the model that is left as it is.
type Declined struct {
	Where  string `json:"where"`
	What   string `json:"what"`
	Reason string `json:"reason"`
}
