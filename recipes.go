package nuwa

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"gonum.org/v1/gonum/mat"

	"nuwa/internal/cache"
	"nuwa/internal/data"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/grid"
	"nuwa/internal/measure"
	"nuwa/passes"
	"nuwa/passes/calibrate"
)

// RecipeBenchOptions say which experiment BenchRecipes makes.
type RecipeBenchOptions struct {
	Config   string // the file that describes it
	Log      string // where outcomes are kept, so that it goes on where it was interrupted; "" means Config with .cells
	Output   string // the folder for RESULTS.md and what it shows; "" writes nothing
	Command  string // that makes it, for RESULTS.md
	Runtime  Runtime
	Progress func(stage string, done, total int)
}

// RecipeBench is what became of an experiment.
type RecipeBench struct {
	Cells       int `json:"cells"`
	Made        int `json:"made"`        // in this run; the others were kept from earlier ones
	Unreachable int `json:"unreachable"` // rates that a recipe cannot reach
}

// BenchRecipes compares recipes: it makes a model for every model, task, seed,
// recipe and rate that the experiment names, judges it, and sums up. Work is
// shared where it can be: a base is cleaned once, statistics are gathered once
// for all rates and for all recipes that need the same.
func BenchRecipes(ctx context.Context, o RecipeBenchOptions) (*RecipeBench, error) {
	if o.Progress == nil {
		o.Progress = func(string, int, int) {}
	}
	if o.Log == "" {
		o.Log = o.Config + ".cells"
	}
	c, err := grid.Load(o.Config)
	if err != nil {
		return nil, err
	}
	eng, err := start(o.Runtime)
	if err != nil {
		return nil, err
	}
	log, err := grid.OpenLog(o.Log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	e := &experiment{o: o, eng: eng, config: c}
	res := &RecipeBench{}
	var outcomes []grid.Outcome
	cells := c.Cells()
	for i, cell := range cells {
		o.Progress(fmt.Sprintf("%s, %s, seed %d: %s", cell.Model.Name, cell.Task.Name, cell.Seed, cell.Recipe.Name), i, len(cells))
		key := e.key(cell)
		out, known := log.Find(key)
		if !known {
			if out, err = e.make(ctx, cell); err != nil {
				return nil, fmt.Errorf("%s, %s, seed %d, %s, rate %g: %w", cell.Model.Name, cell.Task.Name, cell.Seed, cell.Recipe.Name, cell.Rate, err)
			}
			out.Key = key
			if err := log.Add(out); err != nil {
				return nil, err
			}
			res.Made++
		}
		res.Cells++
		if out.Unreachable != "" {
			res.Unreachable++
		}
		outcomes = append(outcomes, out)
	}
	o.Progress("", len(cells), len(cells))
	if o.Output == "" {
		return res, nil
	}
	return res, grid.Write(o.Output, c, outcomes, o.Command)
}

// experiment makes cells, and keeps what neighbors share.
type experiment struct {
	o      RecipeBenchOptions
	eng    *engine.Engine
	config *grid.Config

	model *grid.Model
	base  *base

	at     string // the model, task and seed that follows is of
	shared map[string]reflect.Value
	task   *task
	recipe *grid.Recipe
	learn  float64
	judges *judges
}

// judges are images in memory that models are judged on, and how the base does.
type judges struct {
	test, held        calibrate.Feeds
	testClass, heldOf []int // the wanted class of each image, as a logit of a slim model
	baseRight         string
	baseHeld          float64
}

// options are those of Derive that a cell stands for.
func (e *experiment) options(c grid.Cell) Options {
	r := c.Recipe
	return Options{
		Model: c.Model.Base, Data: c.Model.Data, Test: c.Model.Test, Labels: c.Model.Labels, Classes: c.Task.Classes, Rate: c.Rate, Align: r.Align,
		Recipe: r.Recipe, Purify: r.Purify, Images: r.Images, Seed: c.Seed, DryRun: true, Runtime: e.o.Runtime,
		Preprocess: Preprocess{Mean: c.Model.Mean, Std: c.Model.Std, Resize: c.Model.Resize},
		Strategies: Recipe{Select: r.Select, Reconstruct: r.Reconstruct, Statistics: r.Statistics, Attention: r.Attention, Allocate: r.Allocate,
			Errors: r.Errors, Rows: r.Rows, Tokens: r.Tokens, Refit: r.Refit},
	}
}

// key tells cells apart whose outcomes may differ. It names files, and trusts
// that what they hold stays.
func (e *experiment) key(c grid.Cell) string {
	return cache.Key{program(), fmt.Sprintf("%+v", e.options(c)), c.Recipe.Name, c.Model.Name, c.Task.Name, e.config.Validation, e.config.Latency}.Digest()
}

// make makes one model and judges it.
func (e *experiment) make(ctx context.Context, c grid.Cell) (grid.Outcome, error) {
	out := grid.Outcome{Model: c.Model.Name, Task: c.Task.Name, Recipe: c.Recipe.Name, Seed: c.Seed, Asked: c.Rate}
	o, err := e.options(c).withDefaults()
	if err != nil {
		return out, err
	}
	if err := e.prepare(ctx, c, o); err != nil {
		return out, err
	}
	began := time.Now()
	size, err := e.task.newSize(ctx, o, passes.Slimming)
	if fault.KindOf(err) == fault.Unreachable {
		out.Unreachable = err.Error()
		return out, nil
	}
	if err != nil {
		return out, err
	}
	m, err := size.newSlim(ctx, o, passes.Finishing)
	if err != nil {
		return out, err
	}
	out.Seconds, out.Learn = time.Since(began).Seconds(), e.learn
	slim, err := measure.SizeOf(ctx, e.eng, m.state.Model, "")
	if err != nil {
		return out, err
	}
	base, err := e.base.sizes(ctx)
	if err != nil {
		return out, err
	}
	out.MACs, out.Params, out.Rate = slim.MACs, slim.Params, 1-float64(slim.MACs)/float64(base.MACs)
	out.BaseRight, out.BaseValidation = e.judges.baseRight, e.judges.baseHeld
	z, err := e.logits(ctx, m.state, e.judges.test)
	if err != nil {
		return out, err
	}
	out.Right, _ = decisions(z, nil, e.judges.testClass)
	if e.judges.held != nil {
		if z, err = e.logits(ctx, m.state, e.judges.held); err != nil {
			return out, err
		}
		_, out.Validation = decisions(z, nil, e.judges.heldOf)
	}
	if e.config.Latency && c.Seed == e.config.Seeds[0] {
		if out.BaseLatency, out.Latency, err = e.latencies(ctx, m); err != nil {
			return out, err
		}
	}
	return out, nil
}

// latencies times the base and a slim model in turns, one image each.
func (e *experiment) latencies(ctx context.Context, m *slim) (base, slim time.Duration, err error) {
	var models []*measure.Model
	for _, src := range []measure.Source{{Path: e.model.Base}, {Name: "slim", Graph: m.state.Model}} {
		x, err := measure.Open(src, e.eng)
		if err != nil {
			return 0, 0, err
		}
		defer x.Close()
		models = append(models, x)
	}
	b, err := measure.Bench(ctx, models, measure.BenchOptions{Image: imageDims(m.state.Model), MinTime: 200 * time.Millisecond})
	if err != nil {
		return 0, 0, err
	}
	base = b.Models[0].Median
	return base, time.Duration(float64(base) / b.Speedups[0].Median), nil // the ratio within rounds, which a busy machine does not spoil
}

// prepare makes the base, task and learned state of a cell the present ones.
func (e *experiment) prepare(ctx context.Context, c grid.Cell, o Options) (err error) {
	if e.model != c.Model {
		if e.base, err = openBase(ctx, e.eng, o); err != nil {
			return err
		}
		e.model, e.at, e.recipe = c.Model, "", nil
	}
	if at := fmt.Sprint(c.Task.Name, " ", c.Seed); e.at != at {
		e.at, e.shared, e.recipe, e.judges = at, map[string]reflect.Value{}, nil, nil
	}
	if e.recipe == c.Recipe {
		return nil
	}
	if e.task != nil {
		e.task.images.close()
		e.task = nil
	}
	began := time.Now()
	im, err := openImages(o)
	if err != nil {
		return err
	}
	t, err := newTask(ctx, e.base, im, o)
	if err != nil {
		im.close()
		return err
	}
	e.task, e.recipe = t, c.Recipe
	if t.wanted == nil || t.set.Multi {
		return &fault.Error{Kind: fault.Usage, Where: "tasks", Got: "all classes, or images with several", Want: "some of the classes, one per image"}
	}
	moments := t.o.recipe()
	t.sharing = func(what string, into any, find func() error) error {
		key := fmt.Sprint(what, moments.Tokens, moments.Rows, moments.Select == passes.SelectTaylor, moments.Errors != passes.ErrorsPlain, o.Purify, t.fit.Len())
		if v, ok := e.shared[key]; ok {
			reflect.ValueOf(into).Elem().Set(v)
			return nil
		}
		err := find()
		e.shared[key] = reflect.ValueOf(into).Elem()
		return err
	}
	if err := t.learn(ctx, slices.Concat(passes.Anchoring, passes.Learning)); err != nil {
		return err
	}
	e.learn = time.Since(began).Seconds()
	if e.judges == nil {
		e.judges, err = e.newJudges(ctx)
	}
	return err
}

// newJudges decodes the images that judge, and judges the base.
func (e *experiment) newJudges(ctx context.Context) (*judges, error) {
	t, j := e.task, &judges{}
	classOf, err := t.logitsOf(t.test.Classes)
	if err != nil {
		return nil, err
	}
	of := map[string]int{}
	var names []string
	for i, l := range measure.Sliced(classOf, t.wanted) {
		if of[t.test.Classes[i]] = l; l >= 0 {
			names = append(names, t.test.Classes[i])
		}
	}
	base := &passes.State{Model: t.file.model}
	take := func(set *data.Set) (calibrate.Feeds, []int, *mat.Dense, error) {
		var class []int
		for _, x := range set.Samples {
			class = append(class, of[set.Classes[x.Class]])
		}
		feeds := t.feedsOf(ctx, set, "judge")
		z, err := e.logits(ctx, base, feeds)
		return feeds, class, z, err
	}
	test, err := t.test.Select(names)
	if err != nil {
		return nil, err
	}
	var z *mat.Dense
	if j.test, j.testClass, z, err = take(test); err != nil {
		return nil, err
	}
	j.baseRight, _ = decisions(z, t.wanted, j.testClass)
	if n := e.config.Validation; n > 0 {
		if held := t.pool.Without(t.fit).Take(n, t.o.Seed); held.Len() > 0 {
			if j.held, j.heldOf, z, err = take(held); err != nil {
				return nil, err
			}
			_, j.baseHeld = decisions(z, t.wanted, j.heldOf)
		}
	}
	return j, nil
}

// logits runs a model over images.
func (e *experiment) logits(ctx context.Context, s *passes.State, feeds calibrate.Feeds) (*mat.Dense, error) {
	m, err := measure.Open(measure.Source{Graph: s.Model}, e.eng)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	out, err := m.Output()
	if err != nil {
		return nil, err
	}
	of, err := calibrate.Values(ctx, e.eng, s.Model, []string{out.Name}, feeds)
	return of[out.Name], err
}

// decisions tells for each row of logits whether the largest of those wanted,
// nil for all, is that of the image's class: a 1 or a 0 each, and the part of
// ones.
func decisions(z *mat.Dense, wanted, class []int) (right string, accuracy float64) {
	var b strings.Builder
	n, _ := z.Dims() // fewer images where the model fixes the batch
	class = class[:min(n, len(class))]
	for i, c := range class {
		row := z.RawRowView(i)
		best, at := 0, -1
		choices := len(wanted)
		if wanted == nil {
			choices = len(row)
		}
		for k := range choices {
			l := k
			if wanted != nil {
				l = wanted[k]
			}
			if at < 0 || row[l] > row[at] {
				best, at = k, l
			}
		}
		if best == c {
			b.WriteByte('1')
			accuracy += 1 / float64(len(class))
		} else {
			b.WriteByte('0')
		}
	}
	return b.String(), accuracy
}
