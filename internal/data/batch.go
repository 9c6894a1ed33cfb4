package data

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"

	"nuwa/graph"
	"nuwa/internal/fault"
)

// Batch is a run of images as one tensor.
type Batch struct {
	X       *graph.Tensor // dims Preprocess.Dims(n)
	Labels  []int         // n classes of the set; −1 without classes
	Indices []int         // n positions in Set.Samples
}

// Batches decodes the samples at the given positions of Samples, nil meaning
// all, and yields them in that order, size at a time, the last batch possibly
// smaller. Images are decoded on every CPU while the caller works; at most
// ahead+2 batches exist at once, ahead being 1 or as many as keep the CPUs
// busy. The sequence ends with the first error, which names the file, or with
// ctx; no goroutine outlives it.
func (s *Set) Batches(ctx context.Context, idx []int, size int, pre Preprocess) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		idx, table, err := s.prepare(idx, size, pre)
		if err != nil {
			yield(Batch{}, err)
			return
		}
		inner, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()

		workers := runtime.GOMAXPROCS(0)
		ahead := max(1, (workers+size-1)/size)
		tasks := make(chan func())
		queue := make(chan *pending, ahead)
		for range workers {
			wg.Go(func() {
				for task := range tasks {
					task()
				}
			})
		}
		wg.Go(func() {
			defer close(tasks)
			defer close(queue)
			for at := 0; at < len(idx); at += size {
				b := s.newPending(idx[at:min(at+size, len(idx))], pre)
				select {
				case queue <- b:
				case <-inner.Done():
					return
				}
				for slot := range b.Indices {
					select {
					case tasks <- func() { b.decode(s, slot, pre, table) }:
					case <-inner.Done():
						return
					}
				}
			}
		})
		for b := range queue {
			select {
			case <-b.done:
			case <-ctx.Done():
				yield(Batch{}, s.stopped(ctx))
				return
			}
			if err := b.err(); err != nil {
				yield(Batch{}, err)
				return
			}
			if !yield(b.Batch, nil) {
				return
			}
		}
		if ctx.Err() != nil {
			yield(Batch{}, s.stopped(ctx))
		}
	}
}

// prepare checks the arguments that Batches and Preload share.
func (s *Set) prepare(idx []int, size int, pre Preprocess) ([]int, *[3][]byte, error) {
	if size < 1 {
		return nil, nil, &fault.Error{Kind: fault.Usage, Where: "batch size", Got: fmt.Sprint(size), Want: "at least 1"}
	}
	if err := pre.Validate(); err != nil {
		return nil, nil, err
	}
	if idx == nil {
		idx = all(len(s.Samples))
	}
	for _, i := range idx {
		if i < 0 || i >= len(s.Samples) {
			return nil, nil, &fault.Error{Kind: fault.Internal, File: s.Root, Where: "image index", Got: fmt.Sprint(i),
				Want: fmt.Sprintf("0 to %d", len(s.Samples)-1)}
		}
	}
	table, err := pre.table()
	return idx, &table, err
}

func (s *Set) stopped(ctx context.Context) error {
	return fmt.Errorf("reading images of %s: %w", s.Root, ctx.Err())
}

// pending is a batch whose slots are being filled.
type pending struct {
	Batch
	errs   []error // one per slot
	failed lowest
	left   atomic.Int64
	done   chan struct{}
}

func (s *Set) newPending(idx []int, pre Preprocess) *pending {
	b := &pending{errs: make([]error, len(idx)), done: make(chan struct{})}
	b.left.Store(int64(len(idx)))
	b.failed.Store(int64(len(idx)))
	b.Indices = append(b.Indices, idx...)
	for _, i := range idx {
		b.Labels = append(b.Labels, s.Samples[i].Class)
	}
	b.X = newTensor(len(idx), pre)
	return b
}

func newTensor(n int, pre Preprocess) *graph.Tensor {
	t := &graph.Tensor{Type: pre.dtype(), Dims: pre.Dims(n)}
	t.Data = make([]byte, t.Type.ByteLen(t.Len()))
	return t
}

// decode fills one slot, unless a lower one has failed. The last slot to
// finish closes done.
func (b *pending) decode(s *Set, slot int, pre Preprocess, table *[3][]byte) {
	if int64(slot) < b.failed.Load() {
		img, err := s.image(b.Indices[slot], pre)
		if err == nil {
			each := len(b.X.Data) / len(b.Indices)
			pre.fill(b.X.Data[slot*each:(slot+1)*each], img.pix, table)
		} else {
			b.errs[slot] = err
			b.failed.lower(int64(slot))
		}
	}
	if b.left.Add(-1) == 0 {
		close(b.done)
	}
}

// err returns the error of the lowest slot that failed, which does not depend
// on which worker was faster.
func (b *pending) err() error {
	if i := b.failed.Load(); i < int64(len(b.errs)) {
		return b.errs[i]
	}
	return nil
}

// image returns sample i at the size that the model wants.
func (s *Set) image(i int, pre Preprocess) (pixels, error) {
	file := s.Samples[i].Path
	img, err := s.src.load(file)
	if err != nil {
		return pixels{}, err
	}
	img, err = pre.fit(img)
	var f *fault.Error
	switch {
	case errors.As(err, &f):
		f.File = s.src.at(file)
	case err != nil:
		err = &fault.Error{Kind: fault.Data, File: s.src.at(file), Err: err}
	}
	return img, err
}

// parallel runs do(0) … do(n−1) on every CPU and returns the error of the
// lowest i that failed, after which no higher i is started.
func parallel(ctx context.Context, n int, do func(i int) error) error {
	var next atomic.Int64
	var failed lowest
	failed.Store(int64(n))
	errs := make([]error, n)
	var wg sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := next.Add(1) - 1
				if i >= failed.Load() {
					return
				}
				if errs[i] = do(int(i)); errs[i] != nil {
					failed.lower(i)
				}
			}
		})
	}
	wg.Wait()
	if i := failed.Load(); i < int64(n) {
		return errs[i]
	}
	return ctx.Err()
}

// lowest keeps the smallest of the numbers that several goroutines give it.
type lowest struct{ atomic.Int64 }

func (l *lowest) lower(i int64) {
	for v := l.Load(); i < v && !l.CompareAndSwap(v, i); v = l.Load() {
	}
}
