package task

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"

	"nuwa/exporter/target"
	"nuwa/internal/cache"
	"nuwa/internal/data"
	"nuwa/internal/files"
	"nuwa/internal/modelfile"
	"nuwa/internal/ort"
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

// remember fills into, a pointer, with what is kept under key, or by find, and
// keeps that. What cannot be kept is logged and no error.
func (m Memo) remember(key string, into any, find func() error) error {
	full := append(m.About[:len(m.About):len(m.About)], key)
	if m.Cache.Load(full, into) {
		return nil
	}
	if err := find(); err != nil {
		return err
	}
	if err := m.Cache.Save(full, key+" of "+m.what, into); err != nil {
		m.log.Warn("nothing is kept for later runs", "error", err)
	}
	return nil
}

// memo returns where results are kept that depend on the task, and on nothing
// else: on the base, on ONNX Runtime as it is used, on the images, their
// classes and how they become inputs, and on all options but those of a size.
func (t *Task) memo(ctx context.Context) (Memo, error) {
	c := newCache(t.Options.Cache, t.Options.Log)
	if c == nil {
		return Memo{}, nil
	}
	digest, err := t.SHA256()
	if err != nil {
		return Memo{}, err
	}
	lib, err := ort.Load(t.Options.Runtime.Library)
	if err != nil {
		return Memo{}, err
	}
	key := cache.Key{Program(), lib.Version, ort.ThreadCount(t.Options.Runtime.Threads), t.Options.Runtime.Providers, digest, t.File.Pre, t.Wanted, t.ClassOf, t.Names}
	sets := []*data.Set{t.Fit, t.Pool, t.Test}
	if t.Options.Other {
		sets = append(sets, t.Set)
	}
	for _, s := range sets {
		d := ""
		if s != nil {
			if d, err = s.Digest(ctx); err != nil {
				return Memo{}, err
			}
		}
		key = append(key, d)
	}
	key = append(key, fmt.Sprintf("%+v", t.Options.ofTask()))
	return Memo{c, t.Options.Log, fmt.Sprintf("%s for %s", t.File.Label(), strings.Join(t.Classes, ", ")), key}, nil
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
