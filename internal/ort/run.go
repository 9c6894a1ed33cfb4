package ort

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	ort "github.com/yalue/onnxruntime_go"

	"nuwa/graph"
	"nuwa/internal/fault"
)

// Run computes the named outputs, or all of them when outputs is nil, from
// one tensor for each input. Results share no memory with anything else.
// Non-finite numbers are results like any others.
//
// Inputs are checked against the declared types and dimensions first. Tensors
// of every type of ONNX Runtime move, scalars only of the types that Go has,
// strings only without zero bytes; sequences, maps, optional and sparse values
// are refused. When ctx ends, the run stops at the next node and the error is
// of kind fault.Interrupted; all others are fault.Runtime.
func (s *Session) Run(ctx context.Context, in map[string]*graph.Tensor, outputs []string) (map[string]*graph.Tensor, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	wanted, err := s.wanted(outputs)
	if err != nil {
		return nil, err
	}
	var a arena
	defer a.free()
	feeds, err := s.feed(&a, in)
	if err != nil {
		return nil, err
	}
	values, err := s.execute(ctx, &a, feeds)
	if err != nil {
		return nil, err
	}
	out := make(map[string]*graph.Tensor, len(wanted))
	for _, name := range wanted {
		if t, ok := in[name]; ok {
			out[name] = copyOf(t)
			continue
		}
		i := position(s.fetches, name)
		if out[name], err = tensor(values[i]); err != nil {
			return nil, s.badOutput(s.fetches[i], err)
		}
	}
	return out, nil
}

// copyOf copies an input that is also an output.
func copyOf(t *graph.Tensor) *graph.Tensor {
	return &graph.Tensor{Type: t.Type, Dims: slices.Clone(t.Dims), Data: bytes.Clone(t.Data), Strings: slices.Clone(t.Strings)}
}

// wanted returns the names of the outputs to return, all of which can be.
func (s *Session) wanted(outputs []string) ([]string, error) {
	if outputs == nil {
		outputs = names(s.outputs)
	}
	for _, name := range outputs {
		i := position(s.outputs, name)
		if i < 0 {
			return nil, &fault.Error{Kind: fault.Runtime, File: s.opt.Name, Where: fmt.Sprintf("output %q", name),
				Got: "a name that is no output", Want: "one of " + list(s.outputs)}
		}
		if kind := s.outputs[i].Kind; kind != TensorKind {
			return nil, s.badOutput(s.outputs[i], fmt.Errorf("the binding of ONNX Runtime cannot return values of kind %s, only tensors", kind))
		}
	}
	return outputs, nil
}

// feed checks the inputs and makes values of them.
func (s *Session) feed(a *arena, in map[string]*graph.Tensor) ([]ort.Value, error) {
	if s.closed {
		return nil, &fault.Error{Kind: fault.Runtime, File: s.opt.Name, Err: errClosed}
	}
	if s.feeds[0].Name == nothing && len(in) == 0 {
		in = map[string]*graph.Tensor{nothing: graph.NewTensor([]int64{1}, []float32{0})}
	}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if position(s.feeds, name) < 0 {
			return nil, &fault.Error{Kind: fault.Runtime, File: s.opt.Name, Where: fmt.Sprintf("input %q", name),
				Got: "a name that is no input", Want: "one of " + list(s.inputs)}
		}
	}
	values := make([]ort.Value, len(s.feeds))
	for i, info := range s.feeds {
		t := in[info.Name]
		if t == nil {
			t = s.opt.Weights[info.Name]
		}
		err := info.accept(t)
		if err == nil {
			values[i], err = a.input(t)
		}
		if err != nil {
			f := &fault.Error{Kind: fault.Runtime, File: s.opt.Name, Where: fmt.Sprintf("input %q", info.Name), Err: err, Want: info.String()}
			if t != nil {
				f.Got = t.Shape()
			} else {
				f.Got, f.Err = "nothing", nil
			}
			return nil, f
		}
	}
	return values, nil
}

