package nuwa

import (
	"context"

	"nuwa/exporter"
	"nuwa/importer"
	"nuwa/internal/engine"
	"nuwa/internal/ort"
)

// ExportOptions say what Export shall write.
type ExportOptions struct {
	Model, Output string
	Force         bool
	Weights       string // "" as the model has them, "embedded" or "external"
	Runtime       Runtime
}

// Exported is what Export wrote.
type Exported = exporter.Info

// Export imports a model and writes it again, unchanged unless asked. What it
// writes must load in ONNX Runtime.
func Export(_ context.Context, o ExportOptions) (*Exported, error) {
	eng, err := start(o.Runtime)
	if err != nil {
		return nil, err
	}
	weights := map[string]exporter.Weights{"": exporter.Keep, "embedded": exporter.Embedded, "external": exporter.External}
	w, ok := weights[o.Weights]
	if !ok {
		return nil, usage("weights", o.Weights, "embedded or external")
	}
	if err := vacant(o.Output, o.Force, o.Model); err != nil {
		return nil, err
	}
	m, err := importer.Load(o.Model)
	if err != nil {
		return nil, err
	}
	info, err := exporter.Write(m, o.Output, exporter.Options{Force: o.Force, Weights: w, Validate: func(tmp string) error {
		importer.Unload()
		s, err := ort.NewSessionFile(tmp, ort.Options{Name: o.Model, Threads: eng.Threads, Optimize: ort.None, LowMemory: engine.Heavy(m)})
		if err != nil {
			return err
		}
		return s.Close()
	}})
	if err != nil {
		return nil, err
	}
	return &info, nil
}
