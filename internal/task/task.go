package task

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"nuwa/graph"
	"nuwa/internal/data"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/measure"
	"nuwa/internal/modelfile"
	"nuwa/passes"
	"nuwa/passes/calibrate"
)

// ValidationPart is the part of Options.Data that judges when there is no
// Options.Test.
const ValidationPart = 0.2

// anyRate tells the passes that learn that widths will be chosen.
const anyRate = 0.5

// Task is what all sizes for the same wanted classes share: which images
// calibrate and which judge, and the base brought so far that only the widths
// are open.
type Task struct {
	*Base
	Images
	File    *modelfile.File // the base's, with how its images are scaled
	Options Options         // what belongs to a size is ignored
	Unmask  bool            // the logits of the other classes stay as they are

	ClassOf []int     // class folder of Set → logit of the base
	Wanted  []int     // logits of the base; nil keeps all
	Names   []string  // of all logits of the base
	Classes []string  // names of those kept
	Pool    *data.Set // images of Set of the wanted classes, without those that judge
	Fit     *data.Set // those of Pool that statistics come from
	Split   bool      // Test is a part of Set
	Judged  string    // what accuracies are measured on
	Notes   []string

	State   *passes.State   // learned; every size goes on from a fork
	Reports []passes.Report // of the passes that led there

	Sharing  func(what string, into any, find func() error) error // with other tasks; nil for none
	Store    Memo                                                 // where what is expensive to find out is kept
	judging  sync.Mutex
	accuracy *measure.Accuracy // of the base, once measured
	choosing *data.Loaded      // once decoded
}

// New settles what o says about classes and images. What is learned about
// them follows with Learn.
func New(ctx context.Context, b *Base, im Images, o Options) (*Task, error) {
	file := *b.File
	t := &Task{Base: b, Images: im, File: &file, Options: o, Notes: slices.Clone(b.File.Notes)}
	if err := t.findClasses(ctx); err != nil {
		return nil, err
	}
	if err := t.splitData(); err != nil {
		return nil, err
	}
	var err error
	t.Store, err = t.memo(ctx)
	return t, err
}

// Learn runs the passes that come before widths are chosen.
func (t *Task) Learn(ctx context.Context, list []passes.Pass) error {
	feeds, err := t.Feeds(ctx)
	if err != nil {
		return err
	}
	options := passes.Options{Recipe: RecipeOf(t.Options), Classes: t.Wanted, Mask: t.Options.Logits == "full", Lenient: t.Options.Purify == ""}
	SizeOptions(t.Options, &options)
	if !t.Options.Budget.IsZero() {
		options.Rate = anyRate
	}
	if options.Purify, err = t.purification(ctx); err != nil {
		return err
	}
	if options.Other, err = t.otherSamples(ctx); err != nil {
		return err
	}
	s, cleaning, err := t.Fork(ctx, t.Options)
	if err != nil {
		return err
	}
	s.Options, s.Feeds = options, feeds
	s.Labels, s.Several = t.labels()
	s.Memo = t.Store.remember
	if t.Sharing != nil {
		s.Memo = t.Sharing
	}
	var reports []passes.Report
	err = t.Store.recalling(s, "runs of learning", func() (err error) {
		reports, err = (&passes.Manager{}).Run(ctx, s, list)
		return err
	})
	t.State, t.Reports = s, slices.Concat(cleaning, reports)
	return err
}

