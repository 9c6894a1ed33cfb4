package testmodels

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
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

// Zoo returns the models that the index.json of every folder of zoo lists. A
// folder may be packed into a zip archive.
func Zoo() ([]Model, error) {
	root, err := Dir()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(root, "zoo"))
	if err != nil {
		return nil, fmt.Errorf("testmodels: %w", err)
	}
	var all []Model
	for _, e := range entries {
		dir := filepath.Join(root, "zoo", e.Name())
		if folder, packed := strings.CutSuffix(dir, ".zip"); packed {
			if _, err := os.Stat(folder); err == nil {
				continue // it is unpacked, to be changed
			}
			if dir, err = unpacked(dir); err != nil {
				return nil, fmt.Errorf("testmodels: %w", err)
			}
		}
		models, err := listed[Model](dir)
		if err != nil {
			return nil, err
		}
		for i := range models {
			models[i].dir = dir
		}
		all = append(all, models...)
	}
	return all, nil
}
