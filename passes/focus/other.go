package focus

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/linalg"
	"nuwa/internal/ranking"
	"nuwa/passes/calibrate"
	"nuwa/passes/structure"
)

// Samples are model inputs, some of wanted classes and some of others.
type Samples struct {
	Feeds calibrate.Feeds
	Other []bool // for every sample of Feeds: it is of no wanted class
}

// Other is a logit that stands for everything outside the wanted classes:
// o = w·x + b, x being what the classifier reads.
type Other struct {
	Ridge     float64 `json:"ridge"`        // relative to the mean variance of x
	Offset    float64 `json:"offset"`       // part of b that sets the rate of false accepts
	AUROC     float64 `json:"auroc"`        // on the held samples: how well max wanted logit − o tells wanted from other
	Asked     float64 `json:"false_accept"` // rate asked for
	Threshold float64 `json:"max_softmax"`  // maximum softmax over the wanted logits with the same rate of false accepts on the held samples
}

// ridges are the strengths that the fit chooses from.
var ridges = []float64{1e-4, 1e-3, 1e-2, 1e-1, 1}

// OtherTargets returns what the logit for all other classes should be for every
// sample: ln Σ exp over the base's logits that are not wanted. m has all its
// classes still.
func OtherTargets(ctx context.Context, eng *engine.Engine, m *graph.Model, heads []*structure.Classifier, wanted []int, feeds calibrate.Feeds) ([]float64, error) {
	head, err := single(heads)
	if err != nil {
		return nil, err
	}
	var rest []int64
	for c := range head.Classes {
		if !slices.Contains(wanted, c) {
			rest = append(rest, int64(c))
		}
	}
	if len(rest) == 0 {
		return nil, &fault.Error{Kind: fault.Usage, Where: "other", Got: "all classes wanted", Want: "classes that are not, to stand for what else there is"}
	}
	c := m.Clone()
	g := c.Graph
	v := rowsOf(g, g.Value(head.Linears[0].Out.Name()), head.Classes)
	v = g.Add("Gather", "others", []*graph.Value{v, g.AddConst("others", graph.NewTensor([]int64{int64(len(rest))}, rest))}, graph.Int("axis", 1)).Output(0)
	n := g.Add("ReduceLogSumExp", "log_sum_exp", []*graph.Value{v}, graph.Int("keepdims", 0))
	if c.Opset("") >= 18 {
		n.SetInput(1, g.AddConst("axes", graph.NewTensor([]int64{1}, []int64{1})))
	} else {
		n.SetAttr(graph.Ints("axes", 1))
	}
	var out []float64
	for row, err := range values(ctx, eng, c, n.Output(0), 1, feeds) {
		if err != nil {
			return nil, err
		}
		out = append(out, row[0])
	}
	return out, nil
}

// single returns the one linear classifier that another logit can be added to.
func single(heads []*structure.Classifier) (*structure.Classifier, error) {
	if len(heads) == 1 && len(heads[0].Linears) == 1 {
		return heads[0], nil
	}
	return nil, &fault.Error{Kind: fault.Unsupported, Where: "other", Got: fmt.Sprintf("%d classifiers that were understood, or one of several linear maps", len(heads)),
		Want: "one linear map to the logits"}
}

// rowsOf appends operators that make v a float32 matrix of the given width.
func rowsOf(g *graph.Graph, v *graph.Value, width int) *graph.Value {
	v = g.Add("Cast", "f32", []*graph.Value{v}, graph.Int("to", int64(graph.Float32))).Output(0)
	shape := g.AddConst("rows_shape", graph.NewTensor([]int64{2}, []int64{-1, int64(width)}))
	return g.Add("Reshape", "rows", []*graph.Value{v, shape}).Output(0)
}

