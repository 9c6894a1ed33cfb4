package purify

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"nuwa/graph"
	"nuwa/internal/fault"
)

// Methods.
const (
	STE    = "ste"    // scores learned through the mask, the paper's
	First  = "first"  // one gradient pass; loss change to first order
	Second = "second" // one gradient pass; with the squared per-image gradients as curvature
)

// Decisions: what the loss and the accuracy are over.
const (
	All    = "all"    // all classes of the model, as in the paper
	Wanted = "wanted" // the wanted classes only
)

// Images are labelled images that can be had in any order.
type Images struct {
	Labels  []int                         // the logit of each image's class
	Several [][]int                       // instead, where an image may have several classes or none: their logits
	Batch   func(idx []int) *graph.Tensor // the model's input for the images at these positions
}

func (im Images) len() int { return max(len(im.Labels), len(im.Several)) }

// multi reports whether each class is decided by itself.
func (o Options) multi() bool { return o.Train.Several != nil }

// metric says what masks are chosen by.
func (o Options) metric() string {
	switch {
	case o.multi():
		return "mean average precision"
	case o.Balance:
		return "mean accuracy of classes"
	}
	return "accuracy"
}

// Options say what to learn from and how long. Train and Validate are needed;
// the zero value of every other field is the paper's choice.
type Options struct {
	Train    Images // what gradients come from
	Validate Images // what masks are judged by
	Wanted   []int  // logits of the wanted classes; nil means all. Every one of Labels is one of them.

	Method   string        // "" means STE. First and Second heed Batch, Loss and Balance of what follows
	Loss     string        // All or Wanted, for the loss and for the accuracy that masks are chosen by; "" means All
	Balance  bool          // weigh images by the inverse frequency of their class, and judge by the mean of the classes' accuracies; where an image may have several, weigh for each class the images that have it like all that do not
	Steps    int           // of the optimizer; 0 means 10 000
	Batch    int           // images per step; 0 means 1, or as many as the model fixes
	Every    int           // steps between judgements; 0 chooses such that judging takes a quarter of the time at most
	Patience int           // judgements without a better one before learning ends; 0 means never
	Time     time.Duration // learning ends after this time; 0 means never
	Seed     uint64        // of the order of images

	Rate     float64 // learning rate of scores; 0 means 1e-3
	BetaRate float64 // learning rate of β; 0 means 0.1
	Decay    float64 // weight decay; 0 means 0.05, negative none

	Checkpoint string         // file that learning goes on from and leaves its state in; "" for none
	Progress   func(Progress) // called after each step; nil for none
}

// Progress tells how far learning is.
type Progress struct {
	Step, Steps int
	Loss        float64       // mean of the last steps, about a hundred
	Accuracy    float64       // of the last mask that was judged
	Best        float64       // of the best mask
	Kept        []int         // neurons kept now, per hidden layer that is learned
	Left        time.Duration // until a budget ends, as it looks now
}

// withDefaults fills in defaults for a model that takes fixed images at once
// (0 for any number), and reports the first option that makes no sense.
func (o Options) withDefaults(fixed int) (Options, error) {
	choose := func(what string, field *string, choices ...string) error {
		if *field == "" {
			*field = choices[0]
		}
		if !slices.Contains(choices, *field) {
			return &fault.Error{Kind: fault.Usage, Where: "purification, " + what, Got: fmt.Sprintf("%q", *field), Want: strings.Join(choices, " or ")}
		}
		return nil
	}
	if err := choose("method", &o.Method, STE, First, Second); err != nil {
		return o, err
	}
	if err := choose("loss", &o.Loss, All, Wanted); err != nil {
		return o, err
	}
	if o.Batch == 0 {
		o.Batch = 1
		if o.Method != STE {
			o.Batch = 32
		}
		if fixed > 0 {
			o.Batch = fixed
		}
	}
	if o.Steps == 0 {
		o.Steps = 10000
	}
	if o.Every == 0 { // a step of b images costs at least as much as judging 2·b of them
		o.Every = max(250, 3*o.Validate.len()/max(1, 2*o.Batch))
	}
	if o.Rate == 0 {
		o.Rate = 1e-3
	}
	if o.BetaRate == 0 {
		o.BetaRate = 0.1
	}
	if o.Decay == 0 {
		o.Decay = 0.05
	}
	o.Decay = max(0, o.Decay)
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	for _, x := range []struct {
		what string
		bad  bool
		got  any
		want string
	}{
		{"steps", o.Steps < 1, o.Steps, "at least 1"},
		{"batch", o.Batch < 1, o.Batch, "at least 1"},
		{"batch", fixed > 0 && o.Batch != fixed, o.Batch, fmt.Sprintf("%d, which the model fixes", fixed)},
		{"steps between judgements", o.Every < 1, o.Every, "at least 1"},
		{"patience", o.Patience < 0, o.Patience, "at least 1, or 0 for none"},
		{"time", o.Time < 0, o.Time, "a positive duration, or 0 for no limit"},
		{"learning rates", !(o.Rate > 0) || !(o.BetaRate > 0), []float64{o.Rate, o.BetaRate}, "positive numbers"},
	} {
		if x.bad {
			return o, &fault.Error{Kind: fault.Usage, Where: "purification, " + x.what, Got: fmt.Sprint(x.got), Want: x.want}
		}
	}
	for what, im := range map[string]Images{"training": o.Train, "validation": o.Validate} {
		if im.len() == 0 {
			return o, &fault.Error{Kind: fault.Data, Where: "purification", Got: "no " + what + " images", Want: "at least one",
				Remedy: "give more images of the wanted classes"}
		}
		if (im.Several != nil) != o.multi() {
			return o, &fault.Error{Kind: fault.Internal, Where: "purification", Got: "images of one class and of several", Want: "either"}
		}
		for _, l := range im.Labels {
			if l < 0 || o.Wanted != nil && !slices.Contains(o.Wanted, l) {
				return o, &fault.Error{Kind: fault.Data, Where: "purification, " + what + " images", Got: fmt.Sprintf("an image of logit %d", l), Want: fmt.Sprintf("only the wanted %v", o.Wanted)}
			}
		}
	}
	return o, nil
}
