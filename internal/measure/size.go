package measure

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"nuwa/graph"
	"nuwa/internal/cost"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
)

// Size is what a model takes.
type Size struct {
	MACs   int64 `json:"macs"`            // multiply-accumulates per image
	Params int64 `json:"params"`          // elements of the weights
	Bytes  int64 `json:"bytes,omitempty"` // on disk, external data included; 0 if there is no file
}

// SizeOf counts what g takes, which is in the file at path, or in none when
// path is "". It runs g to learn shapes.
func SizeOf(ctx context.Context, eng *engine.Engine, g *graph.Model, path string) (Size, error) {
	shapes, err := eng.Shapes(ctx, g)
	if err != nil {
		return Size{}, err
	}
	c, err := cost.Of(g, shapes)
	if err != nil {
		return Size{}, err
	}
	s := Size{MACs: c.MACs, Params: c.Params}
	if path != "" {
		s.Bytes, err = fileBytes(g, path)
	}
	return s, err
}

// fileBytes returns the size of the model's file and of the files beside it
// that hold its external data.
func fileBytes(g *graph.Model, path string) (total int64, err error) {
	for _, f := range Files(g, path) {
		info, err := os.Stat(f)
		if err != nil {
			return 0, &fault.Error{Kind: fault.IO, File: f, Where: "size of the model", Err: err}
		}
		total += info.Size()
	}
	return total, nil
}

// Files returns path, where g is, and the files beside it that hold g's external
// data, in the order of their names.
func Files(g *graph.Model, path string) []string {
	external := map[string]bool{}
	note := func(t *graph.Tensor) {
		if t == nil || t.Storage != graph.StoreExternal {
			return
		}
		for _, e := range t.External {
			if e.Key == "location" {
				external[filepath.Join(filepath.Dir(path), filepath.FromSlash(e.Value))] = true
			}
		}
	}
	for h := range g.Graphs {
		for _, v := range h.Consts() {
			note(v.Default())
		}
		for _, n := range h.Nodes() {
			for _, a := range n.Attrs() {
				for _, t := range a.Tensors {
					note(t)
				}
			}
		}
	}
	delete(external, path)
	return append([]string{path}, slices.Sorted(maps.Keys(external))...)
}
