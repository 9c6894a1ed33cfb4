package testmodels

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Model describes one model of the zoo: an architecture as an exporter writes
// it, untrained.
type Model struct {
	File         string `json:"file"`         // path below the index's folder, with slashes
	Exporter     string `json:"exporter"`     // what wrote the file, or whose operators it is made of
	Architecture string `json:"architecture"` // as its authors call it
	// Planted counts the sites in which half of the width is redundant, so that
	// it can go without any change of the outputs.
	Planted Sites `json:"planted"`

	dir string
}

// Sites counts sites by part.
type Sites struct {
	QK     int `json:"qk"`
	VO     int `json:"vo"`
	Hidden int `json:"hidden"`
}

// Path returns the model's file name in the source tree.
func (m Model) Path() string { return filepath.Join(m.dir, filepath.FromSlash(m.File)) }

// Zoo returns the models that every index.json one folder below zoo lists.
func Zoo() ([]Model, error) {
	root, err := Dir()
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(root, "zoo", "*", "index.json"))
	if err != nil {
		return nil, fmt.Errorf("testmodels: zoo: %w", err)
	}
	slices.Sort(files)
	var all []Model
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("testmodels: zoo: %w", err)
		}
		var models []Model
		if err := json.Unmarshal(data, &models); err != nil {
			return nil, fmt.Errorf("testmodels: %s: %w", file, err)
		}
		for i := range models {
			models[i].dir = filepath.Dir(file)
		}
		all = append(all, models...)
	}
	return all, nil
}
