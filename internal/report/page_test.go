package report

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"nuwa/internal/measure"
)

// holds wants the text to have all parts, in their order.
func holds(t *testing.T, text string, parts ...string) {
	t.Helper()
	rest := text
	for _, p := range parts {
		_, after, ok := strings.Cut(rest, p)
		if !ok {
			t.Fatalf("no %q in %s", p, rest)
		}
		rest = after
	}
}

func show(t *testing.T, r *Result, others ...*Result) (page, text string) {
	t.Helper()
	return render(t, func(w io.Writer) error { return r.WriteHTML(w, others...) })
}

func TestModelPage(t *testing.T) {
	_, text := show(t, sample("slim.onnx", 0.5, "cat", "dog", "eel"))
	holds(t, text,
		"slim.onnx A slim model of vit.onnx for 3 of its 6 classes: cat, dog and eel. It needs 50.0 % fewer multiply-accumulates (asked: 50.0 %), runs 2.00 times as fast,",
		"and is right on 2.0 points fewer images than the base when it decides among the same classes.",
		"Accuracy 94.0 % restricted base 96.0 % −2.0 points", "MACs per image 50.0 M base 100 M −50.0 %", "Parameters 1.00 M base 2.00 M", "File 4.00 MB base 8.00 MB",
		"Latency, batch 1 5.00 ms base 10.0 ms 2.00× as fast (1.80\u2060–\u20602.20)",
		"Judged on zoo/test: 150 images of the wanted classes.",
		"base all 6 86.0 % 83.0 to 87.0 86.0 % 0.140", "base the wanted 3 96.0 % 93.0 to 97.0", "slim all 3 94.0 % 91.0 to 95.0",
		"The honest yardstick is the base deciding among the same classes", "known to about ±2.0 points",
		"Classes", "cat 96.0 % 94.0 % −2.0 50",
		"Confusion", "base cat dog eel cat 48 2 dog 48 2 eel 2 48", "slim cat dog eel cat 47 3 dog 47 3 eel 3 47", "eel cat 2 3 50",
		"Widths", "0 3 → 2 32 → 8 32 384 → 96 1 – – – 384 → 192",
		"Purification", "by method ste, with the loss over wanted classes, in 200 steps until all steps were taken. The mask kept is that after step 150",
		"over all classes 81.0 % before, 82.0 % after; among the wanted 91.0 % before, 92.0 % after", "0 384 380 4 1 384 384 0 its neurons are shared",
		"block 1 attention softmax over channels", "a ridge was needed",
		"Derived in 4.00 s", "mlp 3.00 s 0.25 2 hidden layers slimmed", "the rest 999 ms", "Nothing to do for fold.",
		"zoo/vit.onnx sha256 abab", "slim.onnx sha256 cdcd", "seed 7", "nuwa 0.1.0, ONNX Runtime 1.27.0", "nuwa derive zoo/vit.onnx --classes=cat,dog,eel")
}

// A model for a device says what runs where, and what it took.
func TestTarget(t *testing.T) {
	_, text := show(t, onDevice(sample("slim.onnx", 0.5, "cat", "dog")))
	holds(t, text, "Target", "device qnn", "provider QNN, htp_performance_mode=burst, 4 threads",
		"nodes 120 on the provider and 3 on the CPU instead, by the device's list of operators, as ONNX Runtime has no such provider here",
		"operator set 17, at most 21", "widths multiples of 32, but for block 0: q/k 24", "precision 8-bit integers", "input batch 1, NHWC", "memory 12.0 MB, at most 64.0 MB",
		"integers 36 linear maps, calibrated on 512 images (range: extremes), chosen by 400 others: accuracy 93.00 %, in single precision 93.40 %",
		"Left to the CPU", "Einsum 1 Erf 2", "Not as the device wants it", "the model opset 22 at most 21",
		"Left in single precision", `MatMul "fc2" it cost accuracy in integers +0.7500`, `Conv "patch" it has no form in integers –`)
	if strings.Contains(text, "does not list") {
		t.Error("operators are listed twice")
	}
}

// TestBusy has latencies that tell nothing.
func TestBusy(t *testing.T) {
	r := sample("slim.onnx", 0.5, "cat", "dog")
	r.Summary.Bench.Speedups[0].Interval = measure.Interval{Low: 0.6, High: 7.7}
	_, text := show(t, r)
	holds(t, text, "The measurement cannot tell its speed from the base's.", "2.00× as fast (0.60\u2060–\u20607.70)")
}

