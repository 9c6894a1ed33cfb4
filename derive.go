package nuwa

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"nuwa/exporter"
	"nuwa/graph"
	"nuwa/internal/data"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/measure"
	"nuwa/passes"
	"nuwa/passes/structure"
)

// validationPart is the part of Options.Data that judges when there is no
// Options.Test.
const validationPart = 0.2

// Derive makes a slim model and, unless o.DryRun, writes it.
func Derive(ctx context.Context, o Options) (*Result, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	eng, err := start(o.Runtime)
	if err != nil {
		return nil, err
	}
	d := &derivation{o: o, eng: eng, began: time.Now(), list: passes.Pipeline}
	defer d.close()
	for _, stage := range []func(context.Context) error{d.open, d.findClasses, d.splitData, d.prune, d.writeProven} {
		if err := stage(ctx); err != nil {
			return nil, inFile(o.Model, err)
		}
	}
	return d.result, d.dropCheckpoint()
}

// derivation is one run of Derive.
type derivation struct {
	o     Options
	eng   *engine.Engine
	began time.Time

	base    *opened
	set     *data.Set // calibration images; nil without
	pool    *data.Set // those of the wanted classes, without test
	fit     *data.Set // those of pool that statistics come from
	test    *data.Set // those that judge
	classOf []int     // class folder of set → base logit
	wanted  []int     // base logits; nil keeps all
	names   []string  // of the wanted logits
	unmask  bool      // the logits of the other classes stay as they are

	list   []passes.Pass
	state  *passes.State
	slim   string // where the slim model lies: beside its name until it is proven
	result *Result
}

func (d *derivation) close() {
	for _, s := range []*data.Set{d.set, d.test} {
		if s != nil {
			s.Close()
		}
	}
}

func (d *derivation) open(ctx context.Context) error {
	var err error
	if !d.o.DryRun {
		if err := vacant(d.o.Output, d.o.Force, d.o.Model); err != nil {
			return err
		}
	}
	if d.base, err = open(ctx, d.eng, d.o.Preprocess, d.o.Labels, d.o.Model); err != nil {
		return err
	}
	if d.o.Data != "" {
		if d.set, err = data.Open(d.o.Data); err != nil {
			return err
		}
	}
	if d.o.Test != "" {
		if d.test, err = data.Open(d.o.Test); err != nil {
			return err
		}
		if d.test.Classes == nil {
			return &fault.Error{Kind: fault.Data, File: d.o.Test, Got: "images without classes", Want: "one folder per class, to tell right from wrong"}
		}
	}
	d.result = &Result{Model: d.o.Model, Recipe: d.o.Recipe, RateAsked: d.o.Rate, Notes: d.base.notes}
	d.o.Log.Info("base", "model", d.o.Model, "preprocess", d.base.pre.String(), "from", d.base.preFrom)
	return nil
}

// findClasses turns the wanted classes into logits of the base.
func (d *derivation) findClasses(ctx context.Context) error {
	m, err := measure.Open(measure.Source{Path: d.o.Model}, d.eng)
	if err != nil {
		return err
	}
	defer m.Close()
	noise, err := measure.Noise(m, 1, 1)
	if err != nil && d.set == nil {
		return err
	}
	if d.set != nil {
		noise = measure.FromSet(d.set, d.base.pre)
	}
	logits, err := m.Logits(ctx, noise)
	if err != nil {
		return d.withoutClasses(ctx, err)
	}
	var folders []string
	for _, s := range []*data.Set{d.set, d.test} {
		if s != nil && s.Classes != nil {
			folders = s.Classes
			break
		}
	}
	if d.set != nil && d.set.Classes != nil {
		if d.classOf, err = d.base.match(d.set.Classes, logits); err != nil {
			return d.withoutClasses(ctx, inFile(d.o.Data, err))
		}
		if err := d.normalize(ctx); err != nil {
			return err
		}
	}
	if d.wanted, err = d.base.resolve(d.o.Classes, folders, logits); err != nil {
		return d.withoutClasses(ctx, err)
	}
	if len(d.wanted) == logits && isIdentity(d.wanted) {
		d.wanted = nil
	}
	d.names = d.className(folders, logits)
	for _, c := range d.kept(logits) {
		d.result.Classes = append(d.result.Classes, d.names[c])
	}
	if d.test != nil {
		_, err = d.logitsOf(d.test.Classes)
	}
	return err
}

