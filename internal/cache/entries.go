package cache

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"nuwa/internal/fault"
)

// Entry is what is known of an entry without reading its content.
type Entry struct {
	Digest  string    `json:"key"`
	What    string    `json:"what"`
	Bytes   int64     `json:"bytes"` // of the file
	Used    time.Time `json:"used"`  // saved or loaded last
	Damaged bool      `json:"damaged,omitempty"`

	path string
}

// List returns all entries, those first that were used last. With verify, each
// is held to its checksum; without, to its size.
func (c *Cache) List(verify bool) ([]Entry, error) {
	var out []Entry
	err := c.walk(func(path string, info fs.FileInfo) {
		if !strings.HasSuffix(path, ending) {
			return
		}
		h, _, err := read(path, verify)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		out = append(out, Entry{Digest: strings.TrimSuffix(filepath.Base(path), ending), What: h.What, Bytes: info.Size(),
			Used: info.ModTime(), Damaged: err != nil, path: path})
	})
	slices.SortStableFunc(out, func(a, b Entry) int { return cmp.Or(b.Used.Compare(a.Used), cmp.Compare(a.Digest, b.Digest)) })
	return out, err
}

// Prune removes damaged entries, those not used since before, and then those
// not used for longest until no more than most bytes are left; a zero time and
// a negative size limit nothing. What a killed process left half-written goes
// when it is a day old. It returns what was removed.
func (c *Cache) Prune(before time.Time, most int64) ([]Entry, error) {
	all, err := c.List(true)
	if err != nil {
		return nil, err
	}
	var gone []Entry
	left := int64(0)
	for _, e := range all {
		if !e.Damaged && !e.Used.Before(before) && (most < 0 || left+e.Bytes <= most) {
			left += e.Bytes
			continue
		}
		if err := os.Remove(e.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return gone, &fault.Error{Kind: fault.IO, File: e.path, Err: err}
		}
		gone = append(gone, e)
	}
	return gone, c.walk(func(path string, info fs.FileInfo) {
		if strings.HasPrefix(filepath.Base(path), unfinished) && time.Since(info.ModTime()) > 24*time.Hour {
			_ = os.Remove(path) // the next time, then
		}
	})
}

// walk calls visit for every file. One that goes meanwhile is passed over.
func (c *Cache) walk(visit func(path string, info fs.FileInfo)) error {
	err := filepath.WalkDir(c.Dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		if info, err := d.Info(); err == nil {
			visit(path, info)
		}
		return nil
	})
	if err != nil {
		return &fault.Error{Kind: fault.IO, File: c.Dir, Where: "cache", Err: err}
	}
	return nil
}
