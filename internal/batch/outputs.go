package batch

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"

	"nuwa/internal/cache"
	"nuwa/internal/files"
)

// outputs are the files that runs write. The cache has a record of each, so that
// one that a run made, and that nobody has changed since, may be replaced, and
// another not, unless force is given.
type outputs struct {
	cache *cache.Cache // nil keeps no record
	log   *slog.Logger
	force bool
	mine  sync.Map // digests by path, of what this run wrote
}

// made is what is recorded of a file: the digest that it is about to have and
// the one before, as a run may end between the two.
type made struct{ Digests []string }

func (o *outputs) key(path string) cache.Key {
	if at, err := filepath.Abs(path); err == nil {
		path = at
	}
	return cache.Key{"made", path}
}

// replaceable reports whether a file may be replaced: by force, or as the record
// proves that a run made it as it is.
func (o *outputs) replaceable(path string) bool {
	if o.force {
		return true
	}
	digest, err := files.Digest(path)
	if err != nil {
		return false
	}
	if mine, ok := o.mine.Load(path); ok && mine == digest {
		return true
	}
	var m made
	return o.cache.Load(o.key(path), &m) && slices.Contains(m.Digests, digest)
}

// vacant reports whether a file can be written, before any work is done.
func (o *outputs) vacant(path string, inputs ...string) error {
	return files.Vacant(path, o.replaceable(path), inputs...)
}

// record takes note of a file of the given digest that is about to get its name.
// What cannot be noted is logged and no error.
func (o *outputs) record(path, digest string) {
	m := made{Digests: []string{digest}}
	if old, err := files.Digest(path); err == nil && old != digest && o.replaceable(path) {
		m.Digests = append(m.Digests, old)
	}
	o.mine.Store(path, digest)
	if err := o.cache.Save(o.key(path), "record of "+path, m); err != nil {
		o.log.Warn("later runs will not replace this file", "file", path, "error", err)
	}
}

// write writes a file, in the place of one that may be replaced. One that is the
// same already is left alone.
func (o *outputs) write(path string, content func(io.Writer) error) error {
	var text bytes.Buffer
	if err := content(&text); err != nil {
		return err
	}
	sum := sha256.Sum256(text.Bytes())
	digest := hex.EncodeToString(sum[:])
	if old, err := files.Digest(path); err == nil && old == digest {
		return nil
	}
	if err := o.vacant(path); err != nil {
		return err
	}
	o.record(path, digest)
	return files.Replace(path, func(w io.Writer) error { _, err := text.WriteTo(w); return err })
}