// withoutClasses is what is left when the outputs cannot be matched to classes
// for the given reason. A model that has no classifier can be slimmed all the
// same; for any other, the reason is an error.
func (d *derivation) withoutClasses(ctx context.Context, reason error) error {
	if !wantsAll(d.o.Classes) || fault.KindOf(reason) != fault.Unsupported && fault.KindOf(reason) != fault.Data {
		return reason
	}
	s := &passes.State{Model: d.base.model.Clone(), Engine: d.eng}
	if _, err := (&passes.Manager{SkipProof: true}).Run(ctx, s, passes.Cleaning); err != nil {
		return err
	}
	if len(s.ViT.Classifiers) > 0 {
		return reason
	}
	d.result.Notes = append(d.result.Notes, "the model has no classifier, so no accuracy is measured")
	return nil
}

// logitsOf gives every class folder the logit of the base that stands for it.
func (d *derivation) logitsOf(folders []string) ([]int, error) {
	out := make([]int, len(folders))
	for i, c := range folders {
		k := -1
		if d.classOf != nil {
			k = slices.Index(d.set.Classes, c)
		}
		if k < 0 {
			out, err := d.base.match(folders, len(d.names))
			return out, inFile(d.o.Test, err)
		}
		out[i] = d.classOf[k]
	}
	return out, nil
}

func isIdentity(xs []int) bool {
	for i, x := range xs {
		if x != i {
			return false
		}
	}
	return true
}

// kept returns the logits of the slim model's decision, as numbers of the base.
func (d *derivation) kept(logits int) []int {
	if d.wanted != nil {
		return d.wanted
	}
	all := make([]int, logits)
	for i := range all {
		all[i] = i
	}
	return all
}

// className names every logit of the base: by the model's own class names,
// else by folders when there is one per logit, else by number.
func (d *derivation) className(folders []string, logits int) []string {
	names := make([]string, logits)
	for i := range names {
		switch {
		case i < len(d.base.names):
			names[i] = d.base.names[i]
		case len(d.base.names) == 0 && len(folders) == logits:
			names[i] = folders[i]
		default:
			names[i] = fmt.Sprint(i)
		}
	}
	return names
}

// splitData chooses calibration images of the wanted classes, and keeps part
// of the data for judging when no test images are given.
func (d *derivation) splitData(context.Context) error {
	if d.test != nil {
		d.result.Judged = d.o.Test
	}
	if d.set == nil {
		return nil
	}
	d.fit = d.set
	if d.set.Classes != nil && d.classOf != nil {
		var folders []string
		for i, c := range d.set.Classes {
			if c2 := d.classOf[i]; c2 >= 0 && (d.wanted == nil || contains(d.wanted, c2)) {
				folders = append(folders, c)
			}
		}
		if len(folders) == 0 {
			return &fault.Error{Kind: fault.Data, File: d.o.Data, Got: "no folder of a wanted class", Want: fmt.Sprint(d.result.Classes)}
		}
		var err error
		if d.fit, err = d.set.Select(folders); err != nil {
			return err
		}
	}
	if d.test == nil && len(d.names) > 0 {
		switch test, rest := d.fit.Split(d.o.Seed, validationPart); {
		case d.set.Classes == nil:
			d.result.Notes = append(d.result.Notes, "the images have no classes, so no accuracy is measured")
		case test.Len() == 0:
			d.result.Notes = append(d.result.Notes, "there are too few images to hold some back, so no accuracy is measured; give others with --test")
		default:
			d.test, d.fit = test, rest
			d.result.Judged = fmt.Sprintf("a validation split of %d images of %s", d.test.Len(), d.o.Data)
		}
	}
	n := d.o.Images
	if n == 0 {
		n = 128
		if d.o.Recipe == "best" {
			n = 512
		}
	}
	d.pool = d.fit
	d.fit = d.fit.Take(n, d.o.Seed)
	d.o.Log.Info("calibration", "images", d.fit.Len())
	return nil
}

func contains(xs []int, x int) bool {
	for _, y := range xs {
		if x == y {
			return true
		}
	}
	return false
}

