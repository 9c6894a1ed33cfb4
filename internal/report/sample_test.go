package report

import (
	"fmt"
	"html"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"nuwa/exporter/target"
	"nuwa/internal/measure"
	"nuwa/passes"
	"nuwa/passes/focus"
	"nuwa/passes/purify"
)

// sample is a result for some classes of a base with twice as many, whose slim
// model takes one image more of each class for the next one.
func sample(output string, rate float64, classes ...string) *Result {
	r := &Result{Schema: Schema, Model: "zoo/vit.onnx", Output: output, Recipe: "best", Classes: classes, RateAsked: rate, Rate: rate, Judged: "zoo/test", Seconds: 4}
	accuracy := func(wrong int, slim bool) *measure.Accuracy {
		n := len(classes)
		a := &measure.Accuracy{Images: 50 * n}
		for i, c := range classes {
			next := (i + 1) % n
			s := measure.ClassScore{Class: c, Logit: 2 * i, Images: 50, All: float64(45-wrong) / 50, Restricted: float64(50-wrong) / 50}
			m := measure.Mistake{Class: classes[next], Logit: 2 * next, Images: wrong}
			if slim {
				s.Logit, m.Logit, s.All = i, next, s.Restricted
			}
			if wrong > 0 && next != i {
				s.Mistakes = []measure.Mistake{m}
			}
			a.Classes = append(a.Classes, s)
		}
		score := func(among, right int) measure.Score {
			share := float64(right) / 50
			return measure.Score{Among: among, Correct: right * n, Accuracy: share, Interval: measure.Interval{Low: share - 0.03, High: share + 0.01}, Macro: share, CrossEntropy: 1 - share}
		}
		a.All, a.Restricted = score(2*n, 45-wrong), score(n, 50-wrong)
		if slim {
			a.All = a.Restricted
		}
		return a
	}
	r.Summary = measure.Summary{
		Models: []measure.Report{
			{Name: "vit.onnx", Accuracy: accuracy(2, false), Size: &measure.Size{MACs: 100e6, Params: 2e6, Bytes: 8e6}},
			{Name: output, Accuracy: accuracy(3, true), Size: &measure.Size{MACs: int64(100e6 * (1 - rate)), Params: 1e6, Bytes: 4e6}},
		},
		Bench: &measure.Benchmark{Batch: 1, Rounds: 30,
			Models:   []measure.Timing{{Model: "vit.onnx", Threads: 2, Median: 10 * time.Millisecond}, {Model: output, Threads: 2, Median: time.Duration(10e6 * (1 - rate))}},
			Speedups: []measure.Speedup{{Model: output, Over: "vit.onnx", Median: 1 / (1 - rate), Interval: measure.Interval{Low: 0.9 / (1 - rate), High: 1.1 / (1 - rate)}}}},
	}
	r.Blocks = []BlockWidths{{Heads: [2]int{3, 2}, QK: [2]int{32, 8}, VO: [2]int{32, 32}, Hidden: [2]int{384, 96}}, {Hidden: [2]int{384, 192}}}
	r.Purification = &purify.Result{Method: "ste", Loss: "wanted", Steps: 200, Best: 150, Stopped: "all steps were taken",
		Before: purify.Score{All: 0.81, Wanted: 0.91}, After: purify.Score{All: 0.82, Wanted: 0.92},
		Layers: []purify.Layer{{Block: 0, Hidden: 384, Kept: 380}, {Block: 1, Hidden: 384, Kept: 384, Reason: "its neurons are shared"}}}
	r.Passes = []passes.Report{{Pass: "fold", Exact: true, Time: time.Millisecond}, {Pass: "mlp", Changes: "2 hidden layers slimmed", Drift: 0.25, Time: 3 * time.Second}}
	r.Declined = []Declined{{Where: "block 1", What: "attention", Reason: "softmax over channels"}}
	r.Notes = []string{"a ridge was needed"}
	r.Provenance = &Provenance{Version: "0.1.0", Runtime: "1.27.0", Base: strings.Repeat("ab", 32), Output: strings.Repeat("cd", 32), Seed: 7,
		Preprocess: "16x16 RGB (defaults)", Images: 512, Command: []string{"derive", "zoo/vit.onnx", "--classes=" + strings.Join(classes, ",")}}
	return r
}

// orNone is r with a logit for all other classes.
func orNone(r *Result) *Result {
	r.Other = &Other{Other: focus.Other{AUROC: 0.95, Asked: 0.05, Threshold: 0.9}, Measured: &measure.Rejection{Wanted: 150, Others: 200, Forced: 0.94,
		Logit: measure.Rejects{Accuracy: 0.8, Accepted: 0.85, Rejected: 0.96, AUROC: 0.975}, Softmax: measure.Rejects{Accuracy: 0.4, Accepted: 0.41, Rejected: 0.94, AUROC: 0.825}}}
	r.Classes = append(r.Classes, "(other)")
	slim := r.Summary.Models[1].Accuracy
	slim.All.Among, slim.All.Accuracy = slim.Restricted.Among+1, 0.8
	return r
}

// onDevice is r in 8-bit integers on a device whose provider leaves nodes.
func onDevice(r *Result) *Result {
	r.Target = &Target{Name: "qnn", Provider: "QNN", ProviderOptions: map[string]string{"htp_performance_mode": "burst"}, Threads: 4, Opset: 17, OpsetCeiling: 21, Align: 32,
		Unaligned: []string{"block 0: q/k 24"}, Precision: "int8", Batch: 1, Layout: "nhwc",
		Placement:  &Placement{From: "operators", Taken: 120, Left: 3, LeftOps: map[string]int{"Erf": 2, "Einsum": 1}},
		Violations: []target.Violation{{Where: `Erf "gelu"`, Got: "an operator that qnn does not list", Want: "one of its operators"}, {Where: "the model", Got: "opset 22", Want: "at most 21"}},
		Quantized: &Quantized{Calibrated: 512, Validated: 400, Range: "extremes", Layers: 36, Accuracy: 0.93, Single: 0.934, Entropy: 0.21, SingleEntropy: 0.2,
			Float: []FloatLayer{{Layer: `MatMul "fc2"`, Why: "it cost accuracy in integers", Harm: 0.75}, {Layer: `Conv "patch"`, Why: "it has no form in integers"}}},
		Limits: []Limit{{What: "memory", Bound: 64e6, Met: 12e6}}}
	return r
}

// several is sample with classes that an image may have together.
func several(classes ...string) *Result {
	r := sample("several.onnx", 0.5, classes...)
	for i, m := range r.Summary.Models {
		a := m.Accuracy
		a.MultiLabel = true
		a.All.MeanAveragePrecision, a.Restricted.MeanAveragePrecision = 0.75, 0.8-0.1*float64(i)
		for k := range a.Classes {
			a.Classes[k].AveragePrecision, a.Classes[k].Mistakes = 0.8-0.1*float64(i), nil
		}
	}
	return r
}

func names(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("class%03d", i)
	}
	return out
}

// render returns a page and what a reader sees of it, in one line of words.
func render(t *testing.T, write func(io.Writer) error) (page, text string) {
	t.Helper()
	var b strings.Builder
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	text = hidden.ReplaceAllString(b.String(), " ")
	return b.String(), strings.Join(strings.Fields(html.UnescapeString(text)), " ")
}

var hidden = regexp.MustCompile(`(?s)<head>.*</head>|<script>.*</script>|<[^>]*>`)
