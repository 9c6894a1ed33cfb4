package passes_test

import (
	"math"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/internal/cost"
	"nuwa/internal/engine"
	"nuwa/internal/linalg"
	"nuwa/passes/attention"
	"nuwa/passes/mlp"
	"nuwa/passes/passtest"
	"nuwa/passes/structure"
	"nuwa/testmodels"
)

// equal is how far outputs may move when only redundancy is removed.
const equal = 1e-4

func plantedCases(t *testing.T) []testmodels.Case {
	t.Helper()
	cases, err := testmodels.Planted()
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

// Half of q/k, v/o and hidden go, in every spelling, and nothing changes but
// the cost.
func TestPlantedRedundancyGoesWithoutATrace(t *testing.T) {
	spellings := map[string]bool{}
	for _, c := range plantedCases(t) {
		t.Run(c.File, func(t *testing.T) {
			removeHalf(t, c, passtest.Load(t, c.Path()))
			if !t.Failed() {
				spellings[c.Spelling] = true
			}
		})
	}
	t.Logf("%d spellings lose half of all widths: %v", len(spellings), sortedKeys(spellings))
	for _, s := range []string{"packed", "packed_query", "packed_both", "packed_nobias", "packed_index", "chunk", "interleaved",
		"interleaved4", "innermost", "separate", "torchvision", "mha_sequence", "conv", "split_uneven", "mask", "relative_bias",
		"mean", "swiglu", "layer_scale"} {
		if !spellings[s] {
			t.Errorf("spelling %s was not covered", s)
		}
	}
}

// removeHalf removes half of q/k, v/o and hidden from m, a spelling of the planted
// model c, and fails where anything changes but the cost.
func removeHalf(t *testing.T, c testmodels.Case, m *graph.Model) {
	t.Helper()
	base := m.Clone()
	vit := passtest.Clean(t, m)
	if len(vit.Attentions) != c.Blocks || len(vit.MLPs) != c.Blocks {
		t.Fatalf("found %d attentions and %d hidden layers, want %d of each", len(vit.Attentions), len(vit.MLPs), c.Blocks)
	}
	predicted := macs(t, m)
	specs, err := attention.Decompose(vit.Attentions)
	if err != nil {
		t.Fatal(err)
	}
	var gone []*graph.Node
	for _, s := range specs {
		a := s.Site
		if s.QK == nil || s.VO == nil {
			t.Fatalf("declined: %q, %q", a.QKReason, a.VOReason)
		}
		gone = append(gone, pathNodes(a)...)
		qk, vo := a.UnitMACs(vit.Shapes)
		predicted -= qk*float64(a.QKDim/2) + vo*float64(a.VODim/2)
		if err := s.Prune(m, a.QKDim/2, a.VODim/2); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range vit.MLPs {
		if p.Reason != "" {
			t.Fatalf("declined: %q", p.Reason)
		}
		predicted -= p.UnitMACs(vit.Shapes) * float64(p.Hidden/2)
		keep, w2, b2 := mergeTwins(t, p)
		if err := p.Rebuild(m, keep, w2, b2); err != nil {
			t.Fatal(err)
		}
	}
	passtest.Tidy(t, m)
	passtest.Agree(t, "half of all widths", base, m, equal)
	if got := macs(t, m); math.Abs(got-predicted) > 0.5 {
		t.Errorf("%.0f multiply-accumulates, predicted %.0f", got, predicted)
	}
	for _, n := range gone {
		if n.Graph() != nil {
			t.Errorf("%s of the old path is left", n)
		}
	}
	noOldWidths(t, m, c)
}

// One twin of each pair is kept, and least squares finds what it must stand
// for.
func TestRefitFindsPlantedTwins(t *testing.T) {
	for _, c := range plantedCases(t) {
		switch c.Spelling {
		case "packed", "torchvision", "conv", "swiglu", "layer_scale", "mean":
		default:
			continue // hidden layers are spelled as in packed
		}
		t.Run(c.File, func(t *testing.T) {
			m := passtest.Load(t, c.Path())
			base := m.Clone()
			vit := passtest.Clean(t, m)
			moments, err := mlp.Calibrate(t.Context(), passtest.Engine, m, vit.Shapes, vit.MLPs, synthetic(m, 24))
			if err != nil {
				t.Fatal(err)
			}
			for i, p := range vit.MLPs {
				keep, merged, _ := mergeTwins(t, p)
				fit, err := mlp.Prune(m, p, moments[i], keep, linalg.Options{})
				if err != nil {
					t.Fatal(err)
				}
				var diff mat.Dense
				diff.Sub(fit.W.T(), merged)
				if d := mat.Max(absolute(&diff)); d > 1e-2 {
					t.Errorf("hidden layer %d: a weight is %.2g from the sum of its twins'", i, d)
				}
			}
			passtest.Tidy(t, m)
			passtest.Agree(t, "refitted", base, m, equal)
		})
	}
}

// mergeTwins finds the pairs of equal hidden neurons by their input weights.
// It keeps the first of each and gives it the output weights of both.
func mergeTwins(t *testing.T, p *structure.MLP) (keep []int, w2 *mat.Dense, b2 []float64) {
	t.Helper()
	w, b, err := p.Second.Weight()
	if err != nil {
		t.Fatal(err)
	}
	w1, b1, err := p.First[0].Weight()
	if err != nil {
		t.Fatal(err)
	}
	w2 = mat.NewDense(p.Second.OutDim, p.Hidden/2, nil)
	used := make([]bool, p.Hidden)
	for j := range used {
		for k := j + 1; k < p.Hidden && !used[j]; k++ {
			if used[k] || b1[j] != b1[k] || !slices.Equal(w1.RawRowView(j), w1.RawRowView(k)) {
				continue
			}
			for o := range p.Second.OutDim {
				w2.Set(o, len(keep), w.At(o, j)+w.At(o, k))
			}
			keep, used[j], used[k] = append(keep, j), true, true
		}
	}
	if len(keep) != p.Hidden/2 {
		t.Fatalf("%d pairs of twins among %d hidden neurons", len(keep), p.Hidden)
	}
	return keep, w2, b
}

// macs counts the multiply-accumulates of m per image.
func macs(t *testing.T, m *graph.Model) float64 {
	t.Helper()
	return float64(counted(t, m).MACs)
}

func counted(t *testing.T, m *graph.Model) cost.Cost {
	t.Helper()
	shapes, err := passtest.Engine.Shapes(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	c, err := cost.Of(m, shapes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pathNodes lists the linear maps of a and all nodes between them and the
// products.
func pathNodes(a *structure.Attention) []*graph.Node {
	var nodes []*graph.Node
	back := func(v *graph.Value, stop *graph.Node) {
		for v.Producer() != stop {
			nodes = append(nodes, v.Producer())
			v = v.Producer().Input(0)
			if v.Const() != nil { // a constant on the left of an operator
				v = nodes[len(nodes)-1].Input(1)
			}
		}
		nodes = append(nodes, stop)
	}
	back(a.Q.Leaf.Value, a.Q.Linear.Node)
	back(a.K.Leaf.Value, a.K.Linear.Node)
	back(a.V.Leaf.Value, a.V.Linear.Node)
	back(a.Out.Linear.In, a.PV)
	nodes = slices.DeleteFunc(nodes, func(n *graph.Node) bool { return n == a.PV })
	return append(nodes, a.Out.Linear.Node)
}

// noOldWidths fails for every constant of an operator that moves elements
// which states a width of the base. A number that is also one of the slim
// model, or of the image, proves nothing.
func noOldWidths(t *testing.T, m *graph.Model, c testmodels.Case) {
	t.Helper()
	widths := func(qk, vo, hidden int) []int {
		h := c.Heads
		return []int{qk, vo, hidden, 2 * hidden, h * qk, h * vo, 2 * h * qk, 2 * h * vo, h * (qk + vo), h * (2*qk + vo)}
	}
	old := widths(c.QK, c.VO, c.Hidden)
	now := append(widths(c.QK/2, c.VO/2, c.Hidden/2), c.Dim, c.Tokens, c.Tokens-1, c.Image)
	for _, n := range m.Graph.Nodes() {
		if !n.Is("Reshape", "Split", "Slice", "Expand") {
			continue
		}
		for _, x := range stated(n) {
			if slices.Contains(old, int(x)) && !slices.Contains(now, int(x)) {
				t.Errorf("%s still states %d", n, x)
			}
		}
	}
}

// stated lists the integers that n is given as constants or attributes.
func stated(n *graph.Node) []int64 {
	var xs []int64
	for _, v := range n.Inputs()[1:] {
		if v != nil && v.Const() != nil && !v.Const().Type.IsFloat() {
			ints, _ := v.Const().Ints()
			xs = append(xs, ints...)
		}
	}
	for _, a := range n.Attrs() {
		xs = append(xs, a.Ints...)
	}
	return xs
}

// synthetic gives n standard-normal samples as calibration feeds.
func synthetic(m *graph.Model, n int) func(yield func(map[string]*graph.Tensor, error) bool) {
	batch := 8
	if !engine.DynamicBatch(m) {
		batch = 1
	}
	return func(yield func(map[string]*graph.Tensor, error) bool) {
		for i := range n / batch {
			if !yield(engine.Inputs(m, batch, uint64(i))) {
				return
			}
		}
	}
}

func absolute(m *mat.Dense) *mat.Dense {
	m.Apply(func(_, _ int, x float64) float64 { return math.Abs(x) }, m)
	return m
}

func sortedKeys(set map[string]bool) []string {
	var keys []string
	for k := range set {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