// prune runs the pipeline.
func (d *derivation) prune(ctx context.Context) error {
	d.state = &passes.State{
		Model: d.base.model, Engine: d.eng, Log: d.o.Log, Progress: d.o.Progress,
		Options: passes.Options{Recipe: d.o.Recipe, Rate: d.o.Rate, Part: d.o.Widths.Part, Align: d.o.Align, Classes: d.wanted, Mask: d.o.Logits == "full", KeepNorms: d.o.Norms == "keep"},
	}
	if w := d.o.Widths; !w.IsZero() {
		d.state.Options.Fixed = &passes.Width{QK: w.QK, VO: w.VO, Hidden: w.Hidden}
	}
	var err error
	if d.state.Feeds, err = d.feeds(ctx); err != nil {
		return err
	}
	d.state.Labels = d.labels()
	d.state.Options.Lenient = d.o.Purify == ""
	if d.state.Options.Purify, err = d.purification(ctx); err != nil {
		return err
	}
	if d.result.Passes, err = (&passes.Manager{}).Run(ctx, d.state, d.list); err != nil {
		return err
	}
	s := d.state
	d.result.Purification = s.Purified
	d.result.Notes = append(d.result.Notes, s.Notes...)
	d.result.Declined = declined(s.ViT)
	for i, b := range s.ViT.Blocks {
		w := BlockWidths{QK: [2]int{s.Base[i].QK, s.Widths[i].QK}, VO: [2]int{s.Base[i].VO, s.Widths[i].VO}, Hidden: [2]int{s.Base[i].Hidden, s.Widths[i].Hidden}}
		if b.Attention != nil {
			w.Heads = b.Attention.Heads
		}
		d.result.Blocks = append(d.result.Blocks, w)
	}
	return nil
}

// feeds are the calibration inputs: images, or standard-normal numbers.
func (d *derivation) feeds(ctx context.Context) (func(yield func(map[string]*graph.Tensor, error) bool), error) {
	in := engine.Feeds(d.base.model)[0]
	dims, _ := in.Type.Dims()
	batch := 16
	if dims[0] > 0 {
		batch = int(dims[0])
	}
	if d.o.Calibration == "synthetic" {
		n := d.o.Images
		if n == 0 {
			n = 128
		}
		return func(yield func(map[string]*graph.Tensor, error) bool) {
			for i := range (n + batch - 1) / batch {
				if !yield(engine.Inputs(d.base.model, batch, d.o.Seed+uint64(i))) {
					return
				}
			}
		}, nil
	}
	if dims[0] > 0 && d.fit.Len() < batch {
		return nil, &fault.Error{Kind: fault.Data, File: d.o.Data, Got: fmt.Sprintf("%d calibration images", d.fit.Len()), Want: fmt.Sprintf("at least %d, the model's batch", batch)}
	}
	return func(yield func(map[string]*graph.Tensor, error) bool) {
		done := 0
		for b, err := range d.fit.Batches(ctx, nil, batch, d.base.pre) {
			if err == nil && dims[0] > 0 && len(b.Labels) < batch {
				return // a batch of fixed size cannot be filled
			}
			done += len(b.Labels)
			if err == nil {
				d.o.Progress("calibrate", done, d.fit.Len())
			}
			if !yield(map[string]*graph.Tensor{in.Name(): b.X}, err) {
				return
			}
		}
	}, nil
}

