package nuwa

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"time"

	"nuwa/exporter"
	"nuwa/internal/measure"
	"nuwa/internal/ort"
	"nuwa/internal/report"
	"nuwa/passes"
)

// slim is one model that a size becomes, spelled for what runs it.
type slim struct {
	*size
	o     Options // of its own: output, norms, and whether to measure
	began time.Time

	state  *passes.State
	path   string // where the model lies: beside its name until it is proven
	result *Result
	proven func() error // called before the model gets its name; nil for none
}

// newSlim spells a size by the passes in list.
func (s *size) newSlim(ctx context.Context, o Options, list []passes.Pass) (*slim, error) {
	m := &slim{size: s, o: o, began: time.Now(), state: s.state.Fork()}
	m.state.Options.KeepNorms = o.Norms == "keep"
	m.state.Log, m.state.Progress = o.Log, o.Progress
	reports, err := (&passes.Manager{}).Run(ctx, m.state, list)
	if err != nil {
		return nil, err
	}
	m.result = &Result{
		Schema: report.Schema, Model: o.Model, Recipe: o.Recipe, RateAsked: o.Rate, Classes: s.classes, Judged: s.judged, Blocks: s.widths(),
		Purification: m.state.Purified, Passes: slices.Concat(s.reports, reports), Declined: declined(s.state.ViT),
		Notes: slices.Concat(s.notes, m.state.Notes), Budget: s.budget,
	}
	if m.state.Other != nil {
		m.result.Classes = append(slices.Clone(s.classes), otherName)
	}
	return m, m.lower(ctx)
}

// finish puts provenance into the model and, unless it is a dry run, writes it:
// validated in ONNX Runtime, judged and timed before it gets its name, so that
// after an error there is no output.
func (s *slim) finish(ctx context.Context) error {
	s.result.Seconds = time.Since(s.began).Seconds()
	slim, err := measure.SizeOf(ctx, s.eng, s.state.Model, "")
	if err != nil {
		return err
	}
	base, err := s.sizes(ctx)
	if err != nil {
		return err
	}
	s.result.Rate = 1 - float64(slim.MACs)/float64(base.MACs)
	s.result.Summary.Models = []measure.Report{{Name: s.file.label(), Size: &base}, {Name: slimName(s.o.Output), Size: &slim}}
	if err := s.provenance(); err != nil || s.o.DryRun {
		return err
	}
	_, err = exporter.Write(s.state.Model, s.o.Output, exporter.Options{Force: s.o.Force, Validate: func(tmp string) error {
		s.path = tmp
		proofs := []func(context.Context) error{s.judge, s.judgeOther, s.bench}
		err := validate(ctx, s.eng, s.state.Model, s.o.Output, tmp)
		for _, proof := range proofs {
			if err == nil {
				err = proof(ctx)
			}
		}
		if err == nil {
			slim.Bytes, err = folderBytes(filepath.Dir(tmp))
		}
		if err == nil {
			s.result.Provenance.Output, err = fileDigest(tmp)
		}
		s.result.Output = s.o.Output
		if err == nil && s.proven != nil {
			err = s.proven()
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
func (s *slim) provenance() error {
	digest, err := s.sha256()
	if err != nil {
		return err
	}
	lib, err := ort.Load("") // the one that is loaded
	if err != nil {
		return err
	}
	p := &report.Provenance{Version: Version, Runtime: lib.Version, Base: digest, Seed: s.o.Seed}
	if s.fit != nil {
		p.Images, p.Preprocess = s.fit.Len(), s.file.pre.String()+" ("+s.file.preFrom+")"
	}
	s.result.Provenance = p
	m := s.state.Model
	m.SetMeta(metaVersion, Version)
	m.SetMeta(metaBase, digest)
	m.SetMeta(metaRecipe, s.o.Recipe)
	for _, e := range []struct {
		key   string
		value any
		skip  bool
	}{
		{metaPreprocess, s.file.pre, s.file.preFrom == fromDefaults || s.file.noImages != nil},
		{metaWidths, s.state.Widths, false},
		{metaClasses, s.result.Classes, len(s.classes) == 0 || s.o.Logits == "full"},
		{metaClasses, s.names, len(s.names) == 0 || s.o.Logits != "full"},
		{metaMultiLabel, true, s.set == nil || !s.set.Multi},
		{metaWanted, s.wanted, s.wanted == nil || s.o.Logits != "full" || s.unmask},
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
func (s *slim) judge(ctx context.Context) error {
	if s.test == nil || s.o.DryRun || len(s.names) == 0 {
		return nil
	}
	classOf, err := s.logitsOf(s.test.Classes)
	if err != nil {
		return err
	}
	models := s.result.Summary.Models
	if models[0].Accuracy, err = s.judgeBase(ctx, classOf); err != nil {
		return err
	}
	classOf, wanted := s.slimLogits(classOf)
	if s.state.Other != nil { // all decides among the wanted logits and that of the others
		wanted = upTo(len(s.wanted))
	}
	models[1].Accuracy, err = s.task.judge(ctx, measure.Source{Name: s.o.Output, Path: s.path}, "judge slim", classOf, wanted, s.classes)
	return err
}

// slimLogits turns logits of the base into those of the slim model, and gives
// those of them that count; nil for all.
func (t *task) slimLogits(classOf []int) (slimOf, wanted []int) {
	if t.wanted != nil && t.o.Logits == "sliced" {
		return measure.Sliced(classOf, t.wanted), nil
	}
	return classOf, t.wanted
}

// bench times both models in turns.
func (s *slim) bench(ctx context.Context) error {
	if s.o.SkipBench || s.o.DryRun || s.file.noImages != nil {
		return nil
	}
	b, err := benchOpened(ctx, s.eng, BenchOptions{Seed: s.o.Seed, Progress: s.o.Progress},
		&opened{path: s.o.Model, model: s.file.model}, &opened{name: slimName(s.o.Output), path: s.path, model: s.state.Model})
	s.result.Summary.Bench = b
	return err
}
