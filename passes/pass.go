package passes

import (
	"context"
	"fmt"
	"log/slog"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/internal/cost"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/latency"
	"nuwa/passes/attention"
	"nuwa/passes/calibrate"
	"nuwa/passes/focus"
	"nuwa/passes/mlp"
	"nuwa/passes/purify"
	"nuwa/passes/structure"
)

// Effect is what a pass may do to what the model computes.
type Effect int

// The effects.
const (
	Exact       Effect = iota // outputs stay equal, up to rounding
	Approximate               // outputs may drift; how far is recorded
	Reads                     // the model is not changed
)

// Pass is one step of the pipeline.
type Pass struct {
	Name        string
	Doc         string // one sentence
	Effect      Effect
	Signature   bool    // may change the types of the outputs
	Dispensable bool    // is undone, and noted, where the proof fails
	After       []Order // passes that must have run before
	Run         func(ctx context.Context, s *State) (changes string, err error)
}

// Order is a pass that must come earlier, and why.
type Order struct{ Pass, Reason string }

// State is what passes work on and hand to each other.
type State struct {
	Model   *graph.Model
	Engine  *engine.Engine
	Options Options
	Feeds   calibrate.Feeds // calibration inputs; nil when no pass needs any
	Labels  []int           // the class of every sample that Feeds gives, as a logit of the slim model, −1 for none; nil without labels
	Several [][]int         // instead of Labels, where a sample may have several classes: those among the logits of the slim model

	ViT      *structure.ViT        // found by the structure pass
	Base     []Width               // widths of the base's blocks
	Before   []Width               // widths of ViT's blocks as found, narrower than Base where neurons were purified away
	Purified *purify.Result        // what purification found; nil without
	Widths   []Width               // widths wanted, planned by the plan pass, settled by the mlp pass
	Spectra  []*attention.Spectrum // one per ViT.Attentions
	Heads    []*attention.Heads    // one per ViT.Attentions: the order in which heads go; nil where they stay
	Evidence []attention.Evidence  // one per ViT.Attentions; nil unless the recipe asks for it
	Hidden   []*mlp.Evidence       // of the prunable hidden layers, in order; nil unless the recipe asks for it
	Targets  []float64             // what the logit for other classes should be, per sample of Options.Other.Fit
	Other    *focus.Other          // the logit for other classes; nil without
	Logits   *mat.Dense            // of the base on the calibration samples, a row each; nil unless the recipe asks for it
	BaseCost cost.Cost             // of the whole model as imported
	Cleaned  *graph.Model          // the model as it was when its structure was found
	Times    *latency.Table        // of parts of it here, shared by all forks
	Saved    float64               // the share that the sensitivity allocation saves, as it predicts
	Notes    []string              // what the user should know: numerical doubt, choices

	Log      *slog.Logger
	Progress func(stage string, done, total int)

	// Memo fills into with what earlier runs kept under what, or calls find,
	// which fills it, and keeps that; nil keeps nothing.
	Memo func(what string, into any, find func() error) error

	cost     *cost.Cost                 // of Model, when nothing but its widths is open; nil when not known
	costs    *engine.Shapes             // that parts are priced by, once widths are planned
	ran      []string                   // passes that have run
	declared []string                   // the values whose types the file declares, while a list of passes runs
	known    []map[string]*graph.Tensor // outputs of Model on the inputs of proofs; nil when not known
}

// Options say what the pipeline shall make.
type Options struct {
	Recipe    Recipe
	Rate      float64
	Split     float64 // factor on what the ρ rule has attention lose of its squared singular values; 0 means 1
	Fixed     *Width  // explicit widths instead of a rate; zero leaves a part alone
	Part      float64 // explicit hidden widths as a part of each block's
	Align     int
	Merge     int             // tokens that are merged behind each attention; 0 for none
	Classes   []int           // wanted logits; nil keeps all
	Mask      bool            // mask the other logits instead of removing them
	KeepNorms bool            // leave layer norms as the exporter wrote them
	Purify    *purify.Options // nil for no purification
	Other     *Other          // a logit for all other classes; nil for none
	Lenient   bool            // leave out purification where the model does not allow it
}

// Other asks for a logit that stands for all classes that are not wanted.
type Other struct {
	Fit    calibrate.Feeds // what it is fitted to: wanted and other classes
	Held   focus.Samples   // what sets its offset
	Accept float64         // part of the other samples that may be taken for wanted, 0 to 1
}

// Width is the widths of a block: how many heads there are, of q/k and v/o per
// head, and of the hidden layer. A part that the block does not have is zero.
type Width struct{ Heads, QK, VO, Hidden int }

// remember fills into by find, or with what was found before.
func (s *State) remember(what string, into any, find func() error) error {
	if s.Memo == nil {
		return find()
	}
	return s.Memo(what, into, find)
}

// note records a sentence for the report.
func (s *State) note(format string, args ...any) {
	s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
}

// Validate reports a list of passes that contradicts itself: one without a
// name or a sentence about it, twice the same name, or an order that is not
// kept. The passes named by ran have run already.
func Validate(list []Pass, ran ...string) error {
	seen := map[string]bool{}
	for _, name := range ran {
		seen[name] = true
	}
	for _, p := range list {
		bad := func(format string, args ...any) error {
			return &fault.Error{Kind: fault.Internal, Where: "pass " + p.Name, Got: fmt.Sprintf(format, args...)}
		}
		switch {
		case p.Name == "" || p.Doc == "" || p.Run == nil:
			return bad("a pass without name, doc or run")
		case seen[p.Name]:
			return bad("two passes of that name")
		}
		for _, o := range p.After {
			if o.Reason == "" {
				return bad("no reason for coming after %s", o.Pass)
			}
			if !seen[o.Pass] {
				return bad("it runs before %s, but %s", o.Pass, o.Reason)
			}
		}
		seen[p.Name] = true
	}
	return nil
}
