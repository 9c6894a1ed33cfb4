package derive

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"nuwa/exporter"
	"nuwa/internal/data"
	"nuwa/internal/examine"
	"nuwa/internal/fault"
	"nuwa/internal/files"
	"nuwa/internal/lowering"
	"nuwa/internal/measure"
	"nuwa/internal/modelfile"
	"nuwa/internal/ort"
	"nuwa/internal/ranking"
	"nuwa/internal/report"
	"nuwa/internal/task"
	"nuwa/passes"
)

// Slim is one model that a size becomes, spelled for what runs it.
type Slim struct {
	*Size
	o     task.Options // of its own: output, norms, target, and whether to measure
	began time.Time
	pre   data.Preprocess // how images become its input
	plain measure.Size    // before it was lowered, which changes neither what it computes nor its weights

	choice    *lowering.Choice  // how it is quantized; nil where it is not
	quantized *report.Quantized // what that cost; nil for a draft

	State  *passes.State
	path   string // where the model lies: beside its name until it is proven
	Result *report.Result
	Proven func() error // called before the model gets its name; nil for none
}

// Spell spells a size by the passes in list, and lowers it for its target.
func (s *Size) Spell(ctx context.Context, o task.Options, list []passes.Pass) (*Slim, error) {
	return s.spell(ctx, o, list, false)
}

func (s *Size) spell(ctx context.Context, o task.Options, list []passes.Pass, draft bool) (*Slim, error) {
	m := &Slim{Size: s, o: o, began: time.Now(), State: s.state.Fork(), pre: s.File.Pre, choice: s.choice}
	m.State.Options.KeepNorms = o.Norms == "keep"
	m.State.Log, m.State.Progress = o.Log, o.Progress
	reports, err := (&passes.Manager{SkipProof: draft}).Run(ctx, m.State, list)
	if err != nil {
		return nil, err
	}
	m.Result = &report.Result{
		Schema: report.Schema, Model: o.Model, Recipe: o.Recipe, RateAsked: o.Rate, Classes: s.Classes, Judged: s.Judged, Blocks: s.widths(),
		Purification: m.State.Purified, Passes: slices.Concat(s.reports, reports), Declined: examine.Declined(s.state.ViT),
		Notes: slices.Concat(s.Notes, m.State.Notes), Budget: s.budget,
	}
	if m.State.Other != nil {
		m.Result.Classes = append(slices.Clone(s.Classes), task.OtherName)
	}
	if m.plain, err = measure.SizeOf(ctx, s.Eng, m.State.Model, ""); err != nil {
		return nil, err
	}
	return m, m.lower(ctx, draft)
}

// Finish puts provenance into the model and, unless it is a dry run, writes it:
// validated in ONNX Runtime, judged and timed before it gets its name, so that
// after an error there is no output.
func (s *Slim) Finish(ctx context.Context) error {
	s.Result.Seconds = time.Since(s.began).Seconds()
	slim := s.plain
	base, err := s.Sizes(ctx)
	if err != nil {
		return err
	}
	s.Result.Rate = 1 - float64(slim.MACs)/float64(base.MACs)
	if r := s.State.Options.Recipe; r.Allocate == passes.AllocateSensitivity && s.State.Saved > 0 {
		switch r.Cost {
		case passes.CostParameters:
			s.Result.Saved = &report.Saved{What: r.Cost, Part: 1 - float64(slim.Params)/float64(base.Params)}
		case passes.CostLatency:
			s.Result.Saved = &report.Saved{What: r.Cost, Part: s.State.Saved}
		}
	}
	s.Result.Summary.Models = []measure.Report{{Name: s.File.Label(), Size: &base}, {Name: slimName(s.o.Output), Size: &slim}}
	if err := s.provenance(); err != nil || s.o.DryRun {
		return err
	}
	_, err = exporter.Write(s.State.Model, s.o.Output, exporter.Options{Force: s.o.Force, Validate: func(tmp string) error {
		s.path = tmp
		proofs := []func(context.Context) error{s.meetTarget, s.judge, s.judgeOther, s.bench}
		err := validate(ctx, s.Eng, s.State.Model, s.o.Output, tmp)
		for _, proof := range proofs {
			if err == nil {
				err = proof(ctx)
			}
		}
		if err == nil {
			slim.Bytes, err = folderBytes(filepath.Dir(tmp))
		}
		if err == nil {
			s.Result.Provenance.Output, err = files.Digest(tmp)
		}
		s.Result.Output = s.o.Output
		if err == nil && s.Proven != nil {
			err = s.Proven()
		}
		return err
	}})
	s.path = s.o.Output
	return err
}

