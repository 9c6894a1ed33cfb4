package modelfile

import (
	"fmt"

	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/ort"
)

// Runtime says how ONNX Runtime is found and used.
type Runtime struct {
	Library   string // the shared library; "" looks in the usual places
	Threads   int    // 0 means all cores
	Providers []string
}

// Load loads ONNX Runtime, once a process.
func (r Runtime) Load() (*ort.Library, error) {
	if r.Threads < 0 {
		return nil, &fault.Error{Kind: fault.Usage, Where: "threads", Got: fmt.Sprint(r.Threads), Want: "0, for all cores, or more"}
	}
	return ort.Load(r.Library)
}

// Engine returns what runs graphs as r says, once ONNX Runtime is loaded.
func (r Runtime) Engine() *engine.Engine {
	e := &engine.Engine{Threads: r.Threads}
	for _, p := range r.Providers {
		e.Providers = append(e.Providers, ort.Provider(p))
	}
	return e
}

// Start loads ONNX Runtime and returns the engine that uses it.
func (r Runtime) Start() (*engine.Engine, error) {
	if _, err := r.Load(); err != nil {
		return nil, err
	}
	return r.Engine(), nil
}
