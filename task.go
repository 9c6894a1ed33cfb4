package nuwa

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
	"nuwa/passes"
	"nuwa/passes/calibrate"
)

// validationPart is the part of Options.Data that judges when there is no
// Options.Test.
const validationPart = 0.2

// anyRate tells the passes that learn that widths will be chosen.
const anyRate = 0.5

// task is what all sizes for the same wanted classes share: which images
// calibrate and which judge, and the base brought so far that only the widths
// are open.
type task struct {
	*base
	images
	file   *opened // the base's, with how its images are scaled
	o      Options // what belongs to a size is ignored
	unmask bool    // the logits of the other classes stay as they are

	classOf []int     // class folder of set → logit of the base
	wanted  []int     // logits of the base; nil keeps all
	names   []string  // of all logits of the base
	classes []string  // names of those kept
	pool    *data.Set // images of set of the wanted classes, without those that judge
	fit     *data.Set // those of pool that statistics come from
	split   bool      // test is a part of set
	judged  string    // what accuracies are measured on
	notes   []string

	state   *passes.State   // learned; every size goes on from a fork
	reports []passes.Report // of the passes that led there

	sharing  func(what string, into any, find func() error) error // with other tasks; nil for none
	store    memo                                                 // where what is expensive to find out is kept
	judging  sync.Mutex
	accuracy *measure.Accuracy // of the base, once measured
}

// newTask settles what o says about classes and images. What is learned about
// them follows with learn.
func newTask(ctx context.Context, b *base, im images, o Options) (*task, error) {
	file := *b.file
	t := &task{base: b, images: im, file: &file, o: o, notes: slices.Clone(b.file.notes)}
	if err := t.findClasses(ctx); err != nil {
		return nil, err
	}
	if err := t.splitData(); err != nil {
		return nil, err
	}
	var err error
	t.store, err = t.memo(ctx)
	return t, err
}

// learn runs the passes that come before widths are chosen.
func (t *task) learn(ctx context.Context, list []passes.Pass) error {
	feeds, err := t.feeds(ctx)
	if err != nil {
		return err
	}
	options := passes.Options{Recipe: t.o.recipe(), Classes: t.wanted, Mask: t.o.Logits == "full", Lenient: t.o.Purify == ""}
	t.o.sizeOptions(&options)
	if !t.o.Budget.IsZero() {
		options.Rate = anyRate
	}
	if options.Purify, err = t.purification(ctx); err != nil {
		return err
	}
	if options.Other, err = t.otherSamples(ctx); err != nil {
		return err
	}
	s, cleaning, err := t.fork(ctx, t.o)
	if err != nil {
		return err
	}
	s.Options, s.Feeds = options, feeds
	s.Labels, s.Several = t.labels()
	s.Memo = t.store.remember
	if t.sharing != nil {
		s.Memo = t.sharing
	}
	reports, err := (&passes.Manager{}).Run(ctx, s, list)
	t.state, t.reports = s, slices.Concat(cleaning, reports)
	return err
}

// splitData chooses calibration images of the wanted classes, and keeps part
// of the data for judging when no test images are given.
func (t *task) splitData() error {
	if t.test != nil {
		t.judged = t.o.Test
	}
	if t.set == nil {
		return nil
	}
	t.fit = t.set
	if t.set.Classes != nil && t.classOf != nil {
		var folders []string
		for i, c := range t.set.Classes {
			if c2 := t.classOf[i]; c2 >= 0 && (t.wanted == nil || slices.Contains(t.wanted, c2)) {
				folders = append(folders, c)
			}
		}
		if len(folders) == 0 {
			return &fault.Error{Kind: fault.Data, File: t.o.Data, Got: "no folder or column of a wanted class", Want: fmt.Sprint(t.classes)}
		}
		var err error
		if t.fit, err = t.set.Select(folders); err != nil {
			return err
		}
		if slices.Max(t.fit.Counts()) == 0 {
			return &fault.Error{Kind: fault.Data, File: t.o.Data, Got: "no image of a wanted class", Want: fmt.Sprint(t.classes)}
		}
	}
	if t.test == nil && len(t.names) > 0 {
		switch test, rest := t.fit.Split(t.o.Seed, validationPart); {
		case t.set.Classes == nil:
			t.notes = append(t.notes, "the images have no classes, so no accuracy is measured")
		case test.Len() == 0:
			t.notes = append(t.notes, "there are too few images to hold some back, so no accuracy is measured; give others with --test")
		default:
			t.test, t.fit, t.split = test, rest, true
			t.judged = fmt.Sprintf("a validation split of %d images of %s", t.test.Len(), t.o.Data)
		}
	}
	n := t.o.Images
	if n == 0 {
		n = t.o.recipe().Images
	}
	t.pool = t.fit
	if t.o.Purification.Balance {
		t.fit = t.fit.Balance(n, t.o.Seed)
	} else {
		t.fit = t.fit.Take(n, t.o.Seed)
	}
	t.o.Log.Info("calibration", "images", t.fit.Len())
	return nil
}

