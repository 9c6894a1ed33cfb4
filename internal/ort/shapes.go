package ort

import (
	"context"
	"fmt"
	"slices"

	ort "github.com/yalue/onnxruntime_go"

	"nuwa/graph"
)

// mustKnowShape reports whether the binding can receive o only in a value of
// the right shape.
func mustKnowShape(o Info) bool {
	_, plain := codecs[o.Type]
	return !plain && o.Type != graph.String
}

// guess returns the shape of each of fetches where it has to be known and the
// declaration tells it: fixed dimensions, or symbols that an input binds.
// Everything else is nil.
func (s *Session) guess(feeds []ort.Value) [][]int64 {
	bound := make(map[string]int64)
	for i, info := range s.feeds {
		for k, d := range feeds[i].GetShape() {
			if k < len(info.params) && info.params[k] != "" {
				bound[info.params[k]] = d
			}
		}
	}
	shapes := make([][]int64, len(s.fetches))
	for i, o := range s.fetches {
		_, plain := codecs[o.Type]
		scalar := plain && len(o.Dims) == 0
		if o.Dims == nil || !scalar && !mustKnowShape(o) {
			continue
		}
		dims := slices.Clone(o.Dims)
		for k, d := range dims {
			if d < 0 {
				d, ok := bound[o.params[k]]
				if !ok {
					dims = nil
					break
				}
				dims[k] = d
			}
		}
		shapes[i] = dims
	}
	return shapes
}

// askShapes fills in the shapes that have to be known and are not. It runs a
// copy of the model that returns the shapes of those outputs instead of the
// outputs.
func (s *Session) askShapes(ctx context.Context, feeds []ort.Value, shapes [][]int64) error {
	var ask []int
	for i, o := range s.fetches {
		if mustKnowShape(o) {
			ask = append(ask, i)
		}
	}
	if !slices.ContainsFunc(ask, func(i int) bool { return shapes[i] == nil }) {
		return nil
	}
	probe, err := s.probe(ask)
	if err != nil {
		return err
	}
	values := make([]ort.Value, len(ask))
	defer func() {
		for _, v := range values {
			if v != nil {
				_ = v.Destroy() // releasing cannot fail
			}
		}
	}()
	if err := s.runNative(ctx, probe, feeds, values); err != nil {
		return err
	}
	for k, i := range ask {
		v, ok := values[k].(*ort.Tensor[int64])
		if !ok {
			return s.badOutput(s.fetches[i], fmt.Errorf("its shape came back as a %T", values[k]))
		}
		shapes[i] = append([]int64{}, v.GetData()...)
	}
	return nil
}

// probe returns the session that tells the shapes of the given fetches.
func (s *Session) probe(ask []int) (*ort.DynamicAdvancedSession, error) {
	s.shapesMu.Lock()
	defer s.shapesMu.Unlock()
	if s.native.probe != nil {
		return s.native.probe, nil
	}
	model := slices.Clone(s.model)
	outputs := make([]string, len(ask))
	for k, i := range ask {
		outputs[k] = fmt.Sprintf("nuwa:shape:%d", i)
		model = append(model, shapeOutput(s.fetches[i].Name, outputs[k])...)
	}
	var err error
	if s.native.probe, err = s.opt.create(model, names(s.feeds), outputs, ""); err != nil {
		return nil, s.badOutput(s.fetches[ask[0]], fmt.Errorf("its shape is not declared and cannot be asked for: %w", err))
	}
	return s.native.probe, nil
}

func shapeKey(feeds []ort.Value) string {
	var key []byte
	for _, v := range feeds {
		key = fmt.Append(key, v.GetShape(), ";")
	}
	return string(key)
}

func (s *Session) recall(key string) [][]int64 {
	s.shapesMu.Lock()
	defer s.shapesMu.Unlock()
	return slices.Clone(s.shapes[key])
}

func (s *Session) remember(key string, shapes [][]int64) {
	if !slices.ContainsFunc(shapes, func(dims []int64) bool { return dims != nil }) {
		return
	}
	s.shapesMu.Lock()
	defer s.shapesMu.Unlock()
	if s.shapes == nil {
		s.shapes = make(map[string][][]int64)
	}
	s.shapes[key] = slices.Clone(shapes)
}
