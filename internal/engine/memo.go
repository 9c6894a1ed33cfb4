package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/gob"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"nuwa/exporter"
	"nuwa/graph"
	"nuwa/internal/fault"
	"nuwa/internal/ort"
)

// Memo keeps what ONNX Runtime says of models, and what they give, by all that this
// depends on: nodes, weights and inputs, to the bit, and threads. What is known
// is not run again. A Memo may be saved and loaded by gob, for a program and an ONNX
// Runtime that are the same, on the same kind of machine. A nil Memo keeps nothing.
type Memo struct {
	mu      sync.Mutex
	infos   map[digest]map[string]ort.Info
	runs    map[digest][]map[string]*graph.Tensor
	digests map[place]digest // of the bytes of weights, which many models share
	grown   bool             // since it was loaded
}

type digest = [sha256.Size]byte

// place is where bytes lie.
type place struct {
	first *byte
	n     int
}

// savedBytes is the size up to which the results of runs are worth saving.
const savedBytes = 1 << 20

// saved is what is saved of a Memo.
type saved struct {
	Infos map[digest]map[string]ort.Info
	Runs  map[digest][]map[string]*graph.Tensor
}

// GobEncode saves m, but for large results.
func (m *Memo) GobEncode() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	small := maps.Clone(m.runs)
	maps.DeleteFunc(small, func(_ digest, runs []map[string]*graph.Tensor) bool { return bytesOf(runs) > savedBytes })
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(saved{m.infos, small})
	return b.Bytes(), err
}

// GobDecode loads what was saved.
func (m *Memo) GobDecode(data []byte) error {
	var s saved
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&s); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.infos, m.runs = s.Infos, s.Runs
	return nil
}

// bytesOf returns how much memory results take.
func bytesOf(runs []map[string]*graph.Tensor) (n int) {
	for _, run := range runs {
		for _, t := range run {
			n += len(t.Data)
		}
	}
	return n
}

// Bytes returns how much memory the results of runs take.
func (m *Memo) Bytes() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, runs := range m.runs {
		n += bytesOf(runs)
	}
	return n
}

// Grown reports whether m knows more than when it was loaded.
func (m *Memo) Grown() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.grown
}

// recall returns what is kept in one of m's maps under key, or what find returns,
// and keeps that.
func recall[T any](m *Memo, kept *map[digest]T, key digest, find func() (T, error)) (T, error) {
	m.mu.Lock()
	found, ok := (*kept)[key]
	m.mu.Unlock()
	if ok {
		return found, nil
	}
	found, err := find()
	if err != nil {
		return found, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if *kept == nil {
		*kept = map[digest]T{}
	}
	(*kept)[key], m.grown = found, true
	return found, nil
}

// lately holds what was inferred of models lately, in any engine: passes ask again
// and again.
var lately Memo

// latelyModels is how many models are held at most.
const latelyModels = 64

// inferred returns ort.Outputs of a serialized model.
func (m *Memo) inferred(model []byte) (map[string]ort.Info, error) {
	key := digest(sha256.Sum256(model))
	find := func() (map[string]ort.Info, error) {
		lately.mu.Lock()
		if len(lately.infos) >= latelyModels {
			clear(lately.infos)
		}
		lately.mu.Unlock()
		return recall(&lately, &lately.infos, key, func() (map[string]ort.Info, error) { return ort.Outputs(model, ort.Options{}) })
	}
	if m == nil {
		return find()
	}
	return recall(m, &m.infos, key, find)
}

// of returns the digest of t. That of bytes is kept by where they lie: no one changes
// the elements of a tensor.
func (m *Memo) of(t *graph.Tensor) digest {
	h := sha256.New()
	fmt.Fprintf(h, "%v %v %q ", t.Type, t.Dims, t.Strings)
	if len(t.Data) < liftBytes {
		h.Write(t.Data)
	} else {
		at := place{&t.Data[0], len(t.Data)}
		m.mu.Lock()
		d, ok := m.digests[at]
		m.mu.Unlock()
		if !ok {
			d = sha256.Sum256(t.Data)
			m.mu.Lock()
			if m.digests == nil {
				m.digests = map[place]digest{}
			}
			m.digests[at] = d
			m.mu.Unlock()
		}
		h.Write(d[:])
	}
	return digest(h.Sum(nil))
}

// Runs runs m, node by node as it stands, on several feeds and returns all its
// outputs for each. What e.Memo knows is not run. The large weights are handed over
// with every run, so that the session holds no copy of them. Where ONNX Runtime needs
// to know a weight when it loads the model, the session holds the weights after all.
func (e *Engine) Runs(ctx context.Context, m *graph.Model, feeds ...map[string]*graph.Tensor) ([]map[string]*graph.Tensor, error) {
	run := func() ([]map[string]*graph.Tensor, error) {
		s, err := e.openLight(m)
		if err != nil {
			return nil, err
		}
		defer s.Close()
		all := make([]map[string]*graph.Tensor, len(feeds))
		var work errgroup.Group
		work.SetLimit(2) // which is how many there are in most cases
		for i, f := range feeds {
			work.Go(func() (err error) {
				all[i], err = s.Run(ctx, f, nil)
				return err
			})
		}
		if err := work.Wait(); err != nil {
			return nil, err
		}
		return all, nil
	}
	if e.Memo == nil {
		return run()
	}
	key, err := e.Memo.key(m, ort.ThreadCount(e.Threads), feeds)
	if err != nil {
		return nil, err
	}
	all, err := recall(e.Memo, &e.Memo.runs, key, run)
	if err != nil {
		return nil, err
	}
	own := make([]map[string]*graph.Tensor, len(all))
	for i := range all {
		own[i] = maps.Clone(all[i])
	}
	return own, nil
}

// key tells runs of m apart.
func (m *Memo) key(model *graph.Model, threads int, feeds []map[string]*graph.Tensor) (d digest, err error) {
	light := model.Clone()
	weights, err := lift(light.Graph)
	if err != nil {
		return d, err
	}
	data, err := exporter.Encode(light)
	if err != nil {
		return d, err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d %x", threads, sha256.Sum256(data))
	for _, tensors := range append([]map[string]*graph.Tensor{weights}, feeds...) {
		fmt.Fprint(h, " {")
		for _, name := range slices.Sorted(maps.Keys(tensors)) {
			fmt.Fprintf(h, " %q %x", name, m.of(tensors[name]))
		}
		fmt.Fprint(h, "}")
	}
	h.Sum(d[:0])
	return d, nil
}

// openLight prepares m, which it may change, for Runs.
func (e *Engine) openLight(m *graph.Model) (*ort.Session, error) {
	plain := Engine{Threads: e.Threads, Plain: true}
	s, lifted, err := plain.openLifted(m)
	if err != nil && lifted && fault.KindOf(err) == fault.Runtime {
		if s, again := plain.open(m, ort.Options{}); again == nil {
			return s, nil
		}
	}
	return s, err
}
