package configs_test

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"nuwa/configs"
	"nuwa/internal/fault"
)

const example = `base: models/deit_s.onnx
data: {train: data/train, test: data/val, labels: imagenet.txt, preprocess: auto}
defaults: {recipe: best, logits: sliced, seed: 1}
tasks:
  - {name: drone, classes: [car, Truck, 7]}
  - {name: orchard, classes: [apple]}
sizes: [{rate: 0.4}, {max-latency: 20ms}, {max-params: 8M}, {max-bytes: 12MB}, {min-accuracy: 0.95}, {max-macs: 1.2G, max-memory: 64MiB}]
targets: [cpu, raspberry-pi, {name: board, like: coreml, provider-options: [ModelFormat=NeuralNetwork], align: 16, max-latency: 5ms}]
output: {dir: out, name: "{task}-{size}-{target}.onnx"}
`

const inTOML = `base = "models/deit_s.onnx"
data = {train = "data/train", test = "data/val", labels = "imagenet.txt", preprocess = "auto"}
targets = ["cpu", "raspberry-pi", {name = "board", like = "coreml", provider-options = ["ModelFormat=NeuralNetwork"], align = 16, max-latency = "5ms"}]
[defaults]
recipe = "best"
logits = "sliced"
seed = 1
[[tasks]]
name = "drone"
classes = ["car", "Truck", 7]
[[tasks]]
name = "orchard"
classes = ["apple"]
[[sizes]]
rate = 0.4
[[sizes]]
max-latency = "20ms"
[[sizes]]
max-params = "8M"
[[sizes]]
max-bytes = "12MB"
[[sizes]]
min-accuracy = 0.95
[[sizes]]
max-macs = "1.2G"
max-memory = "64MiB"
[output]
dir = "out"
name = "{task}-{size}-{target}.onnx"
`

const inJSON = `{"base": "models/deit_s.onnx",
"data": {"train": "data/train", "test": "data/val", "labels": "imagenet.txt", "preprocess": "auto"},
"defaults": {"recipe": "best", "logits": "sliced", "seed": 1},
"tasks": [{"name": "drone", "classes": ["car", "Truck", 7]}, {"name": "orchard", "classes": ["apple"]}],
"sizes": [{"rate": 0.4}, {"max-latency": "20ms"}, {"max-params": 8000000}, {"max-bytes": "12MB"}, {"min-accuracy": 0.95}, {"max-macs": "1.2G", "max-memory": "64MiB"}],
"targets": ["cpu", "raspberry-pi", {"name": "board", "like": "coreml", "provider-options": ["ModelFormat=NeuralNetwork"], "align": 16, "max-latency": "5ms"}],
"output": {"dir": "out", "name": "{task}-{size}-{target}.onnx"}}
`

func TestFormatsSayTheSame(t *testing.T) {
	c, err := configs.Parse("a.yaml", []byte(example), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c.Tasks[0].Classes, []string{"car", "Truck", "7"}) {
		t.Errorf("classes %q", c.Tasks[0].Classes)
	}
	var labels []string
	for _, s := range c.Sizes {
		labels = append(labels, s.Name)
	}
	if got, want := strings.Join(labels, " "), "rate-0.4 latency-20ms params-8M bytes-12MB accuracy-0.95 macs-1.2G-memory-67.108864MB"; got != want {
		t.Errorf("sizes %s, want %s", got, want)
	}
	if s := c.Sizes; s[1].MaxLatency != 20*time.Millisecond || s[2].MaxParams != 8e6 || s[3].MaxBytes != 12e6 || s[5].MaxMACs != 1.2e9 || s[5].MaxMemory != 64<<20 {
		t.Errorf("sizes %+v", s)
	}
	board, err := c.Targets[2].Resolve()
	if err != nil || board.Name != "board" || board.Provider != "CoreML" || board.ProviderOptions["ModelFormat"] != "NeuralNetwork" || board.Align != 16 || board.Batch != 1 || board.MaxLatency != 5*time.Millisecond {
		t.Errorf("%+v, %v", board, err)
	}
	for name, text := range map[string]string{"a.toml": inTOML, "a.json": inJSON} {
		d, err := configs.Parse(name, []byte(text), nil)
		if err != nil {
			t.Fatal(name, err)
		}
		if !reflect.DeepEqual(c, d) {
			t.Errorf("%s says %+v, want %+v", name, d, c)
		}
	}
}

