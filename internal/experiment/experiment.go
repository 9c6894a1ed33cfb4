package experiment

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"nuwa/internal/cache"
	"nuwa/internal/derive"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/grid"
	"nuwa/internal/measure"
	"nuwa/internal/modelfile"
	"nuwa/internal/task"
	"nuwa/passes"
)

// Options say which experiment BenchRecipes makes.
type Options struct {
	Config   string // the file that describes it
	Log      string // where outcomes are kept, so that it goes on where it was interrupted; "" means Config with .cells
	Output   string // the folder for RESULTS.md and what it shows; "" writes nothing
	Command  string // that makes it, for RESULTS.md
	Runtime  modelfile.Runtime
	Progress func(stage string, done, total int)
}

// Result is what became of an experiment.
type Result struct {
	Cells       int `json:"cells"`
	Made        int `json:"made"`        // in this run; the others were kept from earlier ones
	Unreachable int `json:"unreachable"` // rates that a recipe cannot reach
}

// Run compares recipes: it makes a model for every model, task, seed,
// recipe and rate that the experiment names, judges it, and sums up. Work is
// shared where it can be: a base is cleaned once, statistics are gathered once
// for all rates and for all recipes that need the same.
func Run(ctx context.Context, o Options) (*Result, error) {
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
	eng, err := o.Runtime.Start()
	if err != nil {
		return nil, err
	}
	log, err := grid.OpenLog(o.Log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	e := &experiment{o: o, eng: eng, config: c}
	res := &Result{}
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
	o      Options
	eng    *engine.Engine
	config *grid.Config

	model *grid.Model
	base  *task.Base

	at     string // the model, task and seed that follows is of
	shared map[string]reflect.Value
	task   *task.Task
	recipe *grid.Recipe
	learn  float64
	judges *judges
}

// options are those of Derive that a cell stands for.
func (e *experiment) options(c grid.Cell) task.Options {
	r := c.Recipe
	return task.Options{
		Model: c.Model.Base, Data: c.Model.Data, Test: c.Model.Test, Labels: c.Model.Labels, Classes: c.Task.Classes, Rate: c.Rate, Align: r.Align,
		Recipe: r.Recipe, Purify: r.Purify, Images: r.Images, Seed: c.Seed, DryRun: true, Runtime: e.o.Runtime,
		Preprocess: modelfile.Preprocess{Mean: c.Model.Mean, Std: c.Model.Std, Resize: c.Model.Resize},
		Strategies: passes.Recipe{Select: r.Select, Reconstruct: r.Reconstruct, Statistics: r.Statistics, Objective: r.Objective, Attention: r.Attention, Allocate: r.Allocate,
			Moves: r.Moves, Cost: r.Cost, Errors: r.Errors, Rows: r.Rows, Tokens: r.Tokens, Refit: r.Refit},
	}
}

// key tells cells apart whose outcomes may differ. It names files, and trusts
// that what they hold stays.
func (e *experiment) key(c grid.Cell) string {
	return cache.Key{task.Program(), fmt.Sprintf("%+v", e.options(c)), c.Recipe.Name, c.Model.Name, c.Task.Name, e.config.Validation, e.config.Latency}.Digest()
}

// make makes one model and judges it.
func (e *experiment) make(ctx context.Context, c grid.Cell) (grid.Outcome, error) {
	out := grid.Outcome{Model: c.Model.Name, Task: c.Task.Name, Recipe: c.Recipe.Name, Seed: c.Seed, Asked: c.Rate}
	o, err := task.WithDefaults(e.options(c))
	if err != nil {
		return out, err
	}
	if err := e.prepare(ctx, c, o); err != nil {
		return out, err
	}
	began := time.Now()
	size, err := derive.NewSize(ctx, e.task, o, 0, passes.Slimming)
	if fault.KindOf(err) == fault.Unreachable {
		out.Unreachable = err.Error()
		return out, nil
	}
	if err != nil {
		return out, err
	}
	m, err := size.Spell(ctx, o, passes.Finishing)
	if err != nil {
		return out, err
	}
	out.Seconds, out.Learn = time.Since(began).Seconds(), e.learn
	slim, err := measure.SizeOf(ctx, e.eng, m.State.Model, "")
	if err != nil {
		return out, err
	}
	base, err := e.base.Sizes(ctx)
	if err != nil {
		return out, err
	}
	out.MACs, out.Params, out.Rate = slim.MACs, slim.Params, 1-float64(slim.MACs)/float64(base.MACs)
	out.BaseRight, out.BaseValidation = e.judges.baseRight, e.judges.baseHeld
	z, err := e.logits(ctx, m.State, e.judges.test)
	if err != nil {
		return out, err
	}
	out.Right, _ = decisions(z, nil, e.judges.testClass)
	if e.judges.held != nil {
		if z, err = e.logits(ctx, m.State, e.judges.held); err != nil {
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
func (e *experiment) latencies(ctx context.Context, m *derive.Slim) (base, slim time.Duration, err error) {
	var models []*measure.Model
	for _, src := range []measure.Source{{Path: e.model.Base}, {Name: "slim", Graph: m.State.Model}} {
		x, err := measure.Open(src, e.eng)
		if err != nil {
			return 0, 0, err
		}
		defer x.Close()
		models = append(models, x)
	}
	b, err := measure.Bench(ctx, models, measure.BenchOptions{Image: modelfile.ImageDims(m.State.Model), MinTime: 200 * time.Millisecond})
	if err != nil {
		return 0, 0, err
	}
	base = b.Models[0].Median
	return base, time.Duration(float64(base) / b.Speedups[0].Median), nil // the ratio within rounds, which a busy machine does not spoil
}

// prepare makes the base, task and learned state of a cell the present ones.
func (e *experiment) prepare(ctx context.Context, c grid.Cell, o task.Options) (err error) {
	if e.model != c.Model {
		if e.base, err = task.OpenBase(ctx, e.eng, o); err != nil {
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
		e.task.Images.Close()
		e.task = nil
	}
	began := time.Now()
	im, err := task.OpenImages(o)
	if err != nil {
		return err
	}
	t, err := task.New(ctx, e.base, im, o)
	if err != nil {
		im.Close()
		return err
	}
	e.task, e.recipe = t, c.Recipe
	if t.Wanted == nil || t.Set.Multi {
		return &fault.Error{Kind: fault.Usage, Where: "tasks", Got: "all classes, or images with several", Want: "some of the classes, one per image"}
	}
	moments := task.RecipeOf(t.Options)
	t.Sharing = func(what string, into any, find func() error) error {
		key := fmt.Sprint(what, moments.Tokens, moments.Rows, moments.Select == passes.SelectTaylor, moments.Errors != passes.ErrorsPlain, moments.Refit != passes.RefitNone, o.Purify, t.Fit.Len())
		if v, ok := e.shared[key]; ok {
			reflect.ValueOf(into).Elem().Set(v)
			return nil
		}
		err := find()
		e.shared[key] = reflect.ValueOf(into).Elem()
		return err
	}
	if err := t.Learn(ctx, slices.Concat(passes.Anchoring, passes.Learning)); err != nil {
		return err
	}
	e.learn = time.Since(began).Seconds()
	if e.judges == nil {
		e.judges, err = e.newJudges(ctx)
	}
	return err
}