// TestOther has a logit for all other classes.
func TestOther(t *testing.T) {
	_, text := show(t, orNone(sample("slim.onnx", 0.5, "cat", "dog", "eel")))
	holds(t, text, "3 of its 6 classes: cat, dog and eel.", "Accuracy 94.0 %", "slim the wanted 3, or none 80.0 %", "slim the wanted 3 94.0 %",
		"None of these", "accept 5.0 % of them", "150 images of wanted and 200 of other classes",
		"the logit for all others 80.0 % 85.0 % 96.0 % 0.975", "maximum softmax 40.0 % 41.0 % 94.0 % 0.825", "nothing 94.0 % 100.0 % 0.0 %")
}

// TestSearch has a rate that was found for limits.
func TestSearch(t *testing.T) {
	r := sample("slim.onnx", 0.5, "cat", "dog")
	r.RateAsked, r.Budget = 0, &Found{
		Limits: []Limit{{What: "latency", Bound: 0.005, Met: 0.0049}, {What: "accuracy", Bound: 0.9, Met: 0.94}},
		Trials: []Trial{{Rate: 0.95}, {Rate: 0.4, Values: []float64{0.006, 0.95}}, {Rate: 0.5, Values: []float64{0.0049, 0.94}}},
	}
	_, text := show(t, r)
	holds(t, text, "(asked: latency at most 5.00 ms and accuracy at least 90.00 %)", "Search", "0.9500 not reached not reached 0.4000 6.00 ms 95.00 % 0.5000 4.90 ms 94.00 % chosen")
	_, text = render(t, Together([]*Result{r}).WriteHTML)
	holds(t, text, "cat, dog latency at most 5.00 ms and accuracy at least 90.00 %")
}

// TestCurves wants a line through the sizes of a task, in the order of cost.
func TestCurves(t *testing.T) {
	a, b, c := sample("a.onnx", 0.3, "cat", "dog"), sample("b.onnx", 0.6, "cat", "dog"), sample("c.onnx", 0.5, "cat", "dog")
	alone, _ := show(t, a)
	if strings.Contains(alone, `class="line"`) {
		t.Error("one size has a curve")
	}
	with, text := show(t, a, a, b, c)
	lines := regexp.MustCompile(`class="line" d="M([0-9.]+) [0-9.]+L([0-9.]+) [0-9.]+L([0-9.]+) `).FindAllStringSubmatch(with, -1)
	if len(lines) != 2 {
		t.Fatalf("%d lines through three points, want one by cost and one by latency", len(lines))
	}
	holds(t, text, "base, among the same 2", "MACs per image, millions", "b.onnx: 94.0 %, 40.0 M MACs", "c.onnx: 94.0 %, 50.0 M MACs", "a.onnx: 94.0 %, 70.0 M MACs", "vit.onnx: 96.0 %, 100 M MACs",
		"latency, % of the base's", "b.onnx: 94.0 %, 40.0 % of the base's latency", "vit.onnx: 96.0 %, 100 % of the base's latency")
	b.Recipe = "paper"
	_, text = show(t, a, b, c)
	holds(t, text, "accuracy, %", "Classes")
	if !strings.Contains(text, "best paper base, among the same 2") {
		t.Errorf("no line of its own for each recipe: %s", text)
	}
	b.Recipe, b.Target = a.Recipe, &Target{Name: "web"}
	if _, text = show(t, a, b, c); !strings.Contains(text, "slim web base, among the same 2") {
		t.Errorf("no line of its own for each target: %s", text)
	}
}

// TestSeveralClasses has images that may have several classes.
func TestSeveralClasses(t *testing.T) {
	_, text := show(t, several("cat", "dog", "eel"))
	holds(t, text, "−10.0 points in mean average precision", "Mean average precision 70.0 %", "judging", "base all 6 75.0 %", "base the wanted 3 80.0 %", "slim all 3 70.0 %",
		"average precision", "cat 80.0 % 70.0 % −10.0")
	if strings.Contains(text, "Confusion") {
		t.Error("a confusion matrix of images with several classes")
	}
}

