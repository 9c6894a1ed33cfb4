package calibrate

import (
	"context"
	"encoding/gob"
	"fmt"
	"maps"
	"slices"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/grad"
	"nuwa/internal/linalg"
)

// Watch is what Sense gathers about one value.
type Watch struct {
	Tap
	Moments bool    // second moments of the value
	Groups  [][]int // of channels, all of one size: second moments within each of them only; nil for all channels together
	Felt    bool    // second moments of the gradient of the loss with respect to it
	Taylor  bool    // E[(h·∂ℓ/∂h)²] per channel of the value h; asks for Moments too
	By      string  // another watched value of as many rows: a row of the moments counts by the squared gradient there; "" counts all rows alike; not with Groups
	Gap     *Gap    // how far a value of as many rows is from where it should be, as products with the rows of the watched one
}

// Sensed is what Sense gathered for one Watch.
type Sensed struct {
	Moments *linalg.Moments   // nil where there are Groups
	Groups  []*linalg.Moments // one per group
	Felt    *linalg.Moments   // of ∂ℓ/∂y, over images and rows
	Taylor  []float64
	Gap     *linalg.Cross // the targets are what the gap is
}

// Senses is what Sense gathered.
type Senses struct {
	Watched []Sensed   // one per Watch
	Kept    *mat.Dense // the value to keep, a row per sample
}

// head begins what EncodeTo writes.
type head struct {
	Watches int
	Kept    *mat.Dense
}

// EncodeTo writes s watch by watch.
func (s *Senses) EncodeTo(to *gob.Encoder) error {
	err := to.Encode(head{len(s.Watched), s.Kept})
	for i := range s.Watched {
		if err == nil {
			err = to.Encode(&s.Watched[i])
		}
	}
	return err
}

// DecodeFrom reads what EncodeTo wrote.
func (s *Senses) DecodeFrom(from *gob.Decoder) error {
	var h head
	err := from.Decode(&h)
	*s = Senses{Kept: h.Kept}
	for range h.Watches {
		var x Sensed
		if err == nil {
			err = from.Decode(&x)
		}
		s.Watched = append(s.Watched, x)
	}
	return err
}

// Ask is what Sense needs to know beside the watches.
type Ask struct {
	Loss   string // the output whose cross-entropy gradients are of; "" where no watch asks for gradients
	Labels Labels
	Keep   string // a value to give as it is; "" for none
}