// splitData chooses calibration images of the wanted classes, and keeps part
// of the data for judging when no test images are given.
func (t *Task) splitData() error {
	if t.Test != nil {
		t.Judged = t.Options.Test
	}
	if t.Set == nil {
		return nil
	}
	t.Fit = t.Set
	if t.Set.Classes != nil && t.ClassOf != nil {
		folders := data.Wanted(t.Set.Classes, t.ClassOf, t.Wanted)
		if len(folders) == 0 {
			return &fault.Error{Kind: fault.Data, File: t.Options.Data, Got: "no folder or column of a wanted class", Want: fmt.Sprint(t.Classes)}
		}
		var err error
		if t.Fit, err = t.Set.Select(folders); err != nil {
			return err
		}
		if slices.Max(t.Fit.Counts()) == 0 {
			return &fault.Error{Kind: fault.Data, File: t.Options.Data, Got: "no image of a wanted class", Want: fmt.Sprint(t.Classes)}
		}
	}
	if t.Test == nil && len(t.Names) > 0 {
		switch test, rest := t.Fit.Split(t.Options.Seed, ValidationPart); {
		case t.Set.Classes == nil:
			t.Notes = append(t.Notes, "the images have no classes, so no accuracy is measured")
		case test.Len() == 0:
			t.Notes = append(t.Notes, "there are too few images to hold some back, so no accuracy is measured; give others with --test")
		default:
			t.Test, t.Fit, t.Split = test, rest, true
			t.Judged = fmt.Sprintf("a validation split of %d images of %s", t.Test.Len(), t.Options.Data)
		}
	}
	n := t.Options.Images
	if n == 0 {
		n = RecipeOf(t.Options).Images
	}
	t.Pool = t.Fit
	if t.Options.Purification.Balance {
		t.Fit = t.Fit.Balance(n, t.Options.Seed)
	} else {
		t.Fit = t.Fit.Take(n, t.Options.Seed)
	}
	t.Options.Log.Info("calibration", "images", t.Fit.Len())
	return nil
}

// feedLimit bounds the memory for decoded calibration images, in bytes. Where
// they take more, every pass over them decodes them.
const feedLimit = 1 << 30

// batch is how many images are run at once, and whether the model fixes it.
func (t *Task) batch() (n int, fixed bool) {
	if n := engine.FixedBatch(t.File.Model); n > 0 {
		return n, true
	}
	return 16, false
}

// Feeds are the calibration inputs: images, or standard-normal numbers.
func (t *Task) Feeds(ctx context.Context) (calibrate.Feeds, error) {
	batch, fixed := t.batch()
	if t.Options.Calibration == "synthetic" {
		n := t.Options.Images
		if n == 0 {
			n = 128
		}
		return func(yield func(map[string]*graph.Tensor, error) bool) {
			for i := range (n + batch - 1) / batch {
				if !yield(engine.Inputs(t.File.Model, batch, t.Options.Seed+uint64(i))) {
					return
				}
			}
		}, nil
	}
	if fixed && t.Fit.Len() < batch {
		return nil, &fault.Error{Kind: fault.Data, File: t.Options.Data, Got: fmt.Sprintf("%d calibration images", t.Fit.Len()), Want: fmt.Sprintf("at least %d, the model's batch", batch)}
	}
	return t.FeedsOf(ctx, t.Fit, "calibrate"), nil
}

// FeedsOf are the images of set as inputs, a whole number of batches where the
// model fixes the batch.
func (t *Task) FeedsOf(ctx context.Context, set *data.Set, stage string) calibrate.Feeds {
	in := engine.Feeds(t.File.Model)[0]
	batch, fixed := t.batch()
	load := sync.OnceValues(func() (*data.Loaded, error) { return set.Preload(ctx, t.File.Pre, feedLimit) })
	return func(yield func(map[string]*graph.Tensor, error) bool) {
		done := 0
		batches := set.Batches(ctx, nil, batch, t.File.Pre)
		if loaded, err := load(); err == nil {
			batches = loaded.Batches(ctx, nil, batch)
		}
		for b, err := range batches {
			if err == nil && fixed && len(b.Labels) < batch {
				return // a batch of fixed size cannot be filled
			}
			done += len(b.Labels)
			if err == nil {
				t.Options.Progress(stage, done, set.Len())
			}
			if !yield(map[string]*graph.Tensor{in.Name(): b.X}, err) {
				return
			}
		}
	}
}

