package data

import (
	"context"
	"fmt"
	"iter"

	"nuwa/internal/fault"
)

// Loaded holds the images of a set decoded and resized, three bytes per pixel,
// so that passing over them again costs no decoding.
type Loaded struct {
	Set *Set // the set the images come from, position for position

	pre   Preprocess
	table *[3][]byte
	pix   []byte
}

// Preload decodes every image of the set. It takes Len()·Height·Width·3 bytes
// and fails before reading anything if that is more than limit.
func (s *Set) Preload(ctx context.Context, pre Preprocess, limit int64) (*Loaded, error) {
	_, table, err := s.prepare(nil, 1, pre)
	if err != nil {
		return nil, err
	}
	each := 3 * pre.Height * pre.Width
	if need := int64(each) * int64(s.Len()); need > limit {
		return nil, &fault.Error{Kind: fault.Usage, File: s.Root,
			Got:    fmt.Sprintf("%d images of %dx%d that take %d bytes of memory", s.Len(), pre.Height, pre.Width, need),
			Want:   fmt.Sprintf("at most %d bytes", limit),
			Remedy: "use fewer images or allow more memory"}
	}
	l := &Loaded{Set: s, pre: pre, table: table, pix: make([]byte, each*s.Len())}
	err = parallel(ctx, s.Len(), func(i int) error {
		img, err := s.image(i, pre)
		copy(l.pix[i*each:], img.pix)
		return err
	})
	switch {
	case ctx.Err() != nil:
		return nil, s.stopped(ctx)
	case err != nil:
		return nil, err
	}
	return l, nil
}

// Scaled returns the same images, which are neither decoded nor copied again,
// with the scaling of pre: its rescale factor, mean and deviation. All else stays
// as the images were loaded with.
func (l *Loaded) Scaled(pre Preprocess) (*Loaded, error) {
	out := *l
	out.pre.Rescale, out.pre.Mean, out.pre.Std = pre.Rescale, pre.Mean, pre.Std
	if err := out.pre.Validate(); err != nil {
		return nil, err
	}
	table, err := out.pre.table()
	out.table = &table
	return &out, err
}

// Batch returns the samples at the given positions of Set.Samples, which must
// exist. It may be called from several goroutines.
func (l *Loaded) Batch(idx []int) Batch {
	b := Batch{X: newTensor(len(idx), l.pre)}
	from := 3 * l.pre.Height * l.pre.Width
	for slot, i := range idx {
		to := len(b.X.Data) / len(idx)
		l.pre.fill(b.X.Data[slot*to:(slot+1)*to], l.pix[i*from:(i+1)*from], l.table)
		b.Labels = append(b.Labels, l.Set.Samples[i].Class)
		b.Indices = append(b.Indices, i)
	}
	return b
}

// Batches yields what Set.Batches yields, from memory.
func (l *Loaded) Batches(ctx context.Context, idx []int, size int) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		idx, _, err := l.Set.prepare(idx, size, l.pre)
		if err != nil {
			yield(Batch{}, err)
			return
		}
		for at := 0; at < len(idx); at += size {
			if ctx.Err() != nil {
				yield(Batch{}, l.Set.stopped(ctx))
				return
			}
			if !yield(l.Batch(idx[at:min(at+size, len(idx))]), nil) {
				return
			}
		}
	}
}
