package target

import (
	"embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"nuwa/internal/fault"
)

// Target is what a device wants. A zero field wants nothing in particular.
type Target struct {
	Name            string            `json:"name" mapstructure:"name"`
	Provider        string            `json:"provider,omitempty" mapstructure:"provider"`                 // ONNX Runtime's execution provider by its short name; "" means CPU
	ProviderOptions map[string]string `json:"provider_options,omitempty" mapstructure:"provider-options"` // handed to the provider as they are
	Threads         int               `json:"threads,omitempty" mapstructure:"threads"`                   // inside one operator; 0 means all
	Opset           int               `json:"opset,omitempty" mapstructure:"opset"`                       // the newest that the device reads
	Operators       []string          `json:"operators,omitempty" mapstructure:"operators"`               // those it runs, with their domain before a dot unless it is ONNX's own; nil means all
	Align           int               `json:"align,omitempty" mapstructure:"align"`                       // widths are multiples of this
	Precision       string            `json:"precision,omitempty" mapstructure:"precision"`               // fp32, fp16 or int8
	Batch           int               `json:"batch,omitempty" mapstructure:"batch"`                       // images per run, fixed in the model; 0 leaves it as it is
	Layout          string            `json:"layout,omitempty" mapstructure:"layout"`                     // of the input: nchw or nhwc
	Fuse            string            `json:"fuse,omitempty" mapstructure:"fuse"`                         // ort: contrib operators of ONNX Runtime; onnx: standard ones; none: plain ones
	Norms           string            `json:"norms,omitempty" mapstructure:"norms"`                       // fast: in the operators that ONNX Runtime's CPU is fastest at; keep: as exported
	MaxMemory       int64             `json:"max_memory,omitempty" mapstructure:"max-memory"`             // bytes while running
	MaxLatency      time.Duration     `json:"max_latency_ns,omitempty" mapstructure:"max-latency"`        // of one run
}

// What the fields of a Target may say, besides nothing.
var (
	Precisions = []string{"fp32", "fp16", "int8"}
	Layouts    = []string{"nchw", "nhwc"}
	Fusions    = []string{"ort", "onnx", "none"}
	Spellings  = []string{"fast", "keep"} // of norms
)

//go:embed operators/*.txt
var operators embed.FS

// presets are the devices known by name. Opsets and operators are those that
// the runtimes document: the TensorRT parser 10.15, OpenVINO as an execution
// provider, Core ML's ML programs, Qualcomm's QNN, and XNNPACK, of ONNX Runtime
// 1.2x each.
var presets = []Target{
	{Name: "cpu", Provider: "CPU", Align: 16, Precision: "fp32", Fuse: "ort", Norms: "fast"},
	{Name: "raspberry-pi", Provider: "CPU", Threads: 4, Opset: 17, Align: 16, Precision: "fp32", Batch: 1, Fuse: "ort", Norms: "fast"},
	{Name: "tensorrt", Provider: "TensorRT", Opset: 24, Align: 8, Precision: "fp16", Fuse: "none", Norms: "keep",
		ProviderOptions: map[string]string{"trt_fp16_enable": "1"}},
	{Name: "openvino", Provider: "OpenVINO", Opset: 17, Align: 16, Precision: "fp32", Fuse: "none", Norms: "keep"},
	{Name: "coreml", Provider: "CoreML", Opset: 20, Align: 8, Precision: "fp16", Batch: 1, Fuse: "none", Norms: "keep",
		ProviderOptions: map[string]string{"ModelFormat": "MLProgram"}},
	{Name: "qnn", Provider: "QNN", Opset: 21, Align: 32, Precision: "int8", Batch: 1, Fuse: "none", Norms: "keep"},
	{Name: "xnnpack", Provider: "XNNPACK", Opset: 17, Align: 8, Precision: "fp32", Batch: 1, Fuse: "none", Norms: "fast"},
	{Name: "web", Provider: "CPU", Opset: 21, Align: 8, Precision: "fp32", Batch: 1, Fuse: "ort", Norms: "fast"},
}

// Presets returns the names of the devices that Preset knows.
func Presets() []string {
	names := make([]string, len(presets))
	for i, t := range presets {
		names[i] = t.Name
	}
	return names
}

// Preset returns what is known of a device.
func Preset(name string) (Target, error) {
	for _, t := range presets {
		if t.Name != name {
			continue
		}
		if list, err := operators.ReadFile("operators/" + name + ".txt"); err == nil {
			t.Operators = strings.Fields(string(list))
		}
		return t, nil
	}
	names := Presets()
	return Target{}, &fault.Error{Kind: fault.Usage, Where: "target", Got: fmt.Sprintf("%q", name),
		Want: "one of " + strings.Join(names, ", "), Remedy: "did you mean " + fault.Nearest(name, names, 1)[0] + "?"}
}

// Validate reports a field that says nothing known.
func (t Target) Validate() error {
	bad := func(field, got, want string) error {
		return &fault.Error{Kind: fault.Usage, Where: "target " + t.Name + ": " + field, Got: got, Want: want}
	}
	for _, f := range []struct {
		field, got string
		want       []string
	}{{"precision", t.Precision, Precisions}, {"layout", t.Layout, Layouts}, {"fuse", t.Fuse, Fusions}, {"norms", t.Norms, Spellings}} {
		if f.got != "" && !slices.Contains(f.want, f.got) {
			return bad(f.field, fmt.Sprintf("%q", f.got), "one of "+strings.Join(f.want, ", "))
		}
	}
	if len(t.ProviderOptions) > 0 && (t.Provider == "" || t.Provider == "CPU") {
		return bad("provider-options", fmt.Sprint(t.ProviderOptions), "none, as the CPU takes none")
	}
	for _, f := range []struct {
		field string
		got   int64
	}{{"threads", int64(t.Threads)}, {"opset", int64(t.Opset)}, {"align", int64(t.Align)}, {"batch", int64(t.Batch)},
		{"max-memory", t.MaxMemory}, {"max-latency", int64(t.MaxLatency)}} {
		if f.got < 0 {
			return bad(f.field, fmt.Sprint(f.got), "0 or more")
		}
	}
	return nil
}
