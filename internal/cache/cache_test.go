package cache_test

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"nuwa/internal/cache"
)

type result struct {
	Name string
	X    []float64
}

var kept = result{"a", []float64{1, 2.5, -3e300}}

func TestLoadWhatWasSaved(t *testing.T) {
	c := &cache.Cache{Dir: filepath.Join(t.TempDir(), "new")}
	var got result
	if c.Load(cache.Key{"k", 1}, &got) {
		t.Error("an empty cache holds something")
	}
	if err := c.Save(cache.Key{"k", 1}, "a result", kept); err != nil {
		t.Fatal(err)
	}
	if !c.Load(cache.Key{"k", 1}, &got) || !reflect.DeepEqual(got, kept) {
		t.Errorf("got %+v", got)
	}
	for _, other := range []cache.Key{{"k", 2}, {"k"}, {"k", "1"}, {"k1"}} {
		if c.Load(other, &got) {
			t.Errorf("%v is taken for another key", other)
		}
	}
	var none *cache.Cache
	if err := none.Save(cache.Key{"k"}, "", kept); err != nil || none.Load(cache.Key{"k"}, &got) {
		t.Error("no cache keeps something")
	}
}

// pieces are kept one by one.
type pieces []string

func (p *pieces) EncodeTo(to *gob.Encoder) error {
	for _, s := range append(*p, "") {
		if err := to.Encode(s); err != nil {
			return err
		}
	}
	return nil
}

func (p *pieces) DecodeFrom(from *gob.Decoder) error {
	for *p = nil; ; {
		var s string
		if err := from.Decode(&s); s == "" || err != nil {
			return err
		}
		*p = append(*p, s)
	}
}

func TestStreamed(t *testing.T) {
	c := &cache.Cache{Dir: t.TempDir()}
	key, want := cache.Key{"k"}, pieces{"a", "b", "c"}
	if err := c.Save(key, "pieces", &want); err != nil {
		t.Fatal(err)
	}
	var got pieces
	if !c.Load(key, &got) || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
	if err := c.Save(key, "no end", "d"); err != nil {
		t.Fatal(err)
	}
	if c.Load(key, &got) {
		t.Errorf("an entry that is cut off gives %q", got)
	}
}

// An entry that was changed at any byte, or cut anywhere, is none, and is
// replaced by the next that is saved.
func TestDamagedEntries(t *testing.T) {
	var log bytes.Buffer
	c := &cache.Cache{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&log, nil))}
	key := cache.Key{"k"}
	if err := c.Save(key, "a result", kept); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(c.Dir, "*", "*"))
	if len(files) != 1 {
		t.Fatalf("the folder holds %q", files)
	}
	sound, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	damaged := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(files[0], text, 0o600); err != nil {
			t.Fatal(err)
		}
		if list, err := c.List(true); err != nil || len(list) != 1 || !list[0].Damaged {
			t.Errorf("%v, %v", list, err)
		}
		var got result
		if c.Load(key, &got) || !strings.Contains(log.String(), "damaged entry") {
			t.Errorf("a damaged entry gives %+v", got)
		}
		if _, err := os.Stat(files[0]); err == nil {
			t.Error("a damaged entry stays")
		}
	}
	for at := bytes.IndexByte(sound[20:], '\n') + 21; at < len(sound); at += 7 {
		text := bytes.Clone(sound)
		text[at] ^= 4
		damaged(text)
	}
	for _, n := range []int{0, 5, 40, len(sound) - 1} {
		damaged(sound[:n])
	}
	if err := c.Save(key, "a result", kept); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(files[0]); err != nil || !bytes.Equal(again, sound) {
		t.Error("an entry made anew differs", err)
	}
	if list, err := c.List(true); err != nil || len(list) != 1 || list[0].Damaged || list[0].What != "a result" {
		t.Errorf("%v, %v", list, err)
	}
}

func TestPrune(t *testing.T) {
	c := &cache.Cache{Dir: t.TempDir()}
	old := time.Now().Add(-48 * time.Hour)
	for i := range 4 {
		if err := c.Save(cache.Key{i}, fmt.Sprint("entry ", i), make([]float64, 100)); err != nil {
			t.Fatal(err)
		}
		digest := cache.Key{i}.Digest()
		at := old.Add(time.Duration(i) * time.Hour)
		if err := os.Chtimes(filepath.Join(c.Dir, digest[:2], digest+".entry"), at, at); err != nil {
			t.Fatal(err)
		}
	}
	left := filepath.Join(c.Dir, "aa", ".unfinished-1")
	if err := os.MkdirAll(filepath.Dir(left), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(left, old, old); err != nil {
		t.Fatal(err)
	}
	names := func(entries []cache.Entry) (s string) {
		for _, e := range entries {
			s += strings.TrimPrefix(e.What, "entry ")
		}
		return s
	}
	var x []float64
	if !c.Load(cache.Key{0}, &x) { // which counts as a use
		t.Error("nothing there")
	}
	gone, err := c.Prune(old.Add(90*time.Minute), -1)
	if err != nil || names(gone) != "1" {
		t.Errorf("pruned %v, %v", gone, err)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("what was half-written stays")
	}
	list, err := c.List(false)
	if err != nil || names(list) != "032" {
		t.Errorf("left %v, %v", list, err)
	}
	if gone, err = c.Prune(time.Time{}, 2*list[0].Bytes); err != nil || names(gone) != "2" {
		t.Errorf("pruned %v, %v", gone, err)
	}
	if gone, err = c.Prune(time.Time{}, 0); err != nil || names(gone) != "03" {
		t.Errorf("pruned %v, %v", gone, err)
	}
}

// Many may save and load the same at once.
func TestSharing(t *testing.T) {
	dir := t.TempDir()
	var work sync.WaitGroup
	for i := range 16 {
		work.Go(func() {
			c := &cache.Cache{Dir: dir}
			for j := range 20 {
				key := cache.Key{j % 3}
				var got result
				if c.Load(key, &got) && !reflect.DeepEqual(got, kept) {
					t.Errorf("got %+v", got)
				}
				if (i+j)%2 == 0 {
					if err := c.Save(key, "", kept); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	work.Wait()
	if list, err := (&cache.Cache{Dir: dir}).List(true); err != nil || len(list) != 3 {
		t.Errorf("%v, %v", list, err)
	}
}
