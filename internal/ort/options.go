package ort

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"

	ort "github.com/yalue/onnxruntime_go"

	"nuwa/graph"
	"nuwa/internal/fault"
	"nuwa/internal/ort/release"
)

// Options says how a model is to be run. The zero value is the fastest way on
// the CPU.
type Options struct {
	Name      string                   // what errors call the model, usually its path
	Dir       string                   // folder of the model's external data; "" when it has none
	Threads   int                      // threads inside one operator; 0 = all processors the process may use
	Providers []Provider               // preferred execution providers, best first; the CPU is always last
	Provider  map[string]string        // options of the first of Providers, handed to it as they are
	Optimize  Level                    // graph optimization before the first run
	LowMemory bool                     // keep no rearranged copies of the weights and no memory arena; slower
	Profile   bool                     // record the time of each node, for Session.Profile
	Weights   map[string]*graph.Tensor // inputs of the model that every run is given; they are shared and must not be changed
	Rewritten string                   // file to write what ONNX Runtime rewrites the model to; "" for none
}

// Level is how far ONNX Runtime rewrites a graph for itself.
type Level int

// The levels. All is what a user's own application gets by default.
const (
	All Level = iota
	Extended
	Basic
	None
)

var levels = map[Level]ort.GraphOptimizationLevel{
	All:      ort.GraphOptimizationLevelEnableAll,
	Extended: ort.GraphOptimizationLevelEnableExtended,
	Basic:    ort.GraphOptimizationLevelEnableBasic,
	None:     ort.GraphOptimizationLevelDisableAll,
}

// Provider is an execution provider by its short name. Those not listed here
// are passed to ONNX Runtime as they are.
type Provider string

// Execution providers.
const (
	CPU      Provider = "CPU"
	CUDA     Provider = "CUDA"
	TensorRT Provider = "TensorRT"
	CoreML   Provider = "CoreML"
	DirectML Provider = "DML"
	OpenVINO Provider = "OpenVINO"
	QNN      Provider = "QNN"
	XNNPACK  Provider = "XNNPACK"
)

// Providers returns the execution providers that can be used here, found by
// trying each of the constants. WebGPU is not among them: trying it starts
// the graphics driver.
func (l *Library) Providers() []Provider {
	var out []Provider
	for _, p := range []Provider{TensorRT, CUDA, CoreML, DirectML, OpenVINO, QNN, XNNPACK, CPU} {
		o, err := ort.NewSessionOptions()
		if err != nil {
			return []Provider{CPU}
		}
		if addProvider(o, p, nil) == nil {
			out = append(out, p)
		}
		_ = o.Destroy()
	}
	return out
}

// ThreadCount returns the number of threads that Options.Threads n means.
func ThreadCount(n int) int {
	if n > 0 {
		return n
	}
	return runtime.GOMAXPROCS(0)
}

// session translates o. The result must be destroyed.
func (o Options) session(profilePrefix string) (*ort.SessionOptions, error) {
	if o.Threads < 0 {
		return nil, &fault.Error{Kind: fault.Usage, Where: "threads", Got: fmt.Sprint(o.Threads), Want: "0 (all) or more"}
	}
	level, ok := levels[o.Optimize]
	if !ok {
		return nil, &fault.Error{Kind: fault.Usage, Where: "optimization level", Got: fmt.Sprint(int(o.Optimize)), Want: "0 to 3"}
	}
	so, err := ort.NewSessionOptions()
	if err != nil {
		return nil, o.fail(err)
	}
	set := []error{
		so.SetIntraOpNumThreads(ThreadCount(o.Threads)),
		so.SetInterOpNumThreads(1),
		so.SetExecutionMode(ort.ExecutionModeSequential),
		so.SetGraphOptimizationLevel(level),
		so.SetLogSeverityLevel(ort.LoggingLevelFatal), // errors come back as errors
		// A session at rest must not take processors from another one.
		so.AddSessionConfigEntry("session.force_spinning_stop", "1"),
	}
	if o.Dir != "" {
		dir, err := filepath.Abs(o.Dir)
		set = append(set, err, so.AddSessionConfigEntry("session.model_external_initializers_file_folder_path", dir))
	}
	if o.LowMemory {
		set = append(set, so.SetCpuMemArena(false), so.AddSessionConfigEntry("session.disable_prepacking", "1"))
	}
	if o.Rewritten != "" {
		set = append(set, so.SetOptimizedModelFilePath(o.Rewritten))
	}
	if profilePrefix != "" {
		set = append(set, so.EnableProfiling(profilePrefix))
	}
	if err := errors.Join(set...); err != nil {
		_ = so.Destroy()
		return nil, o.fail(err)
	}
	for i, p := range o.Providers {
		var options map[string]string
		if i == 0 {
			options = o.Provider
		}
		if err := addProvider(so, p, options); err != nil {
			_ = so.Destroy()
			return nil, &fault.Error{Kind: fault.Runtime, File: o.Name, Where: "execution provider " + string(p), Err: err,
				Remedy: "see which ones `nuwa doctor` lists, or point " + release.Env + " at an ONNX Runtime that has it"}
		}
	}
	return so, nil
}

func addProvider(o *ort.SessionOptions, p Provider, options map[string]string) error {
	switch p {
	case CPU:
		if len(options) > 0 {
			return errors.New("the CPU takes no options")
		}
		return nil
	case CUDA:
		cuda, err := ort.NewCUDAProviderOptions()
		if err != nil {
			return err
		}
		defer func() { _ = cuda.Destroy() }()
		if err := cuda.Update(options); err != nil {
			return err
		}
		return o.AppendExecutionProviderCUDA(cuda)
	case TensorRT:
		rt, err := ort.NewTensorRTProviderOptions()
		if err != nil {
			return err
		}
		defer func() { _ = rt.Destroy() }()
		if err := rt.Update(options); err != nil {
			return err
		}
		return o.AppendExecutionProviderTensorRT(rt)
	}
	return o.AppendExecutionProvider(string(p), options)
}
