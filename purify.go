package nuwa

import (
	"context"
	"os"
	"slices"
	"time"

	"nuwa/graph"
	"nuwa/internal/data"
	"nuwa/internal/fault"
	"nuwa/passes"
	"nuwa/passes/purify"
)

// Purification says how neurons that hurt the wanted classes are found. The
// zero value is the paper's way.
type Purification struct {
	Loss       string        // "all" or "wanted": the classes that the loss and the choice of the mask are over; "" means "wanted" for recipe best, else "all"
	Balance    bool          // weigh images by the inverse frequency of their class, and calibrate on equally many of each
	Steps      int           // 0 means 10 000
	Batch      int           // images per step; 0 means 1
	Patience   int           // end after so many judgements without a better one; 0 means never
	Time       time.Duration // 0 for no limit
	Checkpoint string        // where a run that was interrupted goes on from; "" means the output's name with .purify

	Watch func(PurifyProgress) // called after each step; nil for none
}

// PurifyProgress tells how far learning is.
type PurifyProgress = purify.Progress

// PurifyOptions say what Purify shall make. Model, Output and Data are needed.
type PurifyOptions struct {
	Model, Output string
	Data          string   // images to learn from, class per folder, or a CSV as in Options; a fifth of them chooses the mask
	Test          string   // images to judge by, never learned from; "" holds back a fifth of Data
	Classes       []string // wanted classes; none, or "all", purifies for every class
	Labels        string   // file of class names in the order of the logits
	ImageRoot     string   // as in Options
	MultiLabel    bool     // as in Options
	Method        string   // "ste", "first" or "second"; "" means "ste"
	Purification

	Preprocess Preprocess
	Runtime    Runtime
	Seed       uint64
	Force      bool // replace an existing output

	Progress func(stage string, done, total int)
}

// preloadLimit bounds the memory for decoded images, in bytes.
const preloadLimit = 4 << 30

// Purify learns which hidden neurons hurt the wanted classes, removes them and
// writes the anchor model. Its outputs stay as wide as the base's.
func Purify(ctx context.Context, o PurifyOptions) (*Result, error) {
	if o.Method == "" {
		o.Method = purify.STE
	}
	all, err := Options{Model: o.Model, Output: o.Output, Data: o.Data, Test: o.Test, Classes: o.Classes, Labels: o.Labels, ImageRoot: o.ImageRoot, MultiLabel: o.MultiLabel, Recipe: "paper", Logits: "full",
		Purify: o.Method, Purification: o.Purification, Preprocess: o.Preprocess, Runtime: o.Runtime, Seed: o.Seed, Force: o.Force, SkipBench: true,
		Progress: o.Progress}.withDefaults()
	if err != nil {
		return nil, err
	}
	eng, err := start(o.Runtime)
	if err != nil {
		return nil, err
	}
	res, err := derive(ctx, eng, all, true, passes.Anchoring, nil, nil)
	return res, inFile(o.Model, err)
}

// checkpoint is the file that purification goes on from after an interruption;
// "" where nothing is written.
func (t *task) checkpoint() string {
	switch {
	case t.o.Purification.Checkpoint != "" || t.o.DryRun:
		return t.o.Purification.Checkpoint
	default:
		return t.o.Output + ".purify"
	}
}

// dropCheckpoint removes the checkpoint of a purification whose result is in
// the model that was written.
func (t *task) dropCheckpoint() error {
	if t.state.Purified == nil || t.checkpoint() == "" || t.o.DryRun {
		return nil
	}
	if err := os.Remove(t.checkpoint()); err != nil && !os.IsNotExist(err) {
		return &fault.Error{Kind: fault.IO, File: t.checkpoint(), Err: err}
	}
	return nil
}

// purification brings the images of the wanted classes into memory, a part of
// them for choosing the mask. It returns nil for no purification.
func (t *task) purification(ctx context.Context) (*purify.Options, error) {
	p, method, labelled := t.o.Purification, t.o.Purify, t.pool != nil && t.classOf != nil && t.o.Calibration == "images"
	if method == "" {
		if method = t.o.recipe().Purify; !labelled && method != passes.PurifyNone {
			method = passes.PurifyNone
			t.notes = append(t.notes, "nothing was purified, which takes labelled images")
		}
	}
	switch {
	case method == passes.PurifyNone:
		return nil, nil
	case !labelled:
		return nil, &fault.Error{Kind: fault.Data, Where: "purification", Got: "no labelled images", Want: "a folder per class", Remedy: "give --data with class folders, or --purify none"}
	}
	o := &purify.Options{Wanted: t.wanted, Method: method, Loss: p.Loss, Balance: p.Balance, Steps: p.Steps, Batch: p.Batch, Patience: p.Patience, Time: p.Time,
		Seed: t.o.Seed, Checkpoint: t.checkpoint(), Progress: p.Watch}
	if o.Loss == "" && t.o.Recipe == "best" {
		o.Loss = purify.Wanted
	}
	held, rest := t.pool.Split(t.o.Seed, validationPart)
	if t.o.Purify == "" && min(held.Len(), rest.Len()) == 0 {
		t.notes = append(t.notes, "nothing was purified, which takes two images of a class at least")
		return nil, nil
	}
	for _, part := range []struct {
		set *data.Set
		to  *purify.Images
	}{{held, &o.Validate}, {rest, &o.Train}} {
		loaded, err := part.set.Preload(ctx, t.file.pre, preloadLimit)
		if err != nil {
			return nil, err
		}
		part.to.Batch = func(idx []int) *graph.Tensor { return loaded.Batch(idx).X }
		if t.set.Multi {
			part.to.Several = t.severalOf(part.set)
			continue
		}
		for _, x := range part.set.Samples {
			part.to.Labels = append(part.to.Labels, t.classOf[slices.Index(t.set.Classes, part.set.Classes[x.Class])])
		}
	}
	return o, nil
}

// severalOf returns the logits of all classes that each image of part has, the
// classes that are not wanted too.
func (t *task) severalOf(part *data.Set) [][]int {
	has := map[string][]int{} // by path
	for i, x := range t.set.Samples {
		for _, c := range t.set.Of(i) {
			if l := t.classOf[c]; l >= 0 {
				has[x.Path] = append(has[x.Path], l)
			}
		}
	}
	out := make([][]int, part.Len())
	for i, x := range part.Samples {
		out[i] = has[x.Path]
	}
	return out
}