// labels gives every calibration sample its logit in the slim model, or its
// logits where it may have several classes, in the order of feeds; nil without
// labelled images.
func (t *Task) labels() (one []int, several [][]int) {
	if t.Options.Calibration == "synthetic" || t.ClassOf == nil {
		return nil, nil
	}
	of := map[string]int{}
	for i, c := range t.Set.Classes {
		of[c] = t.ClassOf[i]
		if t.Wanted != nil && t.Options.Logits == "sliced" {
			of[c] = measure.Sliced([]int{t.ClassOf[i]}, t.Wanted)[0]
		}
	}
	for i, x := range t.Fit.Samples {
		var logits []int
		for _, c := range t.Fit.Of(i) {
			if l := of[t.Fit.Classes[c]]; l >= 0 {
				logits = append(logits, l)
			}
		}
		switch {
		case t.Set.Multi:
			several = append(several, logits)
		case x.Class >= 0:
			one = append(one, logits[0])
		default:
			one = append(one, -1)
		}
	}
	return one, several
}

// JudgeBase measures how well the base does on the images that judge, once for
// all sizes. classOf is the logit of each of their classes.
func (t *Task) JudgeBase(ctx context.Context, classOf []int) (*measure.Accuracy, error) {
	t.judging.Lock()
	defer t.judging.Unlock()
	if t.accuracy != nil {
		return t.accuracy, nil
	}
	var a *measure.Accuracy
	err := t.Store.remember("accuracy", &a, func() (err error) {
		a, err = t.Judge(ctx, t.File.Source(), t.File.Pre, "judge base", classOf, t.Wanted, t.Names)
		return err
	})
	t.accuracy = a
	return a, err
}

// Judge measures a model on the images that judge, which become its input as
// pre says.
func (t *Task) Judge(ctx context.Context, source measure.Source, pre data.Preprocess, stage string, classOf, wanted []int, names []string) (*measure.Accuracy, error) {
	m, err := measure.Open(source, t.Eng.Sweeping())
	if err != nil {
		return nil, err
	}
	defer m.Close()
	return measure.Evaluate(ctx, m, measure.FromSet(t.Test, pre), classOf,
		measure.EvalOptions{Wanted: wanted, Names: names, Progress: modelfile.Stage(t.Options.Progress, stage)})
}

// SlimLogits turns logits of the base into those of the slim model, and gives
// those of them that count; nil for all.
func (t *Task) SlimLogits(classOf []int) (slimOf, wanted []int) {
	if t.Wanted != nil && t.Options.Logits == "sliced" {
		return measure.Sliced(classOf, t.Wanted), nil
	}
	return classOf, t.Wanted
}

// choosingImages limits how many images choose between forms of a model.
const choosingImages = 400

// Choosing are the images that choose between forms of a model, decoded once:
// of the wanted classes, none that statistics come from where there are enough
// others, none that judge.
func (t *Task) Choosing(ctx context.Context) (*data.Loaded, error) {
	t.judging.Lock()
	defer t.judging.Unlock()
	if t.choosing != nil {
		return t.choosing, nil
	}
	set := t.Pool.Without(t.Fit)
	if set.Len() < choosingImages/10 {
		set = t.Fit
	}
	var err error
	t.choosing, err = set.Take(choosingImages, t.Options.Seed).Preload(ctx, t.File.Pre, feedLimit)
	return t.choosing, err
}

// Forget drops what was learned, when no size follows.
func (t *Task) Forget() { t.State, t.choosing = nil, nil }

// validationImages limits how many images an accuracy is searched for on.
const validationImages = 2000

// Validation returns images of the wanted classes that nothing is calibrated
// on and that do not judge.
func (t *Task) Validation() (*data.Set, error) {
	few := func(n int) error {
		return &fault.Error{Kind: fault.Data, File: t.Options.Data, Where: "min-accuracy", Got: fmt.Sprintf("%d images beside those for calibration", n),
			Want: "at least 20, with their classes", Remedy: "give more images, or calibrate on fewer with --images"}
	}
	if t.Pool == nil || t.ClassOf == nil {
		return nil, few(0)
	}
	rest := t.Pool.Without(t.Fit)
	if rest.Len() < 20 {
		return nil, few(rest.Len())
	}
	if rest.Multi && slices.Min(rest.Counts()) == 0 { // there is no precision of a class without images
		return nil, few(0)
	}
	return rest.Take(validationImages, t.Options.Seed), nil
}
