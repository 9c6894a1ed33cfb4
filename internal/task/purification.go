package task

import (
	"context"
	"os"
	"slices"

	"nuwa/graph"
	"nuwa/internal/data"
	"nuwa/internal/fault"
	"nuwa/passes"
	"nuwa/passes/purify"
)

// preloadLimit bounds the memory for decoded images, in bytes.
const preloadLimit = 4 << 30

// checkpoint is the file that purification goes on from after an interruption;
// "" where nothing is written.
func (t *Task) checkpoint() string {
	switch {
	case t.Options.Purification.Checkpoint != "" || t.Options.DryRun:
		return t.Options.Purification.Checkpoint
	default:
		return t.Options.Output + ".purify"
	}
}

// DropCheckpoint removes the checkpoint of a purification whose result is in
// the model that was written.
func (t *Task) DropCheckpoint() error {
	if t.State.Purified == nil || t.checkpoint() == "" || t.Options.DryRun {
		return nil
	}
	if err := os.Remove(t.checkpoint()); err != nil && !os.IsNotExist(err) {
		return &fault.Error{Kind: fault.IO, File: t.checkpoint(), Err: err}
	}
	return nil
}

// purification brings the images of the wanted classes into memory, a part of
// them for choosing the mask. It returns nil for no purification.
func (t *Task) purification(ctx context.Context) (*purify.Options, error) {
	p, method, labelled := t.Options.Purification, t.Options.Purify, t.Pool != nil && t.ClassOf != nil && t.Options.Calibration == "images"
	if method == "" {
		if method = RecipeOf(t.Options).Purify; !labelled && method != passes.PurifyNone {
			method = passes.PurifyNone
			t.Notes = append(t.Notes, "nothing was purified, which takes labelled images")
		}
	}
	switch {
	case method == passes.PurifyNone:
		return nil, nil
	case !labelled:
		return nil, &fault.Error{Kind: fault.Data, Where: "purification", Got: "no labelled images", Want: "a folder per class", Remedy: "give --data with class folders, or --purify none"}
	}
	o := &purify.Options{Wanted: t.Wanted, Method: method, Loss: p.Loss, Balance: p.Balance, Steps: p.Steps, Batch: p.Batch, Patience: p.Patience, Time: p.Time,
		Seed: t.Options.Seed, Checkpoint: t.checkpoint(), Progress: p.Watch}
	if o.Loss == "" && t.Options.Recipe == "best" {
		o.Loss = purify.Wanted
	}
	held, rest := t.Pool.Split(t.Options.Seed, ValidationPart)
	if t.Options.Purify == "" && min(held.Len(), rest.Len()) == 0 {
		t.Notes = append(t.Notes, "nothing was purified, which takes two images of a class at least")
		return nil, nil
	}
	for _, part := range []struct {
		set *data.Set
		to  *purify.Images
	}{{held, &o.Validate}, {rest, &o.Train}} {
		loaded, err := part.set.Preload(ctx, t.File.Pre, preloadLimit)
		if err != nil {
			return nil, err
		}
		part.to.Batch = func(idx []int) *graph.Tensor { return loaded.Batch(idx).X }
		if t.Set.Multi {
			part.to.Several = t.severalOf(part.set)
			continue
		}
		for _, x := range part.set.Samples {
			part.to.Labels = append(part.to.Labels, t.ClassOf[slices.Index(t.Set.Classes, part.set.Classes[x.Class])])
		}
	}
	return o, nil
}

// severalOf returns the logits of all classes that each image of part has, the
// classes that are not wanted too.
func (t *Task) severalOf(part *data.Set) [][]int {
	has := map[string][]int{} // by path
	for i, x := range t.Set.Samples {
		for _, c := range t.Set.Of(i) {
			if l := t.ClassOf[c]; l >= 0 {
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
