package passes

import (
	"context"
	"fmt"
	"slices"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/internal/linalg"
	"nuwa/passes/attention"
	"nuwa/passes/calibrate"
	"nuwa/passes/mlp"
	"nuwa/passes/structure"
)

// runSequence slims block after block, each by statistics of what the blocks
// before it give now, as SparseGPT (arXiv 2301.00774) does. With block outputs
// as targets, each output projection and each second map of a hidden layer is
// moved to where the residual stream behind it comes closest to the dense
// model's: with x what the map reads and g the gap between the two streams, by
// the least squares of g on x. Hidden neurons are chosen and dropped after that,
// so that what is fitted to the map's output is fitted to the dense stream.
func runSequence(ctx context.Context, s *State) (string, error) {
	if s.Options.Recipe.Statistics != StatisticsSequential || slices.Equal(s.Widths, s.Before) {
		return "", nil
	}
	q := &sequence{State: s}
	if s.Options.Recipe.Objective == ObjectiveBlock {
		q.dense = s.Model.Clone()
	}
	s.Evidence, s.Spectra = slices.Clone(s.Evidence), slices.Clone(s.Spectra)
	at, site := 0, 0
	for i, b := range s.ViT.Blocks {
		if b.Attention != nil {
			if err := q.attention(ctx, i, at); err != nil {
				return "", fmt.Errorf("block %d: %w", i, err)
			}
			at++
		}
		if b.MLP != nil && b.MLP.Reason == "" {
			if err := q.hidden(ctx, i, site); err != nil {
				return "", fmt.Errorf("block %d: %w", i, err)
			}
			site++
		}
	}
	if q.astray > 0 {
		s.note("%s not fitted to the dense model's stream: what they give is not added to one", counted(q.astray, "maps are"))
	}
	return counted(q.slimmed, "parts slimmed in order") + fmt.Sprintf(", %d fitted to the dense model's stream", q.fitted), nil
}

// sequence is the work of runSequence.
type sequence struct {
	*State
	dense                   *graph.Model // nil where each layer's own output is the target
	slimmed, fitted, astray int

	at              *stream // the last place in the slim model that nothing behind changes any more
	slimly, densely trail   // that both models have come to
	samples         int     // of the calibration inputs, once counted
}

// attention slims the attention of block i, the n-th there is, then fits its
// output projection.
func (q *sequence) attention(ctx context.Context, i, n int) error {
	a, watch := q.ViT.Blocks[i].Attention, attention.Watch(q.ViT.Blocks[i].Attention, q.ViT.Shapes)
	var end *stream
	if a.Out != nil {
		end = q.joined(a.Out.Linear)
	}
	if q.attentionChanges(i) {
		if err := q.shrink(ctx, i, n, watch, end); err != nil {
			return err
		}
	}
	if a.VOReason == "" && q.Widths[i].Heads > 0 && q.fits(a.Out.Linear, end) {
		out := calibrate.Watch{Tap: watch.O.Tap, Moments: true, Gap: end.gap()}
		out.Value, out.Width = a.Out.Linear.In.Name(), a.Out.Linear.InDim
		var of calibrate.Sensed
		w := &watcher{recipe: q.Options.Recipe}
		w.add(&out, func(x calibrate.Sensed) { of = x })
		if err := q.gather(ctx, w, end, true); err != nil {
			return err
		}
		if err := q.fit(end, of); err != nil {
			return err
		}
	}
	if end != nil {
		q.at = end
	}
	return nil
}

// shrink brings an attention to its widths.
func (q *sequence) shrink(ctx context.Context, i, n int, watch attention.Watched, end *stream) error {
	if q.Options.Recipe.Attention == AttentionData {
		w, e := &watcher{recipe: q.Options.Recipe}, q.Evidence[n]
		w.add(watch.Q, func(x calibrate.Sensed) { e.Q = x.Groups })
		w.add(watch.K, func(x calibrate.Sensed) { e.K = x.Groups })
		w.add(watch.O, func(x calibrate.Sensed) { e.O = x.Moments })
		if err := q.gather(ctx, w, end, false); err != nil {
			return err
		}
		var err error
		q.Evidence[n] = e
		if q.Spectra[n], err = attention.DecomposeWeighted(q.ViT.Blocks[i].Attention, e); err != nil {
			return err
		}
	}
	q.slimmed++
	return q.pruneAttention(i, n)
}

