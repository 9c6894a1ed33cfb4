package nuwa

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"nuwa/exporter"
	"nuwa/internal/measure"
	"nuwa/passes"
	"nuwa/passes/structure"
)

// size is one slim model of a task.
type size struct {
	*task
	o     Options // what belongs to the task is the task's
	began time.Time

	state  *passes.State
	slim   string // where the slim model lies: beside its name until it is proven
	result *Result
}

// sizeOptions sets what the passes are told about one size.
func (o Options) sizeOptions(p *passes.Options) {
	p.Rate, p.Part, p.Align, p.KeepNorms, p.Fixed = o.Rate, o.Widths.Part, o.Align, o.Norms == "keep", nil
	if w := o.Widths; !w.IsZero() {
		p.Fixed = &passes.Width{QK: w.QK, VO: w.VO, Hidden: w.Hidden}
	}
}

// newSize slims what the task has learned by the passes in list.
func (t *task) newSize(ctx context.Context, o Options, list []passes.Pass) (*size, error) {
	s := &size{task: t, o: o, began: time.Now(), state: t.state.Fork()}
	o.sizeOptions(&s.state.Options)
	s.state.Log, s.state.Progress = o.Log, o.Progress
	reports, err := (&passes.Manager{}).Run(ctx, s.state, list)
	if err != nil {
		return nil, err
	}
	s.result = &Result{
		Model: o.Model, Recipe: o.Recipe, RateAsked: o.Rate, Classes: t.classes, Judged: t.judged,
		Purification: s.state.Purified, Passes: slices.Concat(t.reports, reports), Declined: declined(s.state.ViT),
		Notes: slices.Concat(t.notes, s.state.Notes),
	}
	for i, b := range s.state.ViT.Blocks {
		from, to := s.state.Base[i], s.state.Widths[i]
		w := BlockWidths{QK: [2]int{from.QK, to.QK}, VO: [2]int{from.VO, to.VO}, Hidden: [2]int{from.Hidden, to.Hidden}}
		if b.Attention != nil {
			w.Heads = b.Attention.Heads
		}
		s.result.Blocks = append(s.result.Blocks, w)
	}
	return s, nil
}

func declined(vit *structure.ViT) []Declined {
	var out []Declined
	for i, b := range vit.Blocks {
		if a := b.Attention; a != nil {
			if a.QKReason != "" {
				out = append(out, Declined{Where: fmt.Sprintf("block %d", i), What: "q/k", Reason: a.QKReason})
			}
			if a.VOReason != "" {
				out = append(out, Declined{Where: fmt.Sprintf("block %d", i), What: "v/o", Reason: a.VOReason})
			}
		}
		if b.MLP != nil && b.MLP.Reason != "" {
			out = append(out, Declined{Where: fmt.Sprintf("block %d", i), What: "hidden", Reason: b.MLP.Reason})
		}
	}
	for _, x := range vit.Declined {
		out = append(out, Declined{Where: x.Node.String(), What: x.What, Reason: x.Reason})
	}
	return out
}

// finish puts provenance into the model and, unless it is a dry run, writes it:
// validated in ONNX Runtime, judged and timed before it gets its name, so that
// after an error there is no output.
func (s *size) finish(ctx context.Context) error {
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
	info, err := exporter.Write(s.state.Model, s.o.Output, exporter.Options{Force: s.o.Force, Validate: func(tmp string) error {
		s.slim = tmp
		err := validate(ctx, s.eng, s.state.Model, s.o.Output, tmp)
		for _, proof := range []func(context.Context) error{s.judge, s.bench} {
			if err == nil {
				err = proof(ctx)
			}
		}
		return err
	}})
	if err != nil {
		return err
	}
	slim.Bytes = info.Bytes + info.DataBytes
	s.result.Output, s.slim = s.o.Output, s.o.Output
	return nil
}

func slimName(output string) string {
	if output == "" {
		return "slim (planned)"
	}
	return filepath.Base(output)
}

// provenance records in the metadata what the model is and how to feed it.
func (s *size) provenance() error {
	digest, err := s.sha256()
	if err != nil {
		return err
	}
	m := s.state.Model
	m.SetMeta(metaVersion, Version)
	m.SetMeta(metaBase, digest)
	m.SetMeta(metaRecipe, s.o.Recipe)
	for _, e := range []struct {
		key   string
		value any
		skip  bool
	}{
		{metaPreprocess, s.file.pre, s.file.preFrom == fromDefaults},
		{metaWidths, s.state.Widths, false},
		{metaClasses, s.classes, len(s.classes) == 0 || s.o.Logits == "full"},
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
func (s *size) judge(ctx context.Context) error {
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
	wanted := s.wanted
	if wanted != nil && s.o.Logits == "sliced" {
		classOf, wanted = measure.Sliced(classOf, wanted), nil
	}
	models[1].Accuracy, err = s.task.judge(ctx, measure.Source{Name: s.o.Output, Path: s.slim}, "judge slim", classOf, wanted, s.classes)
	return err
}

// bench times both models in turns.
func (s *size) bench(ctx context.Context) error {
	if s.o.SkipBench || s.o.DryRun {
		return nil
	}
	b, err := benchOpened(ctx, s.eng, BenchOptions{Seed: s.o.Seed, Progress: s.o.Progress},
		&opened{path: s.o.Model, model: s.file.model}, &opened{name: slimName(s.o.Output), path: s.slim, model: s.state.Model})
	s.result.Summary.Bench = b
	return err
}
