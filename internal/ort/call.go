package ort

import (
	"context"
	"runtime"

	ort "github.com/yalue/onnxruntime_go"

	"nuwa/graph"
	"nuwa/internal/fault"
)

// Call is a run whose inputs and outputs stay in place, for measuring. It is
// for one goroutine at a time.
type Call struct {
	s      *Session
	arena  *arena // owns feeds and values
	feeds  []ort.Value
	values []ort.Value // nil for the outputs that ONNX Runtime has to allocate anew
	last   []ort.Value // the outputs of the last run
	clean  runtime.Cleanup
	closed bool
}

// Bind runs the model once to learn the shapes of the outputs, and returns a
// Call that writes every later run's outputs to the same memory, save strings
// and outputs that contradict their declaration. The inputs are shared, not
// copied, and must not be changed. The Call must be closed.
func (s *Session) Bind(ctx context.Context, in map[string]*graph.Tensor) (*Call, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if _, err := s.wanted(nil); err != nil {
		return nil, err
	}
	if len(s.fetches) == 0 {
		return nil, &fault.Error{Kind: fault.Runtime, File: s.opt.Name, Got: "a model whose outputs are its inputs", Want: "something to run"}
	}
	c := &Call{s: s, arena: &arena{}, values: make([]ort.Value, len(s.fetches))}
	if err := c.allocate(ctx, in); err != nil {
		c.arena.free()
		return nil, err
	}
	c.clean = runtime.AddCleanup(c, (*arena).free, c.arena)
	return c, nil
}

func (c *Call) allocate(ctx context.Context, in map[string]*graph.Tensor) error {
	var err error
	if c.feeds, err = c.s.feed(c.arena, in); err != nil {
		return err
	}
	var first arena
	defer first.free()
	values, err := c.s.execute(ctx, &first, c.feeds)
	if err != nil {
		return err
	}
	for i, o := range c.s.fetches {
		dims := values[i].GetShape()
		if o.Type == graph.String || o.accept(&graph.Tensor{Type: o.Type, Dims: dims}) != nil {
			continue
		}
		if c.values[i], err = c.arena.output(o.Type, dims); err != nil {
			return c.s.badOutput(o, err)
		}
	}
	return nil
}

// Run runs the model. It does nothing else that takes time, so that the
// caller may measure it.
func (c *Call) Run() error {
	c.s.mu.RLock()
	defer c.s.mu.RUnlock()
	if c.s.closed || c.closed {
		return &fault.Error{Kind: fault.Runtime, File: c.s.opt.Name, Err: errClosed}
	}
	c.dropLast()
	c.last = append(c.last, c.values...)
	if err := c.s.native.session.Run(c.feeds, c.last); err != nil {
		c.dropLast()
		return c.s.opt.fail(err)
	}
	return nil
}

// dropLast frees the outputs of the last run that are not kept in place.
func (c *Call) dropLast() {
	for i, v := range c.last {
		if c.values[i] == nil && !isNil(v) {
			_ = v.Destroy() // releasing cannot fail
		}
	}
	c.last = c.last[:0]
}

// Outputs returns what the last run computed; nothing before the first. The
// tensors share the memory that the next Run writes to.
func (c *Call) Outputs() (map[string]*graph.Tensor, error) {
	out := make(map[string]*graph.Tensor, len(c.last))
	for i, v := range c.last {
		t, err := tensor(v)
		if err != nil {
			return nil, c.s.badOutput(c.s.fetches[i], err)
		}
		out[c.s.fetches[i].Name] = t
	}
	return out, nil
}

// Close frees the call's values; the session stays open. Closing twice is
// allowed.
func (c *Call) Close() error {
	if !c.closed {
		c.closed = true
		c.clean.Stop()
		c.dropLast()
		c.arena.free()
	}
	return nil
}
