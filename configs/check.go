package configs

import (
	"bufio"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"nuwa/exporter/target"
	"nuwa/internal/fault"
)

// complete fills in what follows from the rest and reports the first thing that
// makes no sense, by its key.
func (c *Config) complete() error {
	if c.Base == "" {
		return bad("base", "no file", "an ONNX file")
	}
	if err := enums(reflect.ValueOf(*c), ""); err != nil {
		return err
	}
	if c.Data.Train == "" && c.Defaults.Calibration != "synthetic" {
		return bad("data.train", "no images", "a folder with a folder per class, or calibration: synthetic")
	}
	for _, x := range []struct {
		key string
		got int
	}{{"defaults.images", c.Defaults.Images}, {"defaults.align", c.Defaults.Align}, {"defaults.merge", c.Defaults.Merge}, {"defaults.purify-steps", c.Defaults.PurifySteps}, {"data.preprocess.size", c.Data.Preprocess.Size}} {
		if x.got < 0 {
			return bad(x.key, fmt.Sprint(x.got), "0 or more")
		}
	}
	for key, xs := range map[string][]float32{"data.preprocess.mean": c.Data.Preprocess.Mean, "data.preprocess.std": c.Data.Preprocess.Std} {
		if len(xs) != 0 && len(xs) != 3 {
			return bad(key, fmt.Sprint(xs), "three numbers")
		}
	}
	for _, part := range []func() error{c.completeTasks, c.completeSizes, c.completeTargets, c.completeOutput} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

func bad(key, got, want string) *fault.Error {
	return &fault.Error{Kind: fault.Usage, Where: key, Got: got, Want: want}
}

// enums holds values to the names they may have.
func enums(v reflect.Value, path string) error {
	switch {
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			if err := enums(v.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case isTable(v.Type()):
		for f := range eachField(v.Type()) {
			name, x := strings.TrimPrefix(path+"."+f.name, "."), v.FieldByIndex(f.Index)
			if len(f.enum) > 0 && x.String() != "" && !slices.Contains(f.enum, x.String()) {
				e := bad(name, fmt.Sprintf("%q", x.String()), strings.Join(f.enum, " or "))
				e.Remedy = "did you mean " + fault.Nearest(x.String(), f.enum, 1)[0] + "?"
				return e
			}
			if err := enums(x, name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Config) completeTasks() error {
	if len(c.Tasks) == 0 {
		return bad("tasks", "none", "at least one set of wanted classes")
	}
	names := map[string]bool{}
	for i := range c.Tasks {
		t, key := &c.Tasks[i], fmt.Sprintf("tasks[%d]", i)
		if err := named(t.Name, key+".name", names); err != nil {
			return err
		}
		switch {
		case len(t.Classes) > 0 && t.ClassesFile != "":
			return bad(key, "classes and classes-file", "one of them")
		case len(t.Classes) == 0 && t.ClassesFile == "":
			return bad(key+".classes", "none", "names or logit numbers, or all")
		case t.ClassesFile != "":
			var err error
			if t.Classes, err = readLines(t.ClassesFile); err != nil {
				return err
			}
			t.ClassesFile = ""
		}
	}
	return nil
}

// named holds a name to being the part of a file's name, and no other's.
func named(name, key string, names map[string]bool) error {
	switch {
	case name == "" || strings.ContainsAny(name, `/\:*?"<>|{}`) || strings.HasPrefix(name, "."):
		return bad(key, fmt.Sprintf("%q", name), "a name that can be a part of a file's name")
	case names[name]:
		return bad(key, fmt.Sprintf("%q a second time", name), "names that differ")
	}
	names[name] = true
	return nil
}

// readLines returns the lines of a file that are neither empty nor, after #,
// comments.
func readLines(file string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, &fault.Error{Kind: fault.Data, File: file, Err: plain(err), Remedy: "write one class per line"}
	}
	defer f.Close()
	var out []string
	s := bufio.NewScanner(f)
	for s.Scan() {
		if line := strings.TrimSpace(s.Text()); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	if err := s.Err(); err != nil {
		return nil, &fault.Error{Kind: fault.Data, File: file, Err: err}
	}
	if len(out) == 0 {
		return nil, &fault.Error{Kind: fault.Data, File: file, Got: "no classes", Want: "one per line"}
	}
	return out, nil
}

func (c *Config) completeSizes() error {
	if len(c.Sizes) == 0 {
		return bad("sizes", "none", "at least one, such as {rate: 0.5}")
	}
	names := map[string]bool{}
	for i := range c.Sizes {
		s, key := &c.Sizes[i], fmt.Sprintf("sizes[%d]", i)
		limits := 0
		for k, v := range map[string]int64{"max-macs": int64(s.MaxMACs), "max-params": int64(s.MaxParams), "max-bytes": int64(s.MaxBytes),
			"max-memory": int64(s.MaxMemory), "max-latency": int64(s.MaxLatency)} {
			if v < 0 {
				return bad(key+"."+k, fmt.Sprint(v), "more than 0")
			}
			if v > 0 {
				limits++
			}
		}
		switch {
		case !(s.Rate >= 0 && s.Rate < 1):
			return bad(key+".rate", fmt.Sprint(s.Rate), "at least 0 and below 1")
		case !(s.MinAccuracy >= 0 && s.MinAccuracy <= 1):
			return bad(key+".min-accuracy", fmt.Sprint(s.MinAccuracy), "0 to 1")
		case s.Rate > 0 && limits > 0 || s.Rate > 0 && s.MinAccuracy > 0 || s.MinAccuracy > 0 && limits > 0:
			return bad(key, s.Label(), "a rate, limits, or a min-accuracy")
		case s.Rate == 0 && s.MinAccuracy == 0 && limits == 0:
			return bad(key, "nothing", "a rate, a limit such as max-params, or min-accuracy")
		}
		s.Name = s.Label()
		if err := named(s.Name, key, names); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) completeTargets() error {
	if len(c.Targets) == 0 {
		c.Targets = []Target{{Name: "cpu"}}
	}
	names := map[string]bool{}
	for i := range c.Targets {
		t, key := &c.Targets[i], fmt.Sprintf("targets[%d]", i)
		if err := named(t.Name, key+".name", names); err != nil {
			return err
		}
		if _, err := t.Resolve(); err != nil {
			e := err.(*fault.Error)
			e.Where = key
			return e
		}
	}
	return nil
}

// Resolve returns the preset that t starts from, with t's own wishes laid over
// it.
func (t Target) Resolve() (target.Target, error) {
	like := t.Like
	if like == "" {
		like = t.Name
	}
	out, err := target.Preset(like)
	if err != nil {
		return out, err
	}
	own := target.Target{Name: t.Name, Provider: t.Provider, Threads: t.Threads, Opset: t.Opset, Operators: t.Operators, Align: t.Align, Precision: t.Precision,
		Batch: t.Batch, Layout: t.Layout, Fuse: t.Fuse, Norms: t.Norms, MaxMemory: int64(t.MaxMemory), MaxLatency: t.MaxLatency}
	for _, o := range t.ProviderOptions {
		name, value, ok := strings.Cut(o, "=")
		if !ok || name == "" {
			return out, bad("provider-options", fmt.Sprintf("%q", o), "NAME=VALUE")
		}
		if own.ProviderOptions == nil {
			own.ProviderOptions = map[string]string{}
		}
		own.ProviderOptions[name] = value
	}
	from, to := reflect.ValueOf(own), reflect.ValueOf(&out).Elem()
	for i := range from.NumField() {
		if x := from.Field(i); !x.IsZero() {
			to.Field(i).Set(x)
		}
	}
	return out, out.Validate()
}

func (c *Config) completeOutput() error {
	for part, many := range map[string]bool{"{task}": len(c.Tasks) > 1, "{size}": len(c.Sizes) > 1, "{target}": len(c.Targets) > 1} {
		if many && !strings.Contains(c.Output.Name, part) {
			return bad("output.name", fmt.Sprintf("%q", c.Output.Name), "a name with "+part+" in it, or models would have the same name")
		}
	}
	rest := strings.NewReplacer("{task}", "", "{size}", "", "{target}", "").Replace(c.Output.Name)
	if !strings.HasSuffix(rest, ".onnx") || strings.ContainsAny(rest, `/\{}`) {
		return bad("output.name", fmt.Sprintf("%q", c.Output.Name), "a file's name that ends in .onnx, with {task}, {size} and {target} in it")
	}
	return nil
}
