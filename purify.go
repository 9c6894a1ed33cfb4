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
	Balance    bool          // weigh images by the inverse frequency of their class
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
	Data          string   // images to learn from, class per folder; a fifth of them chooses the mask
	Test          string   // images to judge by, never learned from; "" holds back a fifth of Data
	Classes       []string // wanted classes; none, or "all", purifies for every class
	Labels        string   // file of class names in the order of the logits
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
	all, err := Options{Model: o.Model, Output: o.Output, Data: o.Data, Test: o.Test, Classes: o.Classes, Labels: o.Labels, Recipe: "paper", Logits: "full",
		Purify: o.Method, Purification: o.Purification, Preprocess: o.Preprocess, Runtime: o.Runtime, Seed: o.Seed, Force: o.Force, SkipBench: true,
		Progress: o.Progress}.withDefaults()
	if err != nil {
		return nil, err
	}
	eng, err := start(o.Runtime)
	if err != nil {
		return nil, err
	}
	d := &derivation{o: all, eng: eng, began: time.Now(), list: passes.Anchoring, unmask: true}
	defer d.close()
	for _, stage := range []func(context.Context) error{d.open, d.findClasses, d.splitData, d.prune, d.writeProven} {
		if err := stage(ctx); err != nil {
			return nil, inFile(o.Model, err)
		}
	}
	return d.result, d.dropCheckpoint()
}

// checkpoint is the file that purification goes on from after an interruption;
// "" where nothing is written.
func (d *derivation) checkpoint() string {
	switch {
	case d.o.Purification.Checkpoint != "" || d.o.DryRun:
		return d.o.Purification.Checkpoint
	default:
		return d.o.Output + ".purify"
	}
}

// dropCheckpoint removes the checkpoint of a purification whose result is in
// the model that was written.
func (d *derivation) dropCheckpoint() error {
	if d.result.Purification == nil || d.checkpoint() == "" || d.o.DryRun {
		return nil
	}
	if err := os.Remove(d.checkpoint()); err != nil && !os.IsNotExist(err) {
		return &fault.Error{Kind: fault.IO, File: d.checkpoint(), Err: err}
	}
	return nil
}

// purification brings the images of the wanted classes into memory, a part of
// them for choosing the mask. It returns nil for no purification.
func (d *derivation) purification(ctx context.Context) (*purify.Options, error) {
	p, method, labelled := d.o.Purification, d.o.Purify, d.pool != nil && d.classOf != nil && d.o.Calibration == "images"
	if method == "" && d.o.Recipe == "paper" {
		method = purify.STE
		if !labelled {
			method = "none"
			d.result.Notes = append(d.result.Notes, "nothing was purified, which takes labelled images")
		}
	}
	switch {
	case method == "" || method == "none":
		return nil, nil
	case !labelled:
		return nil, &fault.Error{Kind: fault.Data, Where: "purification", Got: "no labelled images", Want: "a folder per class", Remedy: "give --data with class folders, or --purify none"}
	}
	o := &purify.Options{Wanted: d.wanted, Method: method, Loss: p.Loss, Balance: p.Balance, Steps: p.Steps, Batch: p.Batch, Patience: p.Patience, Time: p.Time,
		Seed: d.o.Seed, Checkpoint: d.checkpoint(), Progress: p.Watch}
	if o.Loss == "" && d.o.Recipe == "best" {
		o.Loss = purify.Wanted
	}
	held, rest := d.pool.Split(d.o.Seed, validationPart)
	if d.o.Purify == "" && min(held.Len(), rest.Len()) == 0 {
		d.result.Notes = append(d.result.Notes, "nothing was purified, which takes two images of a class at least")
		return nil, nil
	}
	for _, part := range []struct {
		set *data.Set
		to  *purify.Images
	}{{held, &o.Validate}, {rest, &o.Train}} {
		loaded, err := part.set.Preload(ctx, d.base.pre, preloadLimit)
		if err != nil {
			return nil, err
		}
		part.to.Batch = func(idx []int) *graph.Tensor { return loaded.Batch(idx).X }
		for _, x := range part.set.Samples {
			part.to.Labels = append(part.to.Labels, d.classOf[slices.Index(d.set.Classes, part.set.Classes[x.Class])])
		}
	}
	return o, nil
}