// folderBytes returns the size of the files in a folder: of a model that is
// written, with its external data.
func folderBytes(dir string) (n int64, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if info, e := e.Info(); err == nil {
			n, err = n+info.Size(), e
		}
	}
	return n, err
}

func slimName(output string) string {
	if output == "" {
		return "slim (planned)"
	}
	return filepath.Base(output)
}

// provenance records in the result what it was made from, and in the metadata
// what the model is and how to feed it.
func (s *Slim) provenance() error {
	digest, err := s.SHA256()
	if err != nil {
		return err
	}
	lib, err := ort.Load("") // the one that is loaded
	if err != nil {
		return err
	}
	p := &report.Provenance{Version: modelfile.Version, Runtime: lib.Version, Base: digest, Seed: s.o.Seed}
	if s.Fit != nil {
		p.Images, p.Preprocess = s.Fit.Len(), s.pre.String()+" ("+s.File.PreFrom+")"
	}
	s.Result.Provenance = p
	m := s.State.Model
	m.SetMeta(modelfile.MetaVersion, modelfile.Version)
	m.SetMeta(modelfile.MetaBase, digest)
	m.SetMeta(modelfile.MetaRecipe, s.o.Recipe)
	for _, e := range []struct {
		key   string
		value any
		skip  bool
	}{
		{modelfile.MetaPreprocess, s.pre, s.File.PreFrom == modelfile.FromDefaults || s.File.NoImages != nil},
		{modelfile.MetaWidths, s.State.Widths, false},
		{modelfile.MetaClasses, s.Result.Classes, len(s.Classes) == 0 || s.o.Logits == "full"},
		{modelfile.MetaClasses, s.Names, len(s.Names) == 0 || s.o.Logits != "full"},
		{modelfile.MetaMultiLabel, true, s.Set == nil || !s.Set.Multi},
		{modelfile.MetaWanted, s.Wanted, s.Wanted == nil || s.o.Logits != "full" || s.Unmask},
	} {
		if e.skip {
			continue
		}
		text, err := json.Marshal(e.value)
		if err != nil {
			return err
		}
		m.SetMeta(e.key, string(text))
	}
	return nil
}

// judge measures the accuracy of both models on the same images.
func (s *Slim) judge(ctx context.Context) error {
	if s.Test == nil || s.o.DryRun || len(s.Names) == 0 {
		return nil
	}
	classOf, err := s.LogitsOf(s.Test.Classes)
	if err != nil {
		return err
	}
	models := s.Result.Summary.Models
	if models[0].Accuracy, err = s.JudgeBase(ctx, classOf); err != nil {
		return err
	}
	classOf, wanted := s.decision(classOf)
	models[1].Accuracy, err = s.Task.Judge(ctx, measure.Source{Name: s.o.Output, Path: s.path}, s.pre, "judge slim", classOf, wanted, s.Classes)
	return err
}

// decision turns logits of the base into those of the slim model, and gives
// those of them that its decision is among; nil for all.
func (s *Slim) decision(classOf []int) (slimOf, wanted []int) {
	slimOf, wanted = s.SlimLogits(classOf)
	if s.State.Other != nil { // all decides among the wanted logits and that of the others
		wanted = ranking.UpTo(len(s.Wanted))
	}
	return slimOf, wanted
}

// bench times both models in turns.
func (s *Slim) bench(ctx context.Context) error {
	if s.o.SkipBench || s.o.DryRun || s.File.NoImages != nil {
		return nil
	}
	b, err := examine.BenchFiles(ctx, s.Eng, examine.BenchOptions{Seed: s.o.Seed, Progress: s.o.Progress},
		s.File, &modelfile.File{Name: slimName(s.o.Output), Path: s.path, Model: s.State.Model})
	s.Result.Summary.Bench = b
	return err
}

// judgeOther measures how the slim model treats images of other classes.
func (s *Slim) judgeOther(ctx context.Context) error {
	if s.State.Other == nil || s.Test == nil {
		return nil
	}
	test := s.Test
	if s.Split {
		test, _ = s.Set.Split(s.o.Seed, task.ValidationPart)
	}
	classOf, err := s.LogitsOf(test.Classes)
	if err != nil {
		return err
	}
	m, err := measure.Open(measure.Source{Name: s.o.Output, Path: s.path}, s.Eng.Sweeping())
	if err != nil {
		return err
	}
	defer m.Close()
	r, err := measure.Reject(ctx, m, measure.FromSet(test, s.pre), measure.Sliced(classOf, s.Wanted), s.State.Other.Threshold)
	if fault.KindOf(err) == fault.Data {
		s.Result.Notes = append(s.Result.Notes, fmt.Sprintf("how other classes are rejected was not measured: %v", err))
		return nil
	}
	s.Result.Other = &report.Other{Other: *s.State.Other, Measured: r}
	return err
}
