package task

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"nuwa/exporter/target"
	"nuwa/internal/cache"
	"nuwa/internal/data"
	"nuwa/internal/engine"
	"nuwa/internal/files"
	"nuwa/internal/modelfile"
	"nuwa/internal/ort"
	"nuwa/passes"
)

// Program tells builds of nuwa apart: results of one are not another's.
var Program = sync.OnceValue(func() string {
	if path, err := os.Executable(); err == nil {
		if digest, err := files.Digest(path); err == nil {
			return digest
		}
	}
	return modelfile.Version + " " + runtime.Version()
})

// newCache returns the cache in dir; nil, which keeps nothing, for no folder.
func newCache(dir string, log *slog.Logger) *cache.Cache {
	if dir == "" {
		return nil
	}
	return &cache.Cache{Dir: dir, Log: log}
}

// Memo keeps results that all depend on the same things.
type Memo struct {
	Cache *cache.Cache // nil keeps nothing
	log   *slog.Logger
	what  string    // the results are about, for people
	About cache.Key // all that the results depend on
}

// key is that of the result called name.
func (m Memo) key(name string) cache.Key { return append(slices.Clone(m.About), name) }

// remember fills into, a pointer, with what is kept as name, or by find, and keeps
// that.
func (m Memo) remember(name string, into any, find func() error) error {
	if m.Cache.Load(m.key(name), into) {
		return nil
	}
	if err := find(); err != nil {
		return err
	}
	m.save(name, into)
	return nil
}

// save keeps value as name. What cannot be kept is logged and no error.
func (m Memo) save(name string, value any) {
	if err := m.Cache.Save(m.key(name), name+" of "+m.what, value); err != nil {
		m.log.Warn("nothing is kept for later runs", "error", err)
	}
}

// recalling runs find, while the engine of s knows what it gave in earlier runs of
// find, and keeps what it has learned then.
func (m Memo) recalling(s *passes.State, name string, find func() error) error {
	if m.Cache == nil {
		return find()
	}
	known, eng := &engine.Memo{}, s.Engine
	_ = m.Cache.Load(m.key(name), known) // or nothing is known
	knowing := *eng
	knowing.Memo, s.Engine = known, &knowing
	err := find()
	s.Engine, knowing.Memo = eng, nil // which what was found may refer to still
	if err == nil && known.Grown() {
		m.save(name, known)
	}
	return err
}

// memo returns where results are kept that depend on the base, on ONNX Runtime as it
// is used, and on nothing else.
func (b *Base) memo(o Options) (Memo, error) {
	c := newCache(o.Cache, o.Log)
	if c == nil {
		return Memo{}, nil
	}
	digest, err := b.SHA256()
	if err != nil {
		return Memo{}, err
	}
	for _, path := range b.File.Files[1:] { // of external data
		more, err := files.Digest(path)
		if err != nil {
			return Memo{}, err
		}
		digest += " " + more
	}
	lib, err := ort.Load(o.Runtime.Library)
	if err != nil {
		return Memo{}, err
	}
	return Memo{c, o.Log, b.File.Label(), cache.Key{Program(), lib.Version, ort.ThreadCount(o.Runtime.Threads), o.Runtime.Providers, digest}}, nil
}

// memo returns where results are kept that depend on the task, and on nothing
// else: on the base, the images, their classes and how they become inputs, and on
// all options but those of a size.
func (t *Task) memo(ctx context.Context) (m Memo, err error) {
	m = t.Base.store
	if m.Cache == nil {
		return m, nil
	}
	key := append(slices.Clone(m.About), t.File.Pre, t.Wanted, t.ClassOf, t.Names)
	sets := []*data.Set{t.Fit, t.Pool, t.Test}
	if t.Options.Other {
		sets = append(sets, t.Set)
	}
	for _, s := range sets {
		d := ""
		if s != nil {
			if d, err = s.Digest(ctx); err != nil {
				return m, err
			}
		}
		key = append(key, d)
	}
	m.About = append(key, fmt.Sprintf("%+v", t.Options.ofTask()))
	m.what = fmt.Sprintf("%s for %s", t.File.Label(), strings.Join(t.Classes, ", "))
	return m, nil
}

// ofTask returns the options without those that a task does not depend on, and
// without files, whose content says more than their names.
func (o Options) ofTask() Options {
	o.Model, o.Output, o.Data, o.Test, o.Labels, o.ImageRoot = "", "", "", "", "", ""
	o.Rate, o.Widths, o.Budget, o.Align, o.Norms = 0, Widths{}, Budget{}, 0, ""
	o.Target, o.Fuse, o.Opset, o.Precision = target.Target{}, "", 0, ""
	o.Preprocess, o.Runtime, o.Cache, o.Classes = modelfile.Preprocess{}, modelfile.Runtime{}, "", nil
	o.Force, o.DryRun, o.SkipBench, o.Log, o.Progress = false, false, false, nil, nil
	o.Purification.Checkpoint, o.Purification.Watch = "", nil
	return o
}
