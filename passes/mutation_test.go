package passes_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/passes"
	"nuwa/passes/attention"
	"nuwa/passes/focus"
	"nuwa/passes/passtest"
	"nuwa/passes/structure"
)

// Models in which one assumption was broken at random: whatever is still said
// to be prunable, pruned, equals the same mutant with masks.
func TestMutantsAreDeclinedOrPrunedRight(t *testing.T) {
	want := 120
	if s := os.Getenv("NUWA_MUTANTS"); s != "" {
		var err error
		if want, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	stocks := mutantStocks(t)
	rng := rand.New(rand.NewPCG(5, 17))
	var tally tally
	for draws := 0; tally.valid < want; draws++ {
		if draws > 40*want {
			t.Fatalf("only %d of %d draws gave a model that runs", tally.valid, draws)
		}
		s := stocks[draws%len(stocks)]
		seed := rng.Uint64()
		x, kind := s.mutate(rand.New(rand.NewPCG(seed, 1)))
		if x == nil {
			continue
		}
		var first func(m *graph.Model) error
		if s.raw || seed%4 == 0 { // what was broken may be mended by cleaning, which must not change it either
			first = func(m *graph.Model) error {
				_, err := (&passes.Manager{}).Run(t.Context(), &passes.State{Model: m, Engine: passtest.Engine}, passes.Cleaning)
				return err
			}
		}
		if err := tryPruning(t, x.m, rand.New(rand.NewPCG(seed, 2)), kind, first, &tally); err != nil {
			t.Errorf("%s, %s: %v", s.name, x.did, err)
		}
	}
	t.Log(tally.String())
	switch {
	case tally.pruned < want:
		t.Errorf("only %d sites were pruned", tally.pruned)
	case tally.declined < want/10:
		t.Errorf("only %d sites were declined", tally.declined)
	case tally.told < tally.valid/2:
		t.Errorf("only in %d of %d mutants did masking move the outputs", tally.told, tally.valid)
	}
}

// mutantStocks cleans one model of each kind, or all that differ in kind where
// many mutants are wanted.
func mutantStocks(t *testing.T) []*stock {
	wanted := map[string]bool{}
	for _, name := range []string{"packed_17_dynamic", "chunk_11_dynamic", "interleaved_14_static", "separate_14_dynamic",
		"torchvision_14_dynamic", "mean_17_static", "attention_packed_query", "attention_mha_sequence",
		"attention_conv", "attention_interleaved4", "attention_innermost", "attention_temperature",
		"attention_talking_heads", "attention_relative_bias", "mlp_swiglu", "mlp_swiglu_chunk",
		"mlp_conv", "mlp_gelu_tanh", "odd_head_packed", "qk_not_vo", "qk_not_vo_packed",
		"window", "layer_scale", "parallel", "two_heads", "softmax_head",
		"cait", "levit_conv", "mixer", "mobilevit_v1", "pvt_v2", "siglip_timm", "swin_v1", "vit22b_one_map"} {
		wanted[name+".onnx"] = true
	}
	if os.Getenv("NUWA_MUTANTS") != "" {
		for _, m := range zoo(t) {
			wanted[m.File] = true
		}
	}
	var stocks []*stock
	for _, f := range untrained(t) {
		if wanted[f.name] {
			stocks = append(stocks, newStock(t, f))
		}
		switch f.name {
		case "levit.onnx", "vit_einsum.onnx", "vit22b_one_map.onnx": // which cleaning changes most
			stocks = append(stocks, rawStock(t, f))
		}
	}
	return stocks
}

// tally counts what became of the mutants.
type tally struct {
	valid, told                         int
	qk, vo, hidden, classifiers, pruned int
	declined                            int
	kinds                               map[string]int
}

func (c *tally) String() string {
	return fmt.Sprintf("%d mutants (%v); pruned %d q/k, %d v/o, %d hidden layers, %d classifiers; declined %d sites; masking moved the outputs of %d",
		c.valid, c.kinds, c.qk, c.vo, c.hidden, c.classifiers, c.declined, c.told)
}

// runsAt reports whether m runs with a batch of that size, or takes one size only.
func runsAt(t *testing.T, m *graph.Model, batch int) bool {
	t.Helper()
	if !engine.DynamicBatch(m) {
		return true
	}
	feeds, err := engine.Inputs(m, batch, 1)
	if err != nil {
		t.Fatal(err)
	}
	_, err = passtest.Engine.Run(t.Context(), m, feeds)
	return err == nil
}

// tryPruning prunes at random whatever is found in m, after first if there is
// such a step, and compares. A model that does not run is not counted.
func tryPruning(t *testing.T, m *graph.Model, rng *rand.Rand, kind string, first func(*graph.Model) error, c *tally) error {
	m.Graph.Infos = nil
	for _, v := range m.Graph.Outputs() {
		v.Type = nil
	}
	engine.Trim(m.Graph)
	want, ok := outcome(t, m)
	if !ok || !runsAt(t, m, 2) { // some run only where the batch is as long as another axis
		return nil
	}
	c.valid++
	if c.kinds == nil {
		c.kinds = map[string]int{}
	}
	c.kinds[kind]++
	if first != nil {
		if err := first(m); err != nil {
			return err
		}
		m.Graph.Infos = nil
		for _, v := range m.Graph.Outputs() {
			v.Type = nil
		}
	}
	vit, err := structure.Find(t.Context(), passtest.Engine, m)
	if err != nil {
		return fmt.Errorf("find: %w", err)
	}
	specs, err := attention.Decompose(vit.Attentions)
	if err != nil {
		return fmt.Errorf("decompose: %w", err)
	}
	original := want
	ref := newReference(t, m)
	cut, err := pruneAtRandom(t, m, vit, specs, ref, rng, c)
	if err != nil {
		return err
	}
	engine.Trim(m.Graph)
	if err := m.Graph.Sort(); err != nil {
		return err
	}
	if err := m.Check(); err != nil {
		return err
	}
	if want, err = passtest.TryRun(t, ref.model); err != nil {
		return fmt.Errorf("the reference does not run: %w", err)
	}
	got, err := passtest.TryRun(t, m)
	if err != nil {
		return fmt.Errorf("the pruned model does not run: %w", err)
	}
	moved, tolerance := false, 2*equal
	if computesInHalf(m) {
		tolerance = 5e-3
	}
	for i := range want {
		moved = moved || passtest.Distance(original[i], want[i]) > 1e-3
		w, g := cut(want[i], got[i])
		if d := passtest.Distance(w, g); !(d <= tolerance) {
			return fmt.Errorf("outputs differ by %.3g", d)
		}
	}
	if moved {
		c.told++
	}
	return nil
}

// pruneAtRandom prunes every site of m and masks the same in ref. The function
// that it returns makes the outputs of the two comparable.
func pruneAtRandom(t *testing.T, m *graph.Model, vit *structure.ViT, specs []*attention.Spectrum, ref *reference, rng *rand.Rand, c *tally) (func(want, got passtest.Outputs) (passtest.Outputs, passtest.Outputs), error) {
	cut := func(want, got passtest.Outputs) (passtest.Outputs, passtest.Outputs) { return want, got }
	if ks := vit.Classifiers; len(ks) > 0 && !slices.ContainsFunc(ks, func(k *structure.Classifier) bool { return k.Softmax || k.Classes != ks[0].Classes }) {
		classes := rng.Perm(ks[0].Classes)[:1+rng.IntN(max(1, ks[0].Classes-1))]
		names := map[string]bool{}
		for _, k := range ks {
			names[k.Output.Name()] = true
			c.classifiers++
		}
		var err error
		masked := rng.IntN(2) == 0
		if masked {
			err = focus.Mask(m, ks, classes)
		} else {
			err = focus.Slice(m, ks, classes)
		}
		if err != nil {
			return nil, fmt.Errorf("focus: %w", err)
		}
		for _, v := range m.Graph.Outputs() {
			v.Type = nil
		}
		cut = func(want, got passtest.Outputs) (passtest.Outputs, passtest.Outputs) {
			want, got = clone(want), clone(got)
			for name := range names {
				if want[name] = takeLast(want[name], classes); masked {
					got[name] = takeWinners(got[name], classes)
				}
			}
			return want, got
		}
	}
	for _, s := range specs {
		a := s.Site
		for _, reason := range []string{a.QKReason, a.VOReason} {
			if reason != "" {
				c.declined++
			}
		}
		if s.QK == nil && s.VO == nil {
			continue
		}
		if s.QK != nil {
			c.qk++
			c.pruned++
		}
		if s.VO != nil {
			c.vo++
			c.pruned++
		}
		if rng.IntN(3) == 0 { // at full rank the mutant itself is the reference
			if err := rebuildAttention(m, s); err != nil {
				return nil, fmt.Errorf("%s: %w", a.Softmax, err)
			}
			continue
		}
		qk, vo := draw(rng, s.QK != nil, a.QKDim), draw(rng, s.VO != nil, a.VODim)
		ref.lowRank(s, qk, vo)
		if err := s.Prune(m, qk, vo); err != nil {
			return nil, fmt.Errorf("%s: %w", a.Softmax, err)
		}
	}
	for _, p := range vit.MLPs {
		if p.Reason != "" {
			c.declined++
			continue
		}
		c.hidden++
		c.pruned++
		keep := some(rng, p.Hidden)
		ref.maskHidden(p, keep)
		w2, b2 := columns(t, p, keep)
		if err := p.Rebuild(m, keep, w2, b2); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Second.Node, err)
		}
	}
	c.declined += len(vit.Declined)
	return cut, nil
}