// feedLimit bounds the memory for decoded calibration images, in bytes. Where
// they take more, every pass over them decodes them.
const feedLimit = 1 << 30

// batch is how many images are run at once, and whether the model fixes it.
func (t *task) batch() (n int, fixed bool) {
	if dims, _ := engine.Feeds(t.file.model)[0].Type.Dims(); dims[0] > 0 {
		return int(dims[0]), true
	}
	return 16, false
}

// feeds are the calibration inputs: images, or standard-normal numbers.
func (t *task) feeds(ctx context.Context) (calibrate.Feeds, error) {
	batch, fixed := t.batch()
	if t.o.Calibration == "synthetic" {
		n := t.o.Images
		if n == 0 {
			n = 128
		}
		return func(yield func(map[string]*graph.Tensor, error) bool) {
			for i := range (n + batch - 1) / batch {
				if !yield(engine.Inputs(t.file.model, batch, t.o.Seed+uint64(i))) {
					return
				}
			}
		}, nil
	}
	if fixed && t.fit.Len() < batch {
		return nil, &fault.Error{Kind: fault.Data, File: t.o.Data, Got: fmt.Sprintf("%d calibration images", t.fit.Len()), Want: fmt.Sprintf("at least %d, the model's batch", batch)}
	}
	return t.feedsOf(ctx, t.fit, "calibrate"), nil
}

// feedsOf are the images of set as inputs, a whole number of batches where the
// model fixes the batch.
func (t *task) feedsOf(ctx context.Context, set *data.Set, stage string) calibrate.Feeds {
	in := engine.Feeds(t.file.model)[0]
	batch, fixed := t.batch()
	load := sync.OnceValues(func() (*data.Loaded, error) { return set.Preload(ctx, t.file.pre, feedLimit) })
	return func(yield func(map[string]*graph.Tensor, error) bool) {
		done := 0
		batches := set.Batches(ctx, nil, batch, t.file.pre)
		if loaded, err := load(); err == nil {
			batches = loaded.Batches(ctx, nil, batch)
		}
		for b, err := range batches {
			if err == nil && fixed && len(b.Labels) < batch {
				return // a batch of fixed size cannot be filled
			}
			done += len(b.Labels)
			if err == nil {
				t.o.Progress(stage, done, set.Len())
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
func (t *task) labels() (one []int, several [][]int) {
	if t.o.Calibration == "synthetic" || t.classOf == nil {
		return nil, nil
	}
	of := map[string]int{}
	for i, c := range t.set.Classes {
		of[c] = t.classOf[i]
		if t.wanted != nil && t.o.Logits == "sliced" {
			of[c] = measure.Sliced([]int{t.classOf[i]}, t.wanted)[0]
		}
	}
	for i, x := range t.fit.Samples {
		var logits []int
		for _, c := range t.fit.Of(i) {
			if l := of[t.fit.Classes[c]]; l >= 0 {
				logits = append(logits, l)
			}
		}
		switch {
		case t.set.Multi:
			several = append(several, logits)
		case x.Class >= 0:
			one = append(one, logits[0])
		default:
			one = append(one, -1)
		}
	}
	return one, several
}

// judgeBase measures how well the base does on the images that judge, once for
// all sizes. classOf is the logit of each of their classes.
func (t *task) judgeBase(ctx context.Context, classOf []int) (*measure.Accuracy, error) {
	t.judging.Lock()
	defer t.judging.Unlock()
	if t.accuracy != nil {
		return t.accuracy, nil
	}
	var a *measure.Accuracy
	err := t.store.remember("accuracy", &a, func() (err error) {
		a, err = t.judge(ctx, measure.Source{Path: t.file.path}, "judge base", classOf, t.wanted, t.names)
		return err
	})
	t.accuracy = a
	return a, err
}

// judge measures a model on the images that judge.
func (t *task) judge(ctx context.Context, source measure.Source, stage string, classOf, wanted []int, names []string) (*measure.Accuracy, error) {
	m, err := measure.Open(source, t.eng)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	return measure.Evaluate(ctx, m, measure.FromSet(t.test, t.file.pre), classOf,
		measure.EvalOptions{Wanted: wanted, Names: names, Progress: progress(t.o.Progress, stage)})
}
