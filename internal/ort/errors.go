package ort

import (
	"errors"
	"regexp"
	"strings"

	ort "github.com/yalue/onnxruntime_go"

	"nuwa/internal/fault"
	"nuwa/internal/ort/release"
)

// cause is an error of the binding, shown in ONNX Runtime's own words.
type cause struct {
	text string
	err  error
}

func (c *cause) Error() string { return c.text }
func (c *cause) Unwrap() error { return c.err }

// fail turns an error of the binding into a fault.Runtime that names the node
// ONNX Runtime blames, if it does, and the remedy, if there is one. A nil
// error stays nil.
func (o Options) fail(err error) error {
	if err == nil {
		return nil
	}
	text := source.ReplaceAllString(err.Error(), "")
	for _, prefix := range wrappers {
		text = strings.TrimPrefix(text, prefix)
	}
	f := &fault.Error{Kind: fault.Runtime, File: o.Name, Where: blamed(text)}
	f.Err = &cause{text: strings.TrimSpace(status.ReplaceAllString(text, "")), err: err}
	for _, r := range remedies {
		if strings.Contains(text, r.message) {
			f.Remedy = r.remedy
			break
		}
	}
	return f
}

// What the binding puts before ONNX Runtime's message, outermost first.
var wrappers = []string{"Error loading temporary session: ", "Error creating C session: ", "Error running network: ", "Error creating tensor from ort: "}

// What ONNX Runtime puts before the message of a kernel, once for each graph
// that the kernel is nested in.
var status = regexp.MustCompile(`(?s)^Non-zero status code returned while running .* Status Message: |\[ONNXRuntimeError\] : \d+ : |Load model from \S+ failed:`)

// Where in ONNX Runtime's own sources a message comes from: a path with a line
// number, and the C++ signature that follows it.
var source = regexp.MustCompile(`/onnxruntime_src/\S+:\d+ [^()]*\((?:[^()]|\([^()]*\))*\)(?: const)? `)

// The ways in which ONNX Runtime names a node.
var blames = []*regexp.Regexp{
	regexp.MustCompile(`while running (?P<op>\S+) node\. Name:'(?P<name>.*?)' Status Message`),
	regexp.MustCompile(`In Node, \("(?P<name>.*?)", (?P<op>[^,]+), `),
	regexp.MustCompile(`Node \((?P<name>.*?)\) Op \((?P<op>[^)]+)\)`),
	regexp.MustCompile(`operator \((?P<op>[^)]+)\) in node \((?P<name>.*?)\)`),
	regexp.MustCompile(`Optype \((?P<op>[^)]+)\) .* in node \((?P<name>.*?)\)`),
	regexp.MustCompile(`implementation for (?P<op>\S+?)\(-?\d+\) node with name '(?P<name>.*?)'`),
	regexp.MustCompile(`of node \((?P<name>.*?)\)`),
	regexp.MustCompile(`Fatal error: (?P<op>\S+?)\(-?\d+\) is not a registered`),
}

// blamed returns the node that a message names, as `node "name" (Op)`, or "".
func blamed(text string) string {
	for _, re := range blames {
		all := re.FindAllStringSubmatch(text, -1)
		if all == nil {
			continue
		}
		m := all[len(all)-1] // the innermost
		get := func(group string) string {
			if i := re.SubexpIndex(group); i >= 0 {
				return m[i]
			}
			return ""
		}
		name, op := get("name"), get("op")
		switch {
		case name == "":
			return "unnamed node (" + op + ")"
		case op == "":
			return `node "` + name + `"`
		}
		return `node "` + name + `" (` + op + ")"
	}
	return ""
}

const (
	newer      = "use a newer ONNX Runtime (" + release.Env + "), or export the model for an older opset"
	wrongShape = "the model declares another shape for this output than it computes; export it again, or without the shape"
	noWeights  = "put the file with the weights where the model names it"
	damaged    = "the model is damaged; export it again"
)

// remedies belong to messages that contain a text; the first match counts.
var remedies = []struct{ message, remedy string }{
	{"is not a registered function/op", "the operator is not part of ONNX Runtime; export the model without custom operators"},
	{"No Op registered for", "the opset that the model declares has no such operator; export the model for an opset that does"},
	{"Could not find an implementation for", "ONNX Runtime has no kernel for this operator, version and element type; export the model as float32 or for an older opset"},
	{"Unsupported model IR version", newer},
	{"is under development and support for this is limited", newer},
	{" for output: ", wrongShape},
	{"but the computed output shape", wrongShape},
	{"shape verification failed", wrongShape},
	{"Failed to allocate memory", "use a smaller batch, or a machine with more memory"},
	{"External data path does not exist", noWeights},
	{"cannot get file size", noWeights},
	{"External data path", "keep the weights in the folder of the model"},
	{"External initializer", "the file with the weights is cut short; copy it again"},
	{"raw_data size", damaged},
	{"buffer size mismatch", damaged},
	{"the graph is not acyclic", damaged},
}

// isScalar reports whether the binding could not take over an output because
// it turned out to be a scalar.
func isScalar(err error) bool { return errors.Is(err, ort.ZeroShapeLengthError) }