// hidden slims the hidden layer of block i, the n-th that may be.
func (q *sequence) hidden(ctx context.Context, i, n int) error {
	m, slim := q.ViT.Blocks[i].MLP, q.Widths[i].Hidden < q.Before[i].Hidden
	end := q.joined(m.Second)
	fit := q.fits(m.Second, end)
	w, of := &watcher{recipe: q.Options.Recipe}, calibrate.Sensed{}
	if slim || fit {
		taps, err := mlp.Taps(q.ViT.Shapes, []*structure.MLP{m})
		if err != nil {
			return err
		}
		watch := &calibrate.Watch{Tap: taps[0], Moments: true}
		if fit {
			watch.Gap = end.gap()
		}
		w.add(watch, func(x calibrate.Sensed) { of = x })
	}
	if err := q.gather(ctx, w, end, fit); err != nil {
		return err
	}
	if fit {
		if err := q.fit(end, of); err != nil {
			return err
		}
	}
	if end != nil {
		q.at = end
	}
	if !slim {
		return nil
	}
	q.slimmed++
	e := &mlp.Evidence{Moments: of.Moments}
	if q.Hidden != nil {
		e.F, e.Taylor = q.Hidden[n].F, q.Hidden[n].Taylor
	}
	return q.pruneHidden([]hiddenLayer{{site: m, block: i, evidence: e}})
}

// gather runs the model as it is now for what w lists, beside the dense one as
// far as end where a gap is among it.
func (q *sequence) gather(ctx context.Context, w *watcher, end *stream, gap bool) error {
	if len(w.list) == 0 {
		return nil
	}
	if q.Feeds == nil {
		return noFeeds()
	}
	light := func(s *stream) bool { return q.samples > 0 && 2*s.bytes*q.samples <= trailBytes }
	var slim, dense *leg
	var err error
	behind := q.slimly
	if q.at != nil && light(q.at) {
		if slim, err = q.slimly.leg(q.Engine, q.Model, q.at, true); err != nil {
			return err
		}
		defer slim.end()
		behind.at = q.at
	}
	if gap {
		if dense, err = q.densely.leg(q.Engine, q.dense, end, light(end)); err != nil {
			return err
		}
		defer dense.end()
	}
	q.samples = 0
	feeds := func(yield func(map[string]*graph.Tensor, error) bool) {
		batch := 0
		for feed, err := range q.Feeds {
			with := feed
			if err == nil && slim != nil {
				_, err = slim.walk(ctx, feed, batch)
			}
			if err == nil {
				behind.held = q.slimly.held
				with = behind.feed(feed, batch)
				q.samples += calibrate.Samples(q.Model, feed)
			}
			if err == nil && gap {
				with[wantedInput], err = dense.walk(ctx, feed, batch)
			}
			batch++
			if !yield(with, err) {
				return
			}
		}
	}
	of, err := calibrate.Sense(ctx, q.Engine, behind.behind(q.Model), calibrate.Ask{}, w.list, feeds)
	if err == nil {
		w.settle(of)
	}
	return err
}

// wantedInput takes the dense model's residual stream.
const wantedInput = "nuwa:wanted"

// gap is how far the stream is from the dense model's.
func (s *stream) gap() *calibrate.Gap {
	return &calibrate.Gap{Tap: s.sum, Should: wantedInput, Type: s.typ}
}

// fits tells whether l, which joins a stream at end, is to be fitted to the
// dense model's: not while nothing is slim yet, and both are the same.
func (q *sequence) fits(l *structure.Linear, end *stream) bool {
	if q.dense == nil || q.slimmed == 0 || q.Options.Recipe.Reconstruct == ReconstructNone {
		return false
	}
	if end == nil || len(l.W.Uses()) > 1 {
		q.astray++
		return false
	}
	return true
}

// fit moves a linear map by the least squares of the gap on what it reads.
func (q *sequence) fit(end *stream, of calibrate.Sensed) error {
	l := end.of
	delta, shift, cond, err := linalg.Correct(of.Moments, of.Gap, q.refitOptions())
	if err != nil {
		return fmt.Errorf("%s: %w", l.Node, err)
	}
	if cond.Ill() {
		q.note("the fit of %s to the dense model's stream is %s", l.Node, cond)
	}
	w, b, err := l.Weight()
	if err != nil {
		return err
	}
	for c, scale := range end.scale {
		if scale == 0 {
			continue
		}
		for i, x := range mat.Col(nil, c, delta) {
			w.Set(c, i, w.At(c, i)+x/scale)
		}
		if shift != nil {
			b[c] += shift[c] / scale
		}
	}
	if l.B == nil && shift == nil {
		b = nil
	}
	q.fitted++
	return l.Replace(q.Model.Graph, l.Input(), w, b)
}
