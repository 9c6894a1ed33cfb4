package data

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nuwa/graph"
	"nuwa/internal/fault"
)

// shades is a set of n images in two classes, image i of the color i, 2i, 3i.
func shades(t testing.TB, n int) *Set {
	t.Helper()
	files := map[string][]byte{}
	for i := range n {
		files[fmt.Sprintf("%d/%03d.png", i*2/n, i)] = picture(t, 4, 3, i)
	}
	return open(t, archive(t, files))
}

// raw is preprocessing that leaves the bytes as they are.
func raw(h, w int) Preprocess {
	p := Default(h, w)
	p.Rescale, p.Type = 1, graph.Uint8
	return p
}

func collect(t testing.TB, s *Set, idx []int, size int, pre Preprocess) []Batch {
	t.Helper()
	var out []Batch
	for b, err := range s.Batches(t.Context(), idx, size, pre) {
		if err != nil {
			t.Fatal(err)
		}
		if err := b.X.Check(); err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

func TestBatchesOrder(t *testing.T) {
	s := shades(t, 50)
	idx := []int{49, 3, 3, 0, 17, 25, 24}
	batches := collect(t, s, idx, 3, raw(3, 4))
	var got, labels []int
	for i, b := range batches {
		if want := []int64{[]int64{3, 3, 1}[i], 3, 3, 4}; !slices.Equal(b.X.Dims, want) {
			t.Errorf("batch %d: got dims %v, want %v", i, b.X.Dims, want)
		}
		got, labels = append(got, b.Indices...), append(labels, b.Labels...)
		for slot, at := range b.Indices {
			for c := range 3 {
				plane := b.X.Data[(slot*3+c)*12:][:12]
				if want := bytes.Repeat([]byte{byte(at * (c + 1))}, 12); !bytes.Equal(plane, want) {
					t.Errorf("image %d, channel %d: got %v, want %v", at, c, plane, want)
				}
			}
		}
	}
	if !slices.Equal(got, idx) || !slices.Equal(labels, []int{1, 0, 0, 0, 0, 1, 0}) {
		t.Errorf("got indices %v and labels %v", got, labels)
	}
	if n := len(collect(t, s, nil, 16, raw(3, 4))); n != 4 {
		t.Errorf("all 50 images came in %d batches of 16, want 4", n)
	}
	if n := len(collect(t, s, []int{}, 16, raw(3, 4))); n != 0 {
		t.Errorf("no images came in %d batches", n)
	}
}

func TestBatchesAreDeterministic(t *testing.T) {
	s := shades(t, 60)
	pre := Default(7, 5)
	pre.Mean, pre.Std = []float32{0.1, 0.2, 0.3}, []float32{0.5, 0.6, 0.7}
	once := func(size int) []byte {
		var all []byte
		for _, b := range collect(t, s, nil, size, pre) {
			all = append(all, b.X.Data...)
		}
		return all
	}
	procs := runtime.GOMAXPROCS(1)
	want := once(8)
	runtime.GOMAXPROCS(8)
	defer runtime.GOMAXPROCS(procs)
	for range 5 {
		if !bytes.Equal(once(8), want) || !bytes.Equal(once(1), want) {
			t.Fatal("the elements depend on the number of CPUs or on the batch size")
		}
	}
}

func TestBatchesWithoutClasses(t *testing.T) {
	s := open(t, folder(t, map[string][]byte{"1.png": picture(t, 2, 2, 1)}))
	if b := collect(t, s, nil, 4, Default(2, 2)); len(b) != 1 || !slices.Equal(b[0].Labels, []int{-1}) {
		t.Errorf("got %+v, want one image labelled -1", b)
	}
}

// TestElements holds every layout, order and element type to the formula.
func TestElements(t *testing.T) {
	img := newPixels(2, 1)
	copy(img.pix, []byte{0, 51, 255, 7, 128, 200})
	for _, layout := range layouts {
		for _, order := range orders {
			for typ, tolerance := range map[graph.DType]float64{graph.Float32: 1e-6, graph.Float64: 1e-6, graph.Float16: 2e-3, graph.BFloat16: 2e-2} {
				p := Default(1, 2)
				p.Layout, p.Order, p.Type = layout, order, typ
				p.Mean, p.Std = []float32{0.4, 0.5, 0.6}, []float32{0.25, 0.5, 1}
				if err := p.Validate(); err != nil {
					t.Fatal(err)
				}
				table, err := p.table()
				if err != nil {
					t.Fatal(err)
				}
				x := newTensor(1, p)
				p.fill(x.Data, img.pix, &table)
				got, err := x.Floats()
				if err != nil {
					t.Fatal(err)
				}
				for c := range 3 {
					for col := range 2 {
						from, at := c, c*2+col
						if order == BGR {
							from = 2 - c
						}
						if layout == NHWC {
							at = col*3 + c
						}
						want := (float64(img.pix[col*3+from])/255 - float64(p.Mean[c])) / float64(p.Std[c])
						if math.Abs(got[at]-want) > tolerance {
							t.Errorf("%s: element %d is %g, want %g", p, at, got[at], want)
						}
					}
				}
			}
		}
	}
}

// spoiled is a zip of n good images in two classes of which some are corrupt.
func spoiled(t *testing.T, n int, bad ...int) *Set {
	files := map[string][]byte{}
	for i := range n {
		b := picture(t, 4, 3, i)
		if slices.Contains(bad, i) {
			b = b[:len(b)-20]
		}
		files[fmt.Sprintf("c%d/%03d.png", i*2/n, i)] = b
	}
	return open(t, archive(t, files))
}

func TestCorruptImageIsNamed(t *testing.T) {
	s := spoiled(t, 40, 21, 33, 22)
	for range 20 {
		good := 0
		var failed error
		for b, err := range s.Batches(t.Context(), nil, 8, raw(3, 4)) {
			if err != nil {
				failed = err
				continue
			}
			good += len(b.Indices)
		}
		if good != 16 {
			t.Fatalf("%d images came before the error, want 16", good)
		}
		if failed == nil || !strings.Contains(failed.Error(), "photos.zip/c1/021.png: damaged PNG") || fault.KindOf(failed) != fault.Data {
			t.Fatalf("got %v, want the first corrupt file by its name", failed)
		}
		if _, err := s.Preload(t.Context(), raw(3, 4), 1<<20); err == nil || err.Error() != failed.Error() {
			t.Fatalf("Preload: got %v, want %v", err, failed)
		}
	}
}

func TestDamagedArchiveEntryIsNamed(t *testing.T) {
	file := archive(t, map[string][]byte{"cat/1.png": picture(t, 40, 40, 1)})
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := 60; i < 70; i++ {
		b[i] ^= 0xff // inside the compressed bytes; the directory at the end stays whole
	}
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, err = range open(t, file).Batches(t.Context(), nil, 1, Default(4, 4)) {
	}
	if err == nil || !strings.Contains(err.Error(), "photos.zip/cat/1.png") || fault.KindOf(err) != fault.Data {
		t.Errorf("got %v, want a data error that names the file", err)
	}
}

func TestWrongSize(t *testing.T) {
	s := open(t, folder(t, map[string][]byte{"cat/1.png": picture(t, 4, 4, 1), "cat/2.png": picture(t, 5, 4, 1)}))
	pre := Default(4, 4)
	pre.Resize = Keep
	n := 0
	var err error
	for _, err = range s.Batches(t.Context(), nil, 1, pre) {
		if err == nil {
			n++
		}
	}
	if n != 1 || err == nil || !strings.Contains(err.Error(), "cat/2.png: got 5x4 pixels, want 4x4") {
		t.Errorf("got %v after %d images, want the size of the second refused", err, n)
	}
}

func TestBatchesRefuse(t *testing.T) {
	s := shades(t, 4)
	bad := Default(4, 4)
	bad.Std = []float32{1, 0, 1}
	for want, seq := range map[string]func() error{
		"batch size: got 0": func() error { return firstError(s.Batches(t.Context(), nil, 0, raw(3, 4))) },
		"std: got [1 0 1]":  func() error { return firstError(s.Batches(t.Context(), nil, 1, bad)) },
		"image index":       func() error { return firstError(s.Batches(t.Context(), []int{4}, 1, raw(3, 4))) },
		"take 144 bytes of memory, want at most 143 bytes": func() error {
			_, err := s.Preload(t.Context(), raw(3, 4), 143)
			return err
		},
	} {
		if err := seq(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func firstError(seq func(func(Batch, error) bool)) error {
	for _, err := range seq {
		if err != nil {
			return err
		}
	}
	return nil
}

// slowFS counts the files opened and can hold them up.
type slowFS struct {
	fs.FS
	opened atomic.Int64
	delay  time.Duration
}

func (f *slowFS) Open(name string) (fs.File, error) {
	f.opened.Add(1)
	time.Sleep(f.delay)
	return f.FS.Open(name)
}

func slow(s *Set, delay time.Duration) (*Set, *slowFS) {
	f := &slowFS{FS: s.src.FS, delay: delay}
	out, src := *s, *s.src
	src.FS, out.src = f, &src
	return &out, f
}

// TestMemoryIsBounded waits at the first batch until decoding stands still.
func TestMemoryIsBounded(t *testing.T) {
	s, f := slow(shades(t, 200), 0)
	const size = 4
	ahead := max(1, (runtime.GOMAXPROCS(0)+size-1)/size)
	for _, err := range s.Batches(t.Context(), nil, size, raw(3, 4)) {
		if err != nil {
			t.Fatal(err)
		}
		for last := int64(-1); last != f.opened.Load(); time.Sleep(100 * time.Millisecond) {
			last = f.opened.Load()
		}
		if n := f.opened.Load(); n < 2*size || n > int64((ahead+2)*size) {
			t.Errorf("%d images were decoded while the first batch of %d was in use, want %d to %d",
				n, size, 2*size, (ahead+2)*size)
		}
		break
	}
}

func TestCancel(t *testing.T) {
	before := runtime.NumGoroutine()
	s, f := slow(shades(t, 200), 5*time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var failed error
	n := 0
	for _, err := range s.Batches(ctx, nil, 2, raw(3, 4)) {
		if err != nil {
			failed = err
			continue
		}
		if n++; n == 3 {
			cancel()
		}
	}
	if !errors.Is(failed, context.Canceled) || fault.KindOf(failed) != fault.Interrupted {
		t.Errorf("got %v, want a cancelled context", failed)
	}
	if opened := f.opened.Load(); opened > 100 {
		t.Errorf("%d of 200 images were read although the third batch cancelled", opened)
	}
	if _, err := s.Preload(ctx, raw(3, 4), 1<<20); !errors.Is(err, context.Canceled) {
		t.Errorf("Preload: got %v, want a cancelled context", err)
	}
	if _, err := s.Digest(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Digest: got %v, want a cancelled context", err)
	}
	for range s.Batches(t.Context(), nil, 2, raw(3, 4)) {
		break
	}
	for wait := time.Now().Add(2 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(wait) {
			t.Fatalf("%d goroutines, there were %d before", runtime.NumGoroutine(), before)
		}
	}
}

// Images that are decoded once are scaled as those that are read anew.
func TestScaled(t *testing.T) {
	s := shades(t, 5)
	first, second := Default(5, 6), Default(5, 6)
	first.Order = BGR
	second.Order, second.Rescale, second.Mean, second.Std = BGR, 1, []float32{3, 4, 5}, []float32{2, 3, 4}
	l, err := s.Preload(t.Context(), first, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	scaled, err := l.Scaled(second)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		got *Loaded
		pre Preprocess
	}{{scaled, second}, {l, first}} {
		want := collect(t, s, nil, 5, x.pre)[0]
		if got := x.got.Batch([]int{0, 1, 2, 3, 4}); !bytes.Equal(got.X.Data, want.X.Data) {
			t.Errorf("scaled by %v: got %v, want %v", x.pre, got.X, want.X)
		}
	}
	second.Std = []float32{0, 1, 1}
	if _, err := l.Scaled(second); err == nil {
		t.Error("a deviation of 0 was taken")
	}
}

func TestPreload(t *testing.T) {
	s := shades(t, 30)
	pre := Default(5, 6)
	pre.Order, pre.Layout = BGR, NHWC
	l, err := s.Preload(t.Context(), pre, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	idx := []int{29, 0, 7, 7, 15}
	want := collect(t, s, idx, 2, pre)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			i := 0
			for got, err := range l.Batches(t.Context(), idx, 2) {
				if err != nil {
					t.Error(err)
					return
				}
				if !bytes.Equal(got.X.Data, want[i].X.Data) || !slices.Equal(got.X.Dims, want[i].X.Dims) ||
					!slices.Equal(got.Labels, want[i].Labels) || !slices.Equal(got.Indices, want[i].Indices) {
					t.Errorf("batch %d differs from the one read from the files", i)
				}
				i++
			}
			if i != len(want) {
				t.Errorf("got %d batches, want %d", i, len(want))
			}
		})
	}
	wg.Wait()
}

// cifar is a real data set that may lie beside the repository.
func cifar(t testing.TB) string {
	t.Helper()
	file := filepath.Join("..", "..", "..", "shared", "cifar10.zip")
	if _, err := os.Stat(file); err != nil {
		t.Skip("needs ../shared/cifar10.zip: ", err)
	}
	return file
}

func BenchmarkBatches(b *testing.B) {
	s := open(b, cifar(b)+"/cifar10/test").Take(500, 0)
	pre := Default(224, 224)
	for b.Loop() {
		for _, err := range s.Batches(b.Context(), nil, 32, pre) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(s.Len()*b.N)/b.Elapsed().Seconds(), "images/s")
}
