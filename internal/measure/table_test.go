package measure

import (
	"encoding/json"
	"io"
	"reflect"
	"strings"
	"testing"
)

// sample is a summary with round numbers.
func sample() *Summary {
	base := &Accuracy{
		Model: "vit.onnx", Images: 400,
		All:        Score{Among: 10, Correct: 316, Accuracy: 0.79, Interval: wilson(316, 400), Macro: 0.79, CrossEntropy: 0.61},
		Restricted: Score{Among: 2, Correct: 395, Accuracy: 0.9875, Interval: wilson(395, 400), Macro: 0.9875, CrossEntropy: 0.05},
		Classes:    []ClassScore{{Class: "bird", Logit: 2, Images: 200, All: 0.7, Restricted: 0.98}, {Class: "船", Logit: 8, Images: 200, All: 0.88, Restricted: 0.995}},
	}
	slim := &Accuracy{
		Model: "slim.onnx", Images: 400,
		All:     Score{Among: 2, Correct: 390, Accuracy: 0.975, Interval: wilson(390, 400), Macro: 0.975, CrossEntropy: 0.07},
		Classes: []ClassScore{{Class: "bird", Images: 200, All: 0.97, Restricted: 0.97}, {Class: "船", Logit: 1, Images: 200, All: 0.98, Restricted: 0.98}},
	}
	slim.Restricted = slim.All
	return &Summary{
		Models: []Report{
			{Name: "vit.onnx", Accuracy: base, Size: &Size{MACs: 184_300_000, Params: 2_690_000, Bytes: 10_800_000}},
			{Name: "slim.onnx", Accuracy: slim, Size: &Size{MACs: 92_150_000, Params: 1_345_000, Bytes: 5_400_000}},
		},
		Agreement: &Agreement{First: "vit.onnx", Second: "slim.onnx", Images: 400, Classes: 2, Same: 392, Top1: 0.98, Interval: wilson(392, 400),
			MeanDiff: 0.25, MaxDiff: 2, RMS: 4, Paired: newPaired(400, 7, 2)},
		Bench: newBenchmark([]*Model{{Name: "vit.onnx", Threads: 2}, {Name: "slim.onnx", Threads: 2}},
			[][]float64{{5.0e6, 5.2e6, 5.4e6}, {2.5e6, 2.6e6, 2.7e6}}, 1),
	}
}

func TestSummaryWrite(t *testing.T) {
	compare(t, sample().Write, `
accuracy in %        vit.onnx      vit.onnx     slim.onnx
deciding among         all 10      wanted 2         all 2
images                    400           400           400
accuracy                79.00         98.75         97.50
  95 % interval  74.7 to 82.7  97.1 to 99.5  95.5 to 98.6
mean of classes         79.00         98.75         97.50
  bird                  70.00         98.00         97.00
  船                    88.00         99.50         98.00
cross-entropy          0.6100        0.0500        0.0700

cost               vit.onnx               slim.onnx
MACs per image        184 M        92.2 M (-50.0 %)
parameters           2.69 M        1.34 M (-50.0 %)
file                10.8 MB       5.40 MB (-50.0 %)
latency, batch 1    5.20 ms  2.60 ms (2.00x faster)
images per second       192                     385

agreement                             slim.onnx with vit.onnx
images                                                    400
deciding among                                      2 classes
same answer in %                         98.00 (96.1 to 99.0)
logits differ by, mean                                   0.25
  at most                                                   2
  their size, RMS                                           4
accuracy gained, points  -1.25 (-2.78 to +0.29), within noise
`)
	one := &Summary{Models: sample().Models[1:]}
	one.Models[0].Size = nil
	one.Models[0].Accuracy.Unseen = []string{"fish"}
	compare(t, one.Write, `
accuracy in %       slim.onnx
deciding among          all 2
images                    400
accuracy                97.50
  95 % interval  95.5 to 98.6
mean of classes         97.50
  bird                  97.00
  船                    98.00
cross-entropy          0.0700
without images: fish
`)
}

func compare(t *testing.T, write func(io.Writer) error, want string) {
	t.Helper()
	var b strings.Builder
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	if want = strings.TrimPrefix(want, "\n"); b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestBenchmarkWrite(t *testing.T) {
	compare(t, sample().Bench.Write, `
batch 1, 3 runs of each model in turns
model      threads      min   median      p90  spread  images/s  speed-up  95 % interval
vit.onnx         2  5.00 ms  5.20 ms  5.36 ms     4 %       192      1.00
slim.onnx        2  2.50 ms  2.60 ms  2.68 ms     4 %       385      2.00   2.00 to 2.00
`)
}

// What a program reads from the JSON is what was measured.
func TestSummaryJSON(t *testing.T) {
	s := sample()
	var back Summary
	if err := json.Unmarshal([]byte(asJSON(t, s)), &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(&back, s) {
		t.Errorf("got %+v, want %+v", back, *s)
	}
	for _, field := range []string{`"models":[{"name":"vit.onnx","accuracy":{`, `"restricted":{"among":2,"correct":395,"accuracy":0.9875,"interval":{"low":`,
		`"macro_accuracy":`, `"cross_entropy":`, `"macs":184300000`, `"params":`, `"bytes":`, `"top1":0.98`, `"median_ns":5200000`, `"speedups":[{`} {
		if !strings.Contains(asJSON(t, s), field) {
			t.Errorf("no %s in %s", field, asJSON(t, s))
		}
	}
}