// The environment comes before the file, flags before both.
func TestOverrides(t *testing.T) {
	t.Setenv("NUWA_BASE", "other.onnx")
	t.Setenv("NUWA_DEFAULTS_SEED", "7")
	t.Setenv("NUWA_DATA_PREPROCESS_ORDER", "BGR")
	c, err := configs.Parse("a.yaml", []byte(example), map[string]any{"defaults.seed": 9, "output.dir": "there"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Base != "other.onnx" || c.Defaults.Seed != 9 || c.Data.Preprocess.Order != "BGR" || c.Output.File("a", "b", "c") != "there/a-b-c.onnx" {
		t.Errorf("%+v", c)
	}
	t.Setenv("NUWA_DEFAULTS_SEED", "many")
	if _, err := configs.Parse("a.yaml", []byte(example), nil); err == nil || !strings.HasPrefix(err.Error(), "NUWA_DEFAULTS_SEED: ") {
		t.Errorf("got %v", err)
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"tasks:", "task:", `a.yaml: line 4: got the key "task", want a key of the file's top level (the nearest is tasks)`},
		{"classes: [car", "clases: [car", `a.yaml: line 5: got the key "clases", want a key of tasks[0] (the nearest is classes)`},
		{"max-bytes: 12MB", "max-byte: 12MB", `a.yaml: line 7: got the key "max-byte", want a key of sizes[3] (the nearest is max-bytes)`},
		{"align: 16", "aline: 16", `line 8: got the key "aline", want a key of targets[2]`},
		{"recipe: best", "recipe: bets", `a.yaml: line 3: defaults.recipe: got "bets", want best or paper (did you mean best?)`},
		{"seed: 1", "seed: one", `a.yaml: line 3: defaults.seed: `},
		{"seed: 1", "seed: 1.5", `a.yaml: line 3: defaults.seed: got 1.5, want a whole number`},
		{"seed: 1", "seed: -1", `a.yaml: line 3: defaults.seed: got -1, want 0 or more`},
		{"seed: 1", "seed: 1, seed: 2", `a.yaml: `},
		{"20ms", "20", `line 7: sizes[1].max-latency: got 20, want a time with its unit`},
		{"8M", "8Q", `line 7: sizes[2].max-params: got "8Q", want a number such as 8M`},
		{"{rate: 0.4}", "{rate: 1.4}", `line 7: sizes[0].rate: got 1.4, want at least 0 and below 1`},
		{"{rate: 0.4}", "{rate: 0.4, max-bytes: 1MB}", `line 7: sizes[0]: got rate-0.4-bytes-1MB, want a rate, limits, or a min-accuracy`},
		{"{rate: 0.4}", "{}", `line 7: sizes[0]: got nothing`},
		{"{rate: 0.4}", "0.4", `line 7: sizes[0]`},
		{"name: orchard", "name: drone", `line 6: tasks[1].name: got "drone" a second time`},
		{"name: orchard", "name: a/b", `line 6: tasks[1].name: got "a/b"`},
		{"classes: [apple]", "classes: [true]", `line 6: tasks[1].classes[0]: got true, want no truth value`},
		{"classes: [apple]", "classes: []", `line 6: tasks[1].classes: got none`},
		{"classes: [apple]", "classes-file: none.txt", `none.txt: no such file`},
		{"raspberry-pi", "rasberry-pi", `line 8: targets[1]: got "rasberry-pi", want one of cpu`},
		{"-{size}", "", `line 9: output.name: got "{task}-{target}.onnx", want a name with {size} in it`},
		{"{target}.onnx", "{target}.{onnx}", `line 9: output.name: `},
		{"train: data/train", "train: ''", `line 2: data.train: got no images`},
		{"tasks:", "\ttasks:", `a.yaml: `},
	} {
		text := strings.Replace(example, c.from, c.to, 1)
		if text == example {
			t.Fatalf("%q is not in the example", c.from)
		}
		_, err := configs.Parse("a.yaml", []byte(text), nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || fault.KindOf(err) != fault.Usage && fault.KindOf(err) != fault.Data {
			t.Errorf("%s: got %v, want %s", c.to, err, c.want)
		}
	}
	for name, c := range map[string]struct{ text, want string }{
		"a.toml": {strings.Replace(inTOML, "max-params", "max-param", 1), `a.toml: line 19: got the key "max-param", want a key of sizes[2] (the nearest is max-params)`},
		"b.toml": {strings.Replace(inTOML, "align", "aline", 1), `b.toml: line 3: got the key "aline", want a key of targets[2] (the nearest is `},
		"a.json": {strings.Replace(inJSON, `"apple"`, `true`, 1), `a.json: line 4: tasks[1].classes[0]: got true`},
		"a.txt":  {example, `want .yaml, .toml or .json`},
	} {
		if _, err := configs.Parse(name, []byte(c.text), nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}

func TestPresetsAreSound(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("fruit.txt", []byte("# fruit\napple\n\npear\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range configs.Presets() {
		text, err := configs.Preset(name)
		if err != nil {
			t.Fatal(err)
		}
		c, err := configs.Parse(name+".yaml", text, nil)
		if err != nil {
			t.Error(err)
		} else if name == "paper" && !reflect.DeepEqual(c.Tasks[0].Classes, []string{"apple", "pear"}) {
			t.Errorf("classes %q", c.Tasks[0].Classes)
		}
	}
	if _, err := configs.Preset("budget"); err == nil || !strings.Contains(err.Error(), "did you mean budgets?") {
		t.Errorf("got %v", err)
	}
}

// The schema that editors use is that of the types.
func TestSchemaFile(t *testing.T) {
	got, err := os.ReadFile("schema.json")
	if err != nil || !bytes.Equal(got, configs.Schema()) {
		t.Error("configs/schema.json is not what `nuwa config schema` prints", err)
	}
	for _, key := range configs.Keys() {
		if !bytes.Contains(got, []byte(`"`+key[strings.LastIndex(key, ".")+1:]+`"`)) {
			t.Errorf("the schema lacks %s", key)
		}
	}
}
