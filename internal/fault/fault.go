// Package fault gives every error that a user can cause one shape: what was
// being read, where in it, what was found, what was wanted, and what to do.
//
// It also owns the exit codes of the command line, one per kind, so that a
// script can tell "the folder is empty" from "ONNX Runtime is missing".
// It imports nothing of nuwa, so that every package may use it.
//
//	return &fault.Error{Kind: fault.Model, File: path, Where: "node 12 (MatMul)",
//		Got: "input \"x\" that nothing produces", Want: "a value of the graph",
//		Remedy: "export the model again; the file is damaged"}
package fault

import (
	"context"
	"errors"
	"strings"
)

// Kind says which sort of trouble an error is; it decides the exit code.
type Kind int

// The kinds, each with the exit code of the same number.
const (
	Internal    Kind = 1  // a defect of nuwa itself
	Usage       Kind = 2  // flags, options or configuration that make no sense
	Model       Kind = 3  // a model file that cannot be read or is not valid ONNX
	Data        Kind = 4  // images, labels or classes
	Unsupported Kind = 5  // a valid model in which there is nothing nuwa may prune
	Unreachable Kind = 6  // a target that the model cannot be brought to
	Runtime     Kind = 7  // ONNX Runtime is missing, too old, or failed to run a model
	Exists      Kind = 8  // an output is there already and overwriting was not asked for
	IO          Kind = 9  // reading or writing a file failed
	Check       Kind = 10 // a result did not pass its own validation; nothing was written
	Interrupted Kind = 130
)

var kindNames = map[Kind]string{
	Internal: "internal", Usage: "usage", Model: "model", Data: "data", Unsupported: "unsupported",
	Unreachable: "unreachable", Runtime: "runtime", Exists: "exists", IO: "io", Check: "check",
	Interrupted: "interrupted",
}

// String returns the kind's name as it appears in JSON.
func (k Kind) String() string {
	if s, ok := kindNames[k]; ok {
		return s
	}
	return "unknown"
}

// Error is an error with a place and a remedy. Every field but Kind is
// optional; Error prints those that are set.
type Error struct {
	Kind   Kind
	File   string // the file being read or written
	Where  string // the place inside it: pass, node, class, line
	Got    string // what was found
	Want   string // what would have been right
	Remedy string // what the user can do about it
	Err    error  // the cause, if another error is behind this one
}

// Error renders "file: where: got ..., want ...: cause (remedy)".
func (e *Error) Error() string {
	var parts []string
	for _, s := range []string{e.File, e.Where} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	switch {
	case e.Got != "" && e.Want != "":
		parts = append(parts, "got "+e.Got+", want "+e.Want)
	case e.Got != "":
		parts = append(parts, e.Got)
	case e.Want != "":
		parts = append(parts, "want "+e.Want)
	}
	if e.Err != nil {
		parts = append(parts, e.Err.Error())
	}
	s := strings.Join(parts, ": ")
	if e.Remedy != "" {
		s += " (" + e.Remedy + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// InFile returns err, which may be nil, with path as its file where it names none.
func InFile(path string, err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) && e.File == "" {
		e.File = path
	}
	return err
}

// KindOf returns the kind of the outermost fault.Error in err's chain,
// Interrupted for a cancelled context, Internal for any other error, and 0
// for nil.
func KindOf(err error) Kind {
	if err == nil {
		return 0
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return Interrupted
	}
	return Internal
}

// ExitCode is the process exit code for err: 0 for nil, else its kind.
func ExitCode(err error) int { return int(KindOf(err)) }
