package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"nuwa/internal/fault"
)

// Cache is a folder of entries. A nil Cache holds nothing and keeps nothing.
type Cache struct {
	Dir string       // made when the first entry is saved
	Log *slog.Logger // told of damaged entries; nil discards
}

// Key is everything that a result depends on, as values that JSON can write.
type Key []any

// Digest names an entry.
func (k Key) Digest() string {
	text, err := json.Marshal(k)
	if err != nil { // a key that JSON cannot write is a mistake in the program
		panic(fmt.Sprintf("cache key: %v", err))
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Default is the folder for the user's own cache.
func Default() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", &fault.Error{Kind: fault.Usage, Where: "cache", Err: err, Remedy: "give --cache DIR, or --no-cache"}
	}
	return filepath.Join(dir, "nuwa"), nil
}

// magic begins every entry; its number changes with what follows it.
const magic = "nuwa cache 1\n"

// ending is that of entries.
const ending = ".entry"

// path returns where the entry of a digest lies.
func (c *Cache) path(digest string) string { return filepath.Join(c.Dir, digest[:2], digest+ending) }

// Streamed is a value that is kept piece by piece, which gob is faster at than at
// large values.
type Streamed interface {
	EncodeTo(*gob.Encoder) error
	DecodeFrom(*gob.Decoder) error
}

// Load fills into, a pointer, with what was saved under key and reports whether
// there was anything. A use keeps the entry from being pruned as an old one.
func (c *Cache) Load(key Key, into any) bool {
	if c == nil {
		return false
	}
	digest := key.Digest()
	_, content, err := read(c.path(digest), true)
	if err == nil {
		from := gob.NewDecoder(bytes.NewReader(content))
		if s, ok := into.(Streamed); ok {
			err = s.DecodeFrom(from)
		} else {
			err = from.Decode(into)
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false
	case err != nil:
		if c.Log != nil {
			c.Log.Warn("cache: a damaged entry is made anew", "file", c.path(digest), "error", err)
		}
		_ = os.Remove(c.path(digest)) // it is replaced when the result is saved
		return false
	}
	now := time.Now()
	_ = os.Chtimes(c.path(digest), now, now) // pruning is the less exact for it
	return true
}

// Save keeps value under key. What tells people what it is.
func (c *Cache) Save(key Key, what string, value any) error {
	if c == nil {
		return nil
	}
	var content bytes.Buffer
	var err error
	to := gob.NewEncoder(&content)
	if s, ok := value.(Streamed); ok {
		err = s.EncodeTo(to)
	} else {
		err = to.Encode(value)
	}
	if err != nil {
		return &fault.Error{Kind: fault.Internal, Where: "cache: " + what, Err: err}
	}
	path := c.path(key.Digest())
	if err := write(path, what, content.Bytes()); err != nil {
		return &fault.Error{Kind: fault.IO, File: path, Where: "cache", Err: err, Remedy: "give another folder with --cache, or --no-cache"}
	}
	return nil
}

// header stands before the content of an entry, as one line of JSON.
type header struct {
	What string `json:"what"`
	Size int64  `json:"size"`   // of the content
	Sum  string `json:"sha256"` // of the content
}

// write makes an entry under a name of its own and then gives it its name.
func write(path, what string, content []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	head, err := json.Marshal(header{what, int64(len(content)), hex.EncodeToString(sum[:])})
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), unfinished+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	for _, part := range [][]byte{[]byte(magic), head, []byte("\n"), content} {
		if _, e := f.Write(part); e != nil && err == nil {
			err = e
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

// unfinished begins the names of entries that are being written.
const unfinished = ".unfinished-"

var errDamaged = errors.New("the content is not what was written")

// read returns the header of an entry and, when whole, its content, held to the
// checksum.
func read(path string, whole bool) (h header, content []byte, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return h, nil, err
	}
	rest, ok := bytes.CutPrefix(text, []byte(magic))
	line, content, found := bytes.Cut(rest, []byte("\n"))
	if !ok || !found || json.Unmarshal(line, &h) != nil || int64(len(content)) != h.Size {
		return h, nil, errDamaged
	}
	if sum := sha256.Sum256(content); whole && hex.EncodeToString(sum[:]) != h.Sum {
		return h, nil, errDamaged
	}
	return h, content, nil
}