// values runs m and yields v for every sample, width numbers each.
func values(ctx context.Context, eng *engine.Engine, m *graph.Model, v *graph.Value, width int, feeds calibrate.Feeds) iter.Seq2[[]float64, error] {
	return func(yield func([]float64, error) bool) {
		m.Graph.ClearOutputs()
		m.Graph.AddOutput(v)
		engine.Trim(m.Graph)
		s, err := eng.Open(m)
		if err != nil {
			yield(nil, err)
			return
		}
		defer s.Close()
		for feed, err := range feeds {
			var out map[string]*graph.Tensor
			if err == nil {
				out, err = s.Run(ctx, feed, nil)
			}
			var xs []float64
			if err == nil {
				xs, err = out[v.Name()].Floats()
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for row := range slices.Chunk(xs, width) {
				if !yield(row, nil) {
					return
				}
			}
		}
	}
}

// AddOther fits the logit for everything else and adds it to the classifier of
// m, whose logits are the wanted ones, as the last. targets belong to fit; held
// chooses the ridge and the offset with which the part accept of its other
// samples is taken for wanted.
func AddOther(ctx context.Context, eng *engine.Engine, m *graph.Model, heads []*structure.Classifier, targets []float64, fit calibrate.Feeds, held Samples, accept float64) (*Other, error) {
	head, err := single(heads)
	if err != nil {
		return nil, err
	}
	moments, err := featureMoments(ctx, eng, m, head.Linears[0], targets, fit)
	if err != nil {
		return nil, err
	}
	w, b, err := solveOther(moments)
	if err != nil {
		return nil, err
	}
	trial := m.Clone()
	logits, err := extend(trial, (&structure.ViT{Classifiers: heads}).Moved(m, trial).Classifiers[0], w, b)
	if err != nil {
		return nil, err
	}
	k := head.Classes
	margins := make([][]float64, len(ridges)) // of held samples
	var sureness []float64
	for row, err := range values(ctx, eng, trial, logits, k+len(ridges), held.Feeds) {
		if err != nil {
			return nil, err
		}
		top := slices.Max(row[:k])
		for i := range ridges {
			margins[i] = append(margins[i], top-row[k+i])
		}
		sum := 0.0
		for _, x := range row[:k] {
			sum += math.Exp(x - top)
		}
		sureness = append(sureness, 1/sum)
	}
	if len(sureness) != len(held.Other) {
		return nil, &fault.Error{Kind: fault.Internal, Where: "other", Got: fmt.Sprintf("%d samples", len(sureness)), Want: fmt.Sprint(len(held.Other))}
	}
	wanted := make([]bool, len(held.Other))
	for i, other := range held.Other {
		wanted[i] = !other
	}
	if len(held.Other) == 0 || !slices.Contains(held.Other, true) {
		return nil, &fault.Error{Kind: fault.Data, Where: "other", Got: "no held images of other classes", Want: "at least one"}
	}
	o := &Other{AUROC: -1, Asked: accept}
	best := 0
	for i := range ridges {
		if a, _ := ranking.AUROC(margins[i], wanted); a > o.AUROC {
			best, o.AUROC, o.Ridge = i, a, ridges[i]
		}
	}
	o.Offset = quantile(margins[best], held.Other, 1-accept)
	o.Threshold = quantile(sureness, held.Other, 1-accept)
	row := mat.NewDense(1, head.Linears[0].InDim, w.RawRowView(best))
	_, err = extend(m, head, row, []float64{b[best] + o.Offset})
	return o, err
}

// featureMoments gathers the moments of what l reads, with the targets as a
// last column.
func featureMoments(ctx context.Context, eng *engine.Engine, m *graph.Model, l *structure.Linear, targets []float64, feeds calibrate.Feeds) (*linalg.Moments, error) {
	c := m.Clone()
	g := c.Graph
	x := rowsOf(g, g.Value(l.Input().Name()), l.InDim)
	in := g.AddInput(g.UniqueName("targets"), graph.TensorType(graph.Float32, graph.Sym("samples"), graph.Fixed(1)))
	joined := g.Add("Concat", "joined", []*graph.Value{x, in}, graph.Int("axis", 1)).Output(0)
	at := 0
	with := func(yield func(map[string]*graph.Tensor, error) bool) {
		at = 0
		for feed, err := range feeds {
			if err != nil {
				yield(nil, err)
				return
			}
			more := map[string]*graph.Tensor{}
			n := 1
			for name, t := range feed {
				more[name] = t
				n = int(t.Dims[0])
			}
			rows := make([]float32, n)
			for i := range rows {
				rows[i] = float32(targets[at+i])
			}
			at += n
			more[in.Name()] = graph.NewTensor([]int64{int64(n), 1}, rows)
			if !yield(more, nil) {
				return
			}
		}
	}
	moments, err := calibrate.Collect(ctx, eng, c, []calibrate.Tap{{Value: joined.Name(), Rank: 2, Axis: 1, Width: l.InDim + 1}}, with)
	if err != nil {
		return nil, err
	}
	return moments[0], nil
}

// solveOther returns one row and one bias for each of ridges: least squares
// from all columns but the last to the last one.
func solveOther(moments *linalg.Moments) (*mat.Dense, []float64, error) {
	d := moments.Dim() - 1
	target := mat.NewDense(d+1, 1, nil)
	target.Set(d, 0, 1)
	keep := make([]int, d)
	for i := range keep {
		keep[i] = i
	}
	w, b := mat.NewDense(len(ridges), d, nil), make([]float64, len(ridges))
	for i, ridge := range ridges {
		f, err := linalg.Reconstruct(moments, target, keep, linalg.Options{Affine: true, Ridge: ridge})
		if err != nil {
			return nil, nil, err
		}
		w.SetRow(i, mat.Col(nil, 0, f.W))
		b[i] = f.Shift[0]
	}
	return w, b, nil
}

// extend adds rows to the classifier, behind those it has, and returns the
// logits.
func extend(m *graph.Model, head *structure.Classifier, rows *mat.Dense, bias []float64) (*graph.Value, error) {
	l := head.Linears[0]
	w, b, err := l.Weight()
	if err != nil {
		return nil, err
	}
	classes := head.Classes + len(bias)
	var all mat.Dense
	all.Stack(w, rows)
	y, err := l.Rebuild(m.Graph, l.Input(), l.Name(), &all, append(b, bias...))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.Node, err)
	}
	output := head.Output.Name()
	l.Out.ReplaceUses(y)
	return y, resize(m, head, output, classes)
}

// quantile returns the score that the part q of the other samples lies at or
// below.
func quantile(scores []float64, other []bool, q float64) float64 {
	var xs []float64
	for i, s := range scores {
		if other[i] {
			xs = append(xs, s)
		}
	}
	slices.Sort(xs)
	return xs[min(len(xs)-1, max(0, int(math.Ceil(q*float64(len(xs))))-1))]
}