// TestExtremes has pages with little and with much to tell.
func TestExtremes(t *testing.T) {
	bare := &Result{Model: "vit.onnx", Summary: measure.Summary{Models: []measure.Report{{Name: "vit.onnx"}, {Name: "slim (planned)"}}}}
	for _, r := range []*Result{{}, bare, {Summary: measure.Summary{Models: []measure.Report{{Accuracy: &measure.Accuracy{}}, {Accuracy: &measure.Accuracy{Classes: []measure.ClassScore{{}, {}}}}}}}} {
		p, _ := show(t, r)
		if body, _, _ := strings.Cut(p, "<script>"); strings.Contains(body, "NaN") || strings.Contains(body, "Inf") {
			t.Errorf("numbers that are none: %s", body)
		}
	}
	_, text := show(t, bare)
	holds(t, text, "slim (planned) A slim model of vit.onnx. It needs 0.0 % fewer multiply-accumulates.")
	p, text := show(t, sample("many.onnx", 0.5, names(1000)...))
	if len(p) > 1<<20 {
		t.Errorf("a page of %d bytes for 1000 classes", len(p))
	}
	holds(t, text, "class010, class011 and 988 more", "the 30 that lost most", "970 more classes", "class999", "Most frequent mistakes")
	p, _ = show(t, sample("some.onnx", 0.5, names(30)...))
	if n := strings.Count(p, `<td class="right"`); n != 60 {
		t.Errorf("%d cells on the diagonals of two matrices of 30 classes", n)
	}
}

// TestHarmless has names that are markup, and holds pages to need nothing but
// themselves.
func TestHarmless(t *testing.T) {
	evil := `<script>alert("x")</script>`
	r := sample(evil+".onnx", 0.5, evil, "dog")
	r.Notes, r.Provenance.Command = []string{evil}, []string{evil, "a b", "it's"}
	r.Summary.Models[1].Name = evil
	b := Together([]*Result{r, r})
	b.Title, b.Models[0].Page = evil, "javascript:alert(1)"
	one, text := show(t, r)
	all, _ := render(t, b.WriteHTML)
	holds(t, text, `nuwa '`+evil+`' 'a b' 'it'\''s'`)
	for _, p := range []string{one, all} {
		if n := strings.Count(p, "<script>"); n != 1 {
			t.Errorf("%d scripts, want the page's own", n)
		}
		if strings.Contains(p, `href="javascript:`) {
			t.Error("a link that is a script")
		}
		loads := regexp.MustCompile(`(?i)(\ssrc=|@import|url\(|<link [^>]*href="[^d]|https?://)`)
		if found := loads.FindAllString(strings.ReplaceAll(p, `xmlns="http://www.w3.org/2000/svg"`, ""), -1); found != nil {
			t.Errorf("the page loads something: %q", found)
		}
	}
}

func farm() *Batch {
	b := &Batch{Schema: Schema, Title: "Farm"}
	for i, rate := range []float64{0.3, 0.5, 0.6, 0.7} {
		for _, target := range []string{"cpu", "web"} {
			r := sample(fmt.Sprintf("pets-%v-%s.onnx", rate, target), rate, "cat", "dog")
			r.Summary.Models[1].Accuracy.Restricted.Accuracy -= 0.02 * float64(i)
			b.Models = append(b.Models, Entry{Task: "pets", Size: fmt.Sprintf("rate %v", rate), Target: target, Status: Done, Page: fmt.Sprintf("pets-%v-%s.html", rate, target), Result: r})
		}
	}
	b.Models = append(b.Models,
		Entry{Task: "fish", Size: "rate 0.5", Target: "cpu", Status: Done, Result: sample("fish.onnx", 0.5, "eel", "cod")},
		Entry{Task: "fish", Size: "rate 0.99", Target: "cpu", Status: "failed", Error: "the rate cannot be reached"})
	return b
}

func TestIndexPage(t *testing.T) {
	b := farm()
	p, text := render(t, b.WriteHTML)
	holds(t, text, "Farm 10 models for 2 tasks, 9 done, 1 not.",
		"task size target accuracy against base MACs removed file latency speed status",
		"pets rate 0.3 cpu 94.0 % −2.0 30.0 % 4.00 MB 7.00 ms 1.43× done", "fish rate 0.99 cpu failed", "Not done fish · rate 0.99 · cpu the rate cannot be reached",
		"pets cpu web base, among the same 2", "Each model fish · rate 0.5 · cpu", "A slim model of vit.onnx for 2 of its 4 classes: eel and cod.")
	for _, want := range []string{`<a href="pets-0.3-cpu.html">pets</a>`, `<a href="#model-9">fish</a>`, `id="model-9"`} {
		if !strings.Contains(p, want) {
			t.Errorf("no %s", want)
		}
	}
	if got := len(b.Sizes(&b.Models[0])); got != 8 {
		t.Errorf("%d sizes of the task, want 8", got)
	}
}