// Sense runs m over all feeds once and gathers what the watches ask for.
// Gradients are those of the cross-entropy of the output ask.Loss, per image, as
// the labels say; nothing may ask for gradients where they are not known.
//
// Where moments count by squared gradients (Watch.By), row t has the weight
// Σ_c(∂ℓ/∂y_tc)², scaled so that weights are one on average: with F the
// second moment of the gradient, E[(∂ℓ/∂y·ΔW·h)²] ≈ tr(ΔWᵀ·F·ΔW·C) for the
// weighted moment C of h, as in the Kronecker-factored approximation of the
// Fisher information (Martens and Grosse, arXiv 1503.05671).
func Sense(ctx context.Context, eng *engine.Engine, m *graph.Model, ask Ask, watches []Watch, feeds Feeds) (*Senses, error) {
	p, err := instrumentSense(ctx, eng, m, ask, watches)
	if err != nil {
		return nil, err
	}
	at := 0
	labelled := func(yield func(map[string]*graph.Tensor, error) bool) {
		for feed, err := range feeds {
			if err == nil {
				n := Samples(m, feed)
				feed = maps.Clone(feed)
				if p.loss.Labels != "" {
					feed[p.loss.Labels], err = ask.Labels.Feed(p.model, p.loss, at, n)
				}
				at += n
			}
			if !yield(feed, err) {
				return
			}
		}
	}
	var kept []float64
	err = sweep(ctx, eng, p.model, labelled, func(_, res map[string]*graph.Tensor) error {
		for _, w := range p.watched {
			if err := w.add(res); err != nil {
				return fmt.Errorf("value %q: %w", w.Value, err)
			}
		}
		if ask.Keep != "" {
			xs, err := res[ask.Keep].Floats()
			if err != nil {
				return err
			}
			kept = append(kept, xs...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if at == 0 {
		return nil, noSamples()
	}
	out := &Senses{}
	if ask.Keep != "" {
		out.Kept = mat.NewDense(at, len(kept)/at, kept)
	}
	for _, w := range p.watched {
		out.Watched = append(out.Watched, w.settle())
	}
	return out, nil
}

// sensor is an instrumented model.
type sensor struct {
	model   *graph.Model
	loss    grad.Loss // zero without
	watched []*watched
}

// watched is a watch with its sums.
type watched struct {
	Watch
	got        Sensed
	all, grads sums
	within     groupSums
	gap        gapSums
	weights    string          // the output that holds the sum of the row weights
	squares    string          // the output that holds the sum of (h·∂ℓ/∂h)²
	taylor     *linalg.Moments // only its rows and sums
	weight     float64
}

// instrumentSense returns a copy of m that gives the sums of all watches.
func instrumentSense(ctx context.Context, eng *engine.Engine, m *graph.Model, want Ask, watches []Watch) (*sensor, error) {
	p, of, err := differentiate(ctx, eng, m, want, watches)
	if err != nil {
		return nil, err
	}
	g := p.model.Graph
	g.ClearOutputs()
	taps := map[string]Tap{}
	for _, w := range watches {
		taps[w.Value] = w.Tap
	}
	gradient := func(t Tap) *graph.Value { return rows(g, g.Value(of[t.Value]), t) }
	for _, w := range watches {
		v := g.Value(w.Value)
		if v == nil {
			return nil, fmt.Errorf("no value is called %q", w.Value)
		}
		x := &watched{Watch: w}
		if w.Felt {
			d := gradient(w.Tap)
			x.grads, x.got.Felt = askSums(p.model, d, d, w.Width), linalg.NewMoments(w.Width)
		}
		if w.Taylor {
			d := rows(g, g.Add("Mul", "taylor", []*graph.Value{v, g.Value(of[w.Value])}).Output(0), w.Tap)
			x.squares, x.taylor = ask(g, sumRows(p.model, g.Add("Mul", "squares", []*graph.Value{d, d}).Output(0))), &linalg.Moments{Sum: make([]float64, w.Width)}
		}
		if w.Moments {
			h := rows(g, v, w.Tap)
			scaled := h
			if w.By != "" {
				s := rowWeights(g, gradient(taps[w.By]), taps[w.By].Width)
				root := g.Add("Sqrt", "root", []*graph.Value{s}).Output(0)
				h, scaled = g.Add("Mul", "weighted", []*graph.Value{h, s}).Output(0), g.Add("Mul", "rooted", []*graph.Value{h, root}).Output(0)
				x.weights = ask(g, sumRows(p.model, s))
			}
			if w.Groups == nil {
				x.all, x.got.Moments = askSums(p.model, h, scaled, w.Width), linalg.NewMoments(w.Width)
			} else {
				x.within = askGroups(p.model, h, w.Groups)
				for _, group := range w.Groups {
					x.got.Groups = append(x.got.Groups, linalg.NewMoments(len(group)))
				}
			}
		}
		if w.Gap != nil {
			if x.gap, err = askGap(p.model, rows(g, v, w.Tap), *w.Gap); err != nil {
				return nil, err
			}
			x.got.Gap = linalg.NewCross(w.Width, w.Gap.Width)
		}
		p.watched = append(p.watched, x)
	}
	if want.Keep != "" {
		v := g.Value(want.Keep)
		if v == nil {
			return nil, fmt.Errorf("no value is called %q", want.Keep)
		}
		g.AddOutput(v)
	}
	engine.Trim(g)
	return p, nil
}

// differentiate returns a copy of m with the gradients that watches ask for, and
// the name of the gradient of each value. Without any, it is m itself.
func differentiate(ctx context.Context, eng *engine.Engine, m *graph.Model, want Ask, watches []Watch) (*sensor, map[string]string, error) {
	c := m.Clone()
	p := &sensor{model: c}
	wanted := map[string]bool{}
	for _, w := range watches {
		if w.Felt || w.Taylor {
			wanted[w.Value] = true
		}
		if w.By != "" {
			wanted[w.By] = true
		}
	}
	if len(wanted) == 0 {
		return p, nil, nil
	}
	if !want.Labels.Known() {
		return nil, nil, &fault.Error{Kind: fault.Internal, Where: "gradients", Got: "no labels", Want: "one per sample"}
	}
	shapes, err := eng.Shapes(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	if p.loss, err = grad.AddLoss(c, shapes, want.Loss, want.Labels.Loss()); err != nil {
		return nil, nil, err
	}
	if shapes, err = eng.Shapes(ctx, c); err != nil {
		return nil, nil, err
	}
	var of map[string]string
	p.model, of, err = grad.Backward(c, p.loss.Value, slices.Sorted(maps.Keys(wanted)), shapes, grad.Options{Keep: true})
	return p, of, err
}

// rowWeights appends the sum of the squares of each row of d, a column.
func rowWeights(g *graph.Graph, d *graph.Value, width int) *graph.Value {
	squared := g.Add("Mul", "squared", []*graph.Value{d, d}).Output(0)
	ones := make([]float32, width)
	for i := range ones {
		ones[i] = 1
	}
	return g.Add("MatMul", "row_weight", []*graph.Value{squared, g.AddConst("ones", graph.NewTensor([]int64{int64(width), 1}, ones))}).Output(0)
}

// add takes the sums of one batch out of a run's results.
func (w *watched) add(res map[string]*graph.Tensor) error {
	switch {
	case w.got.Moments != nil:
		if err := w.all.add(w.got.Moments, res); err != nil {
			return err
		}
	case w.got.Groups != nil:
		if err := w.within.add(w.got.Groups, w.Groups, res); err != nil {
			return err
		}
	}
	if w.weights != "" {
		s, err := res[w.weights].Float32s()
		if err != nil {
			return err
		}
		w.weight += float64(s[0])
	}
	if w.Taylor {
		n, _, err := w.all.first(res)
		if err != nil {
			return err
		}
		squares, err := res[w.squares].Float32s()
		if err != nil {
			return err
		}
		w.taylor.Rows += n
		for j, x := range squares {
			w.taylor.Sum[j] += float64(x)
		}
	}
	if w.Gap != nil {
		if err := w.gap.add(w.got.Gap, res); err != nil {
			return err
		}
	}
	if w.Felt {
		return w.grads.add(w.got.Felt, res)
	}
	return nil
}

// settle scales weighted moments such that weights are one on average, and
// returns all that was gathered.
func (w *watched) settle() Sensed {
	if m := w.got.Moments; w.weights != "" && w.weight > 0 && m != nil {
		m.Scale(float64(m.Rows) / w.weight)
	}
	if w.taylor != nil {
		w.got.Taylor = w.taylor.Mean()
	}
	return w.got
}

// Samples returns the number of samples in a feed of m.
func Samples(m *graph.Model, feed map[string]*graph.Tensor) int {
	if v := engine.OpenBatch(m); v != nil && feed[v.Name()] != nil {
		return int(feed[v.Name()].Dims[engine.BatchAxis(v)])
	}
	for _, t := range feed {
		if len(t.Dims) > 0 {
			return int(t.Dims[0])
		}
	}
	return 1
}
