package nuwa

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"nuwa/internal/cache"
	"nuwa/internal/data"
	"nuwa/internal/ort"
)

// CacheEntry is a result that runs share.
type CacheEntry = cache.Entry

// CacheFolder is where a user's runs share results unless another folder is
// named.
func CacheFolder() (string, error) { return cache.Default() }

// CacheEntries lists what runs that use dir share, held to checksums with
// verify.
func CacheEntries(dir string, verify bool) ([]CacheEntry, error) {
	return (&cache.Cache{Dir: dir}).List(verify)
}

// PruneCache removes from dir what is damaged, what was not used since before,
// and what was not used for longest until most bytes are left; a zero time and
// a negative size limit nothing. It returns what was removed.
func PruneCache(dir string, before time.Time, most int64) ([]CacheEntry, error) {
	return (&cache.Cache{Dir: dir}).Prune(before, most)
}

// program tells builds of nuwa apart: results of one are not another's.
var program = sync.OnceValue(func() string {
	if path, err := os.Executable(); err == nil {
		if digest, err := fileDigest(path); err == nil {
			return digest
		}
	}
	return Version + " " + runtime.Version()
})

// newCache returns the cache in dir; nil, which keeps nothing, for no folder.
func newCache(dir string, log *slog.Logger) *cache.Cache {
	if dir == "" {
		return nil
	}
	return &cache.Cache{Dir: dir, Log: log}
}

// memo keeps results that all depend on the same things.
type memo struct {
	cache *cache.Cache
	log   *slog.Logger
	what  string // the results are about, for people
	about cache.Key
}

// remember fills into, a pointer, with what is kept under key, or by find, and
// keeps that. What cannot be kept is logged and no error.
func (m memo) remember(key string, into any, find func() error) error {
	full := append(m.about[:len(m.about):len(m.about)], key)
	if m.cache.Load(full, into) {
		return nil
	}
	if err := find(); err != nil {
		return err
	}
	if err := m.cache.Save(full, key+" of "+m.what, into); err != nil {
		m.log.Warn("nothing is kept for later runs", "error", err)
	}
	return nil
}

// memo returns where results are kept that depend on the task, and on nothing
// else: on the base, on ONNX Runtime as it is used, on the images, their
// classes and how they become inputs, and on all options but those of a size.
func (t *task) memo(ctx context.Context) (memo, error) {
	c := newCache(t.o.Cache, t.o.Log)
	if c == nil {
		return memo{}, nil
	}
	digest, err := t.sha256()
	if err != nil {
		return memo{}, err
	}
	lib, err := ort.Load(t.o.Runtime.Library)
	if err != nil {
		return memo{}, err
	}
	key := cache.Key{program(), lib.Version, ort.ThreadCount(t.o.Runtime.Threads), t.o.Runtime.Providers, digest, t.file.pre, t.wanted, t.classOf, t.names}
	sets := []*data.Set{t.fit, t.pool, t.test}
	if t.o.Other {
		sets = append(sets, t.set)
	}
	for _, s := range sets {
		d := ""
		if s != nil {
			if d, err = s.Digest(ctx); err != nil {
				return memo{}, err
			}
		}
		key = append(key, d)
	}
	key = append(key, fmt.Sprintf("%+v", t.o.ofTask()))
	return memo{c, t.o.Log, fmt.Sprintf("%s for %s", t.file.label(), strings.Join(t.classes, ", ")), key}, nil
}

// ofTask returns the options without those that a task does not depend on, and
// without files, whose content says more than their names.
func (o Options) ofTask() Options {
	o.Model, o.Output, o.Data, o.Test, o.Labels, o.ImageRoot = "", "", "", "", "", ""
	o.Rate, o.Widths, o.Budget, o.Align, o.Norms = 0, Widths{}, Budget{}, 0, ""
	o.Preprocess, o.Runtime, o.Cache, o.Classes = Preprocess{}, Runtime{}, "", nil
	o.Force, o.DryRun, o.SkipBench, o.Log, o.Progress = false, false, false, nil, nil
	o.split, o.latencyThreads = 0, 0
	o.Purification.Checkpoint, o.Purification.Watch = "", nil
	return o
}