// labels gives every calibration sample its logit in the slim model, in the
// order of feeds; nil without labelled images.
func (d *derivation) labels() []int {
	if d.o.Calibration == "synthetic" || d.classOf == nil {
		return nil
	}
	of := map[string]int{}
	for i, c := range d.set.Classes {
		of[c] = d.classOf[i]
		if d.wanted != nil && d.o.Logits == "sliced" {
			of[c] = measure.Sliced([]int{d.classOf[i]}, d.wanted)[0]
		}
	}
	labels := make([]int, d.fit.Len())
	for i, x := range d.fit.Samples {
		labels[i] = -1
		if x.Class >= 0 {
			labels[i] = of[d.fit.Classes[x.Class]]
		}
	}
	return labels
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

// writeProven writes the slim model, judged and timed before it gets its name:
// after an error there is no output.
func (d *derivation) writeProven(ctx context.Context) error {
	return d.write(ctx, d.judge, d.bench)
}

// write puts provenance into the model and writes it, validated in ONNX Runtime
// and then put to the proofs before it gets its name.
func (d *derivation) write(ctx context.Context, proofs ...func(context.Context) error) error {
	d.result.Seconds = time.Since(d.began).Seconds()
	slim, err := measure.SizeOf(ctx, d.eng, d.state.Model, "")
	if err != nil {
		return err
	}
	original, err := open(ctx, d.eng, d.o.Preprocess, d.o.Labels, d.o.Model)
	if err != nil {
		return err
	}
	base, err := measure.SizeOf(ctx, d.eng, original.model, d.o.Model)
	if err != nil {
		return err
	}
	d.result.Rate = 1 - float64(slim.MACs)/float64(base.MACs)
	d.result.Summary.Models = []measure.Report{{Name: d.base.label(), Size: &base}, {Name: slimName(d.o.Output), Size: &slim}}
	if err := d.provenance(); err != nil || d.o.DryRun {
		return err
	}
	info, err := exporter.Write(d.state.Model, d.o.Output, exporter.Options{Force: d.o.Force, Validate: func(tmp string) error {
		d.slim = tmp
		err := validate(ctx, d.eng, d.state.Model, d.o.Output, tmp)
		for _, proof := range proofs {
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
	d.result.Output, d.slim = d.o.Output, d.o.Output
	return nil
}

func slimName(output string) string {
	if output == "" {
		return "slim (planned)"
	}
	return filepath.Base(output)
}

// provenance records in the metadata what the model is and how to feed it.
func (d *derivation) provenance() error {
	digest, err := fileDigest(d.o.Model)
	if err != nil {
		return err
	}
	m := d.state.Model
	m.SetMeta(metaVersion, Version)
	m.SetMeta(metaBase, digest)
	m.SetMeta(metaRecipe, d.o.Recipe)
	for _, e := range []struct {
		key   string
		value any
		skip  bool
	}{
		{metaPreprocess, d.base.pre, d.base.preFrom == fromDefaults},
		{metaWidths, d.state.Widths, false},
		{metaClasses, d.result.Classes, len(d.result.Classes) == 0 || d.o.Logits == "full"},
		{metaClasses, d.names, len(d.names) == 0 || d.o.Logits != "full"},
		{metaWanted, d.wanted, d.wanted == nil || d.o.Logits != "full" || d.unmask},
	} {
		if e.skip {
			continue
		}
		s, err := json.Marshal(e.value)
		if err != nil {
			return err
		}
		m.SetMeta(e.key, string(s))
	}
	return nil
}

func fileDigest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// judge measures the accuracy of both models on the same images.
func (d *derivation) judge(ctx context.Context) error {
	if d.test == nil || d.o.DryRun || len(d.names) == 0 {
		return nil
	}
	images := measure.FromSet(d.test, d.base.pre)
	classOf, err := d.logitsOf(d.test.Classes)
	if err != nil {
		return err
	}
	slimOf, slimWanted := classOf, d.wanted
	if d.wanted != nil && d.o.Logits == "sliced" {
		slimOf, slimWanted = measure.Sliced(classOf, d.wanted), nil
	}
	for i, side := range []struct {
		source  measure.Source
		classOf []int
		wanted  []int
		names   []string
	}{{measure.Source{Path: d.o.Model}, classOf, d.wanted, d.names}, {measure.Source{Name: d.o.Output, Path: d.slim}, slimOf, slimWanted, d.result.Classes}} {
		m, err := measure.Open(side.source, d.eng)
		if err != nil {
			return err
		}
		stage := []string{"judge base", "judge slim"}[i]
		acc, err := measure.Evaluate(ctx, m, images, side.classOf, measure.EvalOptions{Wanted: side.wanted, Names: side.names, Progress: progress(d.o.Progress, stage)})
		m.Close()
		if err != nil {
			return err
		}
		d.result.Summary.Models[i].Accuracy = acc
	}
	return nil
}

// bench times both models in turns.
func (d *derivation) bench(ctx context.Context) error {
	if d.o.SkipBench || d.o.DryRun {
		return nil
	}
	b, err := benchOpened(ctx, d.eng, BenchOptions{Seed: d.o.Seed, Progress: d.o.Progress},
		&opened{path: d.o.Model, model: d.base.model}, &opened{name: slimName(d.o.Output), path: d.slim, model: d.state.Model})
	d.result.Summary.Bench = b
	return err
}
