package calibrate

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/grad"
	"nuwa/internal/linalg"
)

// Watch is what Sense gathers about one value.
type Watch struct {
	Tap
	Moments bool   // second moments of the value
	Felt    bool   // second moments of the gradient of the loss with respect to it
	Taylor  bool   // E[(h·∂ℓ/∂h)²] per channel of the value h; asks for Moments too
	By      string // a value of as many rows: a row of the moments counts by the squared gradient there; "" counts all rows alike
}

// Senses is what Sense gathered, by the names of values.
type Senses struct {
	Moments map[string]*linalg.Moments
	Felt    map[string]*linalg.Moments // of ∂ℓ/∂y, over images and rows
	Taylor  map[string][]float64
}

// Sense runs m over all feeds once and gathers what the watches ask for.
// Gradients are those of the cross-entropy of the output called logits, per
// image, as labels say; nothing may ask for gradients where they are not known.
//
// Where moments count by squared gradients (Watch.By), row t has the weight
// Σ_c(∂ℓ/∂y_tc)², scaled so that weights are one on average: with F the
// second moment of the gradient, E[(∂ℓ/∂y·ΔW·h)²] ≈ tr(ΔWᵀ·F·ΔW·C) for the
// weighted moment C of h, as in the Kronecker-factored approximation of the
// Fisher information (Martens and Grosse, arXiv 1503.05671).
func Sense(ctx context.Context, eng *engine.Engine, m *graph.Model, logits string, labels Labels, watches []Watch, feeds Feeds) (*Senses, error) {
	p, err := instrumentSense(ctx, eng, m, logits, labels, watches)
	if err != nil {
		return nil, err
	}
	s, err := eng.Open(p.model)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	at := 0
	for feed, err := range feeds {
		if err != nil {
			return nil, err
		}
		n := batchOf(feed)
		with := map[string]*graph.Tensor{}
		for k, t := range feed {
			with[k] = t
		}
		if p.loss.Labels != "" {
			if with[p.loss.Labels], err = labels.Feed(p.model, p.loss, at, n); err != nil {
				return nil, err
			}
		}
		at += n
		res, err := s.Run(ctx, with, nil)
		if err != nil {
			return nil, err
		}
		for _, w := range p.watched {
			if err := w.add(res); err != nil {
				return nil, fmt.Errorf("value %q: %w", w.Value, err)
			}
		}
	}
	if at == 0 {
		return nil, noSamples()
	}
	out := &Senses{Moments: map[string]*linalg.Moments{}, Felt: map[string]*linalg.Moments{}, Taylor: map[string][]float64{}}
	for _, w := range p.watched {
		if w.Moments {
			out.Moments[w.Value] = w.settle()
		}
		if w.Taylor {
			out.Taylor[w.Value] = w.taylor.Mean()
		}
		if w.Felt {
			out.Felt[w.Value] = w.felt
		}
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
	names, grads  tapNames
	weights       string // the output that holds the sum of the row weights
	squares       string // the output that holds the sum of (h·∂ℓ/∂h)²
	moments, felt *linalg.Moments
	taylor        *linalg.Moments // only its rows and sums
	weight        float64
}

func instrumentSense(ctx context.Context, eng *engine.Engine, m *graph.Model, logits string, labels Labels, watches []Watch) (*sensor, error) {
	c := m.Clone()
	p := &sensor{model: c}
	of := map[string]string{}
	for _, w := range watches {
		if w.Felt || w.Taylor {
			of[w.Value] = ""
		}
		if w.By != "" {
			of[w.By] = ""
		}
	}
	wrt := slices.Sorted(maps.Keys(of))
	if len(wrt) > 0 {
		if !labels.Known() {
			return nil, &fault.Error{Kind: fault.Internal, Where: "gradients", Got: "no labels", Want: "one per sample"}
		}
		shapes, err := eng.Shapes(ctx, c)
		if err != nil {
			return nil, err
		}
		if p.loss, err = grad.AddLoss(c, shapes, logits, labels.Loss()); err != nil {
			return nil, err
		}
		if shapes, err = eng.Shapes(ctx, c); err != nil {
			return nil, err
		}
		if p.model, of, err = grad.Backward(c, p.loss.Value, wrt, shapes, grad.Options{Keep: true}); err != nil {
			return nil, err
		}
	}
	g := p.model.Graph
	g.ClearOutputs()
	ask := func(v *graph.Value) string {
		g.AddOutput(v)
		return v.Name()
	}
	sums := func(x *graph.Value, scaled *graph.Value) tapNames {
		n := tapNames{rows: ask(g.Add("Shape", "rows", []*graph.Value{x}).Output(0))}
		n.sum = ask(sumRows(p.model, x))
		n.gram = ask(g.Add("Gemm", "gram", []*graph.Value{scaled, scaled, zero(g)}, graph.Int("transA", 1)).Output(0))
		return n
	}
	taps := map[string]Tap{}
	for _, w := range watches {
		taps[w.Value] = w.Tap
	}
	for _, w := range watches {
		v := g.Value(w.Value)
		if v == nil {
			return nil, fmt.Errorf("no value is called %q", w.Value)
		}
		x := &watched{Watch: w}
		if w.Felt {
			d := rows(g, g.Value(of[w.Value]), w.Tap)
			x.grads, x.felt = sums(d, d), linalg.NewMoments(w.Width)
		}
		if w.Taylor {
			d := rows(g, g.Add("Mul", "taylor", []*graph.Value{v, g.Value(of[w.Value])}).Output(0), w.Tap)
			x.squares, x.taylor = ask(sumRows(p.model, g.Add("Mul", "squares", []*graph.Value{d, d}).Output(0))), &linalg.Moments{Sum: make([]float64, w.Width)}
		}
		if w.Moments {
			h := rows(g, v, w.Tap)
			x.moments = linalg.NewMoments(w.Width)
			if w.By == "" {
				x.names = sums(h, h)
			} else {
				by := taps[w.By]
				d := rows(g, g.Value(of[w.By]), by)
				squared := g.Add("Mul", "squared", []*graph.Value{d, d}).Output(0)
				ones := make([]float32, by.Width)
				for i := range ones {
					ones[i] = 1
				}
				s := g.Add("MatMul", "row_weight", []*graph.Value{squared, g.AddConst("ones", graph.NewTensor([]int64{int64(by.Width), 1}, ones))}).Output(0)
				root := g.Add("Sqrt", "root", []*graph.Value{s}).Output(0)
				x.names = sums(g.Add("Mul", "weighted", []*graph.Value{h, s}).Output(0), g.Add("Mul", "rooted", []*graph.Value{h, root}).Output(0))
				x.weights = ask(sumRows(p.model, s))
			}
		}
		p.watched = append(p.watched, x)
	}
	engine.Trim(g)
	return p, nil
}

func (w *watched) add(res map[string]*graph.Tensor) error {
	if w.Moments {
		if err := add(w.moments, res, w.names); err != nil {
			return err
		}
		if w.weights != "" {
			s, err := res[w.weights].Float32s()
			if err != nil {
				return err
			}
			w.weight += float64(s[0])
		}
	}
	if w.Taylor {
		shape, err := res[w.names.rows].Ints()
		if err != nil {
			return err
		}
		squares, err := res[w.squares].Float32s()
		if err != nil {
			return err
		}
		w.taylor.Rows += int(shape[0])
		for j, x := range squares {
			w.taylor.Sum[j] += float64(x)
		}
	}
	if w.Felt {
		return add(w.felt, res, w.grads)
	}
	return nil
}

// settle scales weighted moments such that weights are one on average.
func (w *watched) settle() *linalg.Moments {
	if w.weights != "" && w.weight > 0 {
		w.moments.Scale(float64(w.moments.Rows) / w.weight)
	}
	return w.moments
}

// batchOf returns the number of samples in a feed.
func batchOf(feed map[string]*graph.Tensor) int {
	for _, t := range feed {
		if len(t.Dims) > 0 {
			return int(t.Dims[0])
		}
	}
	return 1
}
