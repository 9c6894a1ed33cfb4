package structure

import (
	"nuwa/graph"
	"nuwa/internal/engine"
)

// Keys returns the keys of a as its product reads them, [batch, heads, width,
// keys] or [batch·heads, width, keys], or tells why they are not so.
func (a *Attention) Keys(s *engine.Shapes) (kt *graph.Value, heads int64, reason string) {
	if a.K == nil {
		return nil, 0, a.QKReason
	}
	kt = a.QK.Input(1)
	d, ok := s.Of(kt)
	batch := engine.Size{PerBatch: 1}
	if s.Batch[0] == s.Batch[1] {
		batch = engine.Size{Fixed: int64(s.Batch[0])}
	}
	heads = int64(len(a.K.Channels))
	want := map[int]place{4: {1, 1, heads}, 3: {0, 1, heads}}[len(d)]
	times := map[int]int64{4: 1, 3: heads}[len(d)]
	places := a.K.places()
	if !ok || d[0] != (engine.Size{Fixed: batch.Fixed * times, PerBatch: batch.PerBatch * times}) ||
		len(places) > 1 || len(places) == 1 && places[0] != want {
		return nil, 0, "its keys are not ordered by sample and head"
	}
	return kt, heads, ""
}
