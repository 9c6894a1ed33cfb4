package report

import (
	"nuwa/internal/measure"
	"nuwa/passes"
	"nuwa/passes/purify"
)

// Result is what a derivation made and how it compares with the base.
type Result struct {
	Model   string   `json:"model"`
	Output  string   `json:"output,omitempty"` // empty for a dry run
	Recipe  string   `json:"recipe"`
	Classes []string `json:"classes"` // in the order of the slim model's logits

	RateAsked float64 `json:"rate_asked,omitempty"`
	Rate      float64 `json:"rate"` // 1 − MACs(slim)/MACs(base)

	// Summary holds accuracy, size and latency of base and slim, in that order.
	// The base is judged among all its classes and among the wanted ones.
	Summary measure.Summary `json:"summary"`
	Judged  string          `json:"judged_on,omitempty"` // what the accuracies were measured on

	Blocks       []BlockWidths   `json:"blocks"`
	Purification *purify.Result  `json:"purification,omitempty"` // nil without purification
	Passes       []passes.Report `json:"passes"`
	Declined     []Declined      `json:"declined,omitempty"`
	Notes        []string        `json:"notes,omitempty"` // numerical doubt and choices worth knowing
	Seconds      float64         `json:"seconds"`         // to derive, without judging
}

// BlockWidths are the widths of one block before and after. A part the block
// does not have is zero.
type BlockWidths struct {
	Heads  int    `json:"heads,omitempty"`
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
