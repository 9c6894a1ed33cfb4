package examine

import (
	"nuwa/internal/modelfile"
	"nuwa/internal/ort"
)

// Health is what Doctor found.
type Health struct {
	Version   string   `json:"version"` // of nuwa
	Library   string   `json:"onnxruntime"`
	Source    string   `json:"found_by"`
	Runtime   string   `json:"onnxruntime_version"`
	API       int      `json:"api_level"`
	Providers []string `json:"providers"`
	Threads   int      `json:"threads"`
}

// Doctor finds ONNX Runtime and says which one it is and what it offers.
func Doctor(r modelfile.Runtime) (*Health, error) {
	lib, err := r.Load()
	if err != nil {
		return nil, err
	}
	h := &Health{Version: modelfile.Version, Library: lib.Path, Source: lib.Source, Runtime: lib.Version, API: lib.API, Threads: ort.ThreadCount(r.Threads)}
	for _, p := range lib.Providers() {
		h.Providers = append(h.Providers, string(p))
	}
	return h, nil
}