// accept reports whether t fits the declaration.
func (i Info) accept(t *graph.Tensor) error {
	switch {
	case i.Kind != TensorKind:
		return fmt.Errorf("the binding of ONNX Runtime cannot pass values of kind %s, only tensors", i.Kind)
	case t == nil:
		return errors.New("no tensor")
	case i.Type != graph.Undefined && t.Type != i.Type:
		return fmt.Errorf("elements of type %s", t.Type)
	case i.Dims == nil:
		return nil
	case len(t.Dims) != len(i.Dims):
		return fmt.Errorf("%d dimensions", len(t.Dims))
	}
	for k, d := range i.Dims {
		if d >= 0 && t.Dims[k] != d {
			return fmt.Errorf("dimension %d is %d", k, t.Dims[k])
		}
	}
	return nil
}

// execute runs the session and returns one value for each of fetches, owned
// by a.
//
// The binding lets ONNX Runtime allocate an output only when it is of a plain
// type and no scalar; every other output needs a value of the right shape
// beforehand. That shape is guessed from the declaration, or asked for. ONNX
// Runtime fails on a wrong guess, so a run that fails on guesses is repeated
// without them.
func (s *Session) execute(ctx context.Context, a *arena, feeds []ort.Value) ([]ort.Value, error) {
	key := shapeKey(feeds)
	shapes := s.recall(key)
	if shapes == nil {
		shapes = s.guess(feeds)
	}
	guessed := slices.ContainsFunc(shapes, func(dims []int64) bool { return dims != nil })
	for scalars := 0; ; {
		if err := s.askShapes(ctx, feeds, shapes); err != nil {
			return nil, err
		}
		values, err := s.once(ctx, a, feeds, shapes)
		if err == nil {
			s.remember(key, shapes)
			return values, nil
		}
		at := slices.Index(values, nil)
		switch {
		case fault.KindOf(err) == fault.Interrupted:
			return nil, err
		case isScalar(err) && at >= 0 && scalars < len(s.fetches):
			shapes[at] = []int64{} // the first value that could not be made
			scalars++
		case guessed:
			shapes, guessed = make([][]int64, len(s.fetches)), false
		default:
			return nil, err
		}
	}
}

// once runs the session. Outputs whose shape is nil are left to ONNX Runtime.
// On an error, the values that could not be made are nil.
func (s *Session) once(ctx context.Context, a *arena, feeds []ort.Value, shapes [][]int64) ([]ort.Value, error) {
	if len(s.fetches) == 0 {
		return nil, nil
	}
	values := make([]ort.Value, len(s.fetches))
	for i, dims := range shapes {
		if dims == nil {
			continue
		}
		v, err := a.output(s.fetches[i].Type, dims)
		if err != nil {
			return nil, s.badOutput(s.fetches[i], err)
		}
		values[i] = v
	}
	err := s.runNative(ctx, s.native.session, feeds, values)
	for i, v := range values {
		if isNil(v) {
			values[i] = nil
		} else if shapes[i] == nil {
			a.values = append(a.values, v)
		}
	}
	return values, err
}

// isNil reports whether the binding failed to make v, which it shows by nil or
// by a nil pointer in an interface.
func isNil(v ort.Value) bool { return v == nil || reflect.ValueOf(v).IsNil() }

// runNative runs a native session until it ends or ctx does.
func (s *Session) runNative(ctx context.Context, native *ort.DynamicAdvancedSession, feeds, values []ort.Value) error {
	if ctx.Err() != nil {
		return s.interrupted(ctx)
	}
	if ctx.Done() == nil {
		return s.opt.fail(native.Run(feeds, values))
	}
	ro, err := ort.NewRunOptions()
	if err != nil {
		return s.opt.fail(err)
	}
	defer func() { _ = ro.Destroy() }()
	terminated := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(terminated)
		_ = ro.Terminate() // fails only for options that were destroyed
	})
	err = native.RunWithOptions(feeds, values, ro)
	if !stop() {
		<-terminated
	}
	if err != nil && ctx.Err() != nil {
		return s.interrupted(ctx)
	}
	return s.opt.fail(err)
}

func (s *Session) interrupted(ctx context.Context) error {
	return &fault.Error{Kind: fault.Interrupted, File: s.opt.Name, Where: "run", Err: context.Cause(ctx)}
}

func (s *Session) badOutput(o Info, err error) error {
	return &fault.Error{Kind: fault.Runtime, File: s.opt.Name, Where: fmt.Sprintf("output %q", o.Name), Err: err,
		Remedy: "ask only for outputs that can be moved, or convert it inside the model"}
}
