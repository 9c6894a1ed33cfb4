package testmodels

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// Case describes one untrained model, as its generator wrote it.
type Case struct {
	File     string `json:"file"`     // path below the index's folder, with slashes
	Spelling string `json:"spelling"` // how attention, or the part that gives the file its name, is written
	Opset    int    `json:"opset"`    // version of the default operator set
	Batch    string `json:"batch"`    // "static" (batch 1) or "dynamic"
	Blocks   int    `json:"blocks"`
	Heads    int    `json:"heads"`
	QK       int    `json:"qk"`     // query/key width per head
	VO       int    `json:"vo"`     // value/output width per head
	Hidden   int    `json:"hidden"` // MLP width
	Tokens   int    `json:"tokens"` // patches and class tokens
	Dim      int    `json:"dim"`    // embedding width
	Classes  int    `json:"classes"`
	Image    int    `json:"image"` // side of the input image in pixels

	// Prunable says which widths may be narrowed without changing what the
	// layers around them mean.
	Prunable Prunable `json:"prunable"`
	// DeclinedReasonHint says in a few words why a width must stay. It is
	// empty where all are prunable.
	DeclinedReasonHint string `json:"declined_reason_hint"`
	// Probe holds the logits PyTorch computes for ProbeInput, batch 1.
	Probe []float64 `json:"probe"`

	dir string
}

// Prunable tells for each kind of width whether it may be narrowed.
type Prunable struct {
	QK     bool `json:"qk"`
	VO     bool `json:"vo"`
	Hidden bool `json:"hidden"`
}

// Dynamic reports whether the batch size is symbolic.
func (c Case) Dynamic() bool { return c.Batch == "dynamic" }

// Path returns the model's file name in the source tree.
func (c Case) Path() string { return filepath.Join(c.dir, filepath.FromSlash(c.File)) }

// Tiny returns the cases of the folder tiny: every spelling of attention and
// of the MLP, export options, and models that are no Vision Transformers.
func Tiny() ([]Case, error) { return index("tiny") }

// Planted returns the cases of the folder planted: half of the hidden neurons
// are copies, and the products of each head have half rank, so that half of
// qk, vo and hidden can go without any change of the outputs.
func Planted() ([]Case, error) { return index("planted") }

// Dir returns the folder of this package in the source tree. It is meaningful
// only where the sources of the program's build are present.
func Dir() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) {
		return "", errors.New("testmodels: source path unknown: build without -trimpath")
	}
	return filepath.Dir(file), nil
}

func index(name string) ([]Case, error) {
	root, err := Dir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(root, name)
	cases, err := listed[Case](dir)
	for i := range cases {
		cases[i].dir = dir
	}
	return cases, err
}

// listed returns what the index.json of a folder lists.
func listed[T any](dir string) ([]T, error) {
	file := filepath.Join(dir, "index.json")
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("testmodels: %w", err)
	}
	var list []T
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("testmodels: %s: %w", file, err)
	}
	return list, nil
}