// outcome runs m; ok is false where it is no sound model, does not run, or gives
// numbers that are not finite.
func outcome(t *testing.T, m *graph.Model) (all []passtest.Outputs, ok bool) {
	if m.Graph.Sort() != nil || m.Check() != nil {
		return nil, false
	}
	all, err := passtest.TryRun(t, m)
	return all, err == nil && finite(all)
}

func finite(all []passtest.Outputs) bool {
	for _, outs := range all {
		if passtest.Distance(outs, outs) != 0 {
			return false
		}
	}
	return true
}

func clone(o passtest.Outputs) passtest.Outputs {
	c := passtest.Outputs{}
	for k, v := range o {
		c[k] = v
	}
	return c
}

// takeLast keeps the given places of t's last axis.
func takeLast(t *graph.Tensor, at []int) *graph.Tensor {
	xs, err := t.Floats()
	if err != nil {
		return nil
	}
	n := int(t.Dims[len(t.Dims)-1])
	var out []float64
	for row := 0; row < len(xs); row += n {
		for _, j := range at {
			out = append(out, xs[row+j])
		}
	}
	dims := append(slices.Clone(t.Dims[:len(t.Dims)-1]), int64(len(at)))
	taken, err := t.With(dims, out)
	if err != nil {
		return nil
	}
	return taken
}

// takeWinners is takeLast, but NaN where one of the other places is not below
// all of these.
func takeWinners(t *graph.Tensor, at []int) *graph.Tensor {
	xs, err := t.Floats()
	if err != nil {
		return nil
	}
	n := int(t.Dims[len(t.Dims)-1])
	for row := 0; row < len(xs); row += n {
		least := math.Inf(1)
		for _, j := range at {
			least = math.Min(least, xs[row+j])
		}
		for j := range n {
			if !slices.Contains(at, j) && xs[row+j] >= least {
				nan := graph.Scalar(float32(math.NaN()))
				return nan
			}
		}
	}
	return takeLast(t, at)
}
