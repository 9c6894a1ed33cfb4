package merge_test

import (
	"cmp"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/internal/cost"
	"nuwa/internal/engine"
	"nuwa/passes/merge"
	"nuwa/passes/passtest"
	"nuwa/passes/structure"
	"nuwa/testmodels"
)

// plain runs models as they stand, which spares ONNX Runtime the rewriting.
var plain = &engine.Engine{Threads: 1, Plain: true}

var update = flag.Bool("update", false, "write testdata/models.txt anew")

// every loads and cleans all tiny models and the zoo.
func every(t *testing.T, do func(t *testing.T, file string, m *graph.Model, vit *structure.ViT)) {
	t.Helper()
	tiny, err := testmodels.Tiny()
	if err != nil {
		t.Fatal(err)
	}
	zoo, err := testmodels.Zoo()
	if err != nil {
		t.Fatal(err)
	}
	paths := map[string]string{}
	var files []string
	for _, c := range tiny {
		files = append(files, "tiny/"+c.File)
		paths["tiny/"+c.File] = c.Path()
	}
	for _, c := range zoo {
		files = append(files, "zoo/"+c.File)
		paths["zoo/"+c.File] = c.Path()
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			m := passtest.Load(t, paths[file])
			do(t, file, m, passtest.Clean(t, m))
		})
	}
}

// Every model is merged and runs, at any batch, or declined with a reason that
// stays the same. Where all tokens of an image are equal, merging any of them
// changes nothing, whatever reads them.
func TestMergingEqualTokensChangesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("a minute for all models")
	}
	var said strings.Builder
	merged := 0
	every(t, func(t *testing.T, file string, m *graph.Model, vit *structure.ViT) {
		for _, v := range m.Graph.Consts() { // positions are told apart no more
			if c := v.Const(); c != nil && len(c.Dims) == 3 && c.Dims[0] == 1 && c.Dims[1] > 1 && c.Type.IsFloat() {
				v.SetConst(alike(t, c))
			}
		}
		base := m.Clone()
		done, reason := merge.Apply(m, vit, 3)
		if reason != "" {
			fmt.Fprintf(&said, "%s: %s\n", file, reason)
			passtest.Agree(t, "declined", base, m, 0)
			return
		}
		merged++
		fmt.Fprintf(&said, "%s: from %d to %d tokens at %d places\n", file, done.Before, done.After, done.Sites)
		passtest.Tidy(t, m)
		if before, after := macs(t, base), macs(t, m); after >= before && done.Sites > 1 {
			t.Errorf("%d multiply-accumulates, %d before", after, before)
		}
		tol := 2e-5
		if slices.ContainsFunc(base.Graph.Nodes(), func(n *graph.Node) bool { return vit.Shapes.Elem(n.Output(0)) == graph.Float16 }) {
			tol = 5e-3
		}
		for _, batch := range passtest.Batches(m) {
			x := flat(t, base, batch)
			passtest.Near(t, fmt.Sprintf("equal tokens, batch %d", batch), run(t, base, x), run(t, m, x), tol)
		}
		if len(passtest.Batches(m)) > 1 {
			passtest.Near(t, "again", passtest.Run(t, m), passtest.Run(t, m), 0)
		}
	})
	if merged < 60 {
		t.Errorf("%d models were merged; most should be", merged)
	}
	const golden = "testdata/models.txt"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(said.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if said.String() != string(want) {
		t.Errorf("what became of the models is not what %s says (-update writes it):\n%s", golden, said.String())
	}
}

// alike repeats the first row of a table of positions.
func alike(t *testing.T, c *graph.Tensor) *graph.Tensor {
	xs, err := c.Floats()
	if err != nil {
		t.Fatal(err)
	}
	d := int(c.Dims[2])
	for i := range xs {
		xs[i] = xs[i%d]
	}
	out, err := graph.FromFloats(c.Type, c.Dims, xs)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// flat returns inputs whose images are of one color each; other inputs are the
// same for every token.
func flat(t *testing.T, m *graph.Model, batch int) map[string]*graph.Tensor {
	feeds, err := engine.Inputs(m, batch, 5)
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range feeds {
		xs, err := x.Floats()
		if err != nil {
			t.Fatal(err)
		}
		plane, inner := 1, 1 // elements of a plane, and how many of them lie apart
		if r := len(x.Dims); r == 4 && x.Dims[3] == 3 {
			plane, inner = int(x.Dims[1]*x.Dims[2]*x.Dims[3]), 3
		} else if r >= 2 {
			plane = int(graph.Elements(x.Dims[min(2, r-1):]))
		}
		for i := range xs {
			xs[i] = xs[i/plane*plane+i%inner]
		}
		if x.Type == graph.Int64 { // numbers of words
			feeds[name] = graph.NewTensor(x.Dims, make([]int64, len(xs)))
		} else if feeds[name], err = graph.FromFloats(x.Type, x.Dims, xs); err != nil {
			t.Fatal(err)
		}
	}
	return feeds
}

func run(t *testing.T, m *graph.Model, feeds map[string]*graph.Tensor) []passtest.Outputs {
	t.Helper()
	var names []string
	for _, v := range m.Graph.Outputs() {
		names = append(names, v.Name())
	}
	out, err := plain.Compute(t.Context(), m, names, feeds)
	if err != nil {
		t.Fatal(err)
	}
	return []passtest.Outputs{out[0]}
}

func macs(t *testing.T, m *graph.Model) int64 {
	t.Helper()
	s, err := plain.Shapes(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	c, err := cost.Of(m, s)
	if err != nil {
		t.Fatal(err)
	}
	return c.MACs
}

// What the operators give is what the rule says, worked out one by one: at both
// merges, the second of which has tokens of several sizes, and in both orders of
// batch and tokens, before and after the operator that takes rows of samples.
func TestMergeFollowsTheRule(t *testing.T) {
	for _, file := range []string{"chunk_11_dynamic.onnx", "packed_17_dynamic.onnx", "mean_17_static.onnx", "attention_mha_sequence.onnx", "torchvision_14_dynamic.onnx", "two_heads.onnx"} {
		t.Run(file, func(t *testing.T) {
			m := passtest.CleanTiny(t, file)
			vit := passtest.Find(t, m)
			keys, at := merge.Sites(m, vit)
			var uses []graph.Use
			for _, v := range at {
				uses = append(uses, v.Uses()[0])
			}
			const r = 3
			if _, reason := merge.Apply(m, vit, r); reason != "" {
				t.Fatal(reason)
			}
			single := map[string]int{"mean_17_static.onnx": 0, "two_heads.onnx": 2}
			fixed, ok := single[file]
			if !ok {
				fixed = 1
			}
			heads := int64(vit.Attentions[0].Heads)
			var names []string
			for i := range at {
				names = append(names, keys[i].Name(), at[i].Name(), uses[i].Node.Input(uses[i].Index).Name())
			}
			engine.Trim(m.Graph)
			if err := m.Graph.Sort(); err != nil {
				t.Fatal(err)
			}
			batch := passtest.Batches(m)[len(passtest.Batches(m))-1]
			feeds, err := engine.Inputs(m, batch, 3)
			if err != nil {
				t.Fatal(err)
			}
			got, err := plain.Compute(t.Context(), m, names, feeds)
			if err != nil {
				t.Fatal(err)
			}
			sizes := make([][]float64, batch)
			for i := range at {
				k, x, y := got[0][names[3*i]], got[0][names[3*i+1]], got[0][names[3*i+2]]
				sequence := file == "attention_mha_sequence.onnx" && x.Dims[1] == int64(batch)
				for b := range batch {
					want, size := reference(metricOf(t, k, heads, b), tokensOf(t, x, b, sequence), sizes[b], fixed, r)
					sizes[b] = size
					if d := difference(want, tokensOf(t, y, b, sequence)); d > 1e-5 {
						t.Errorf("merge %d, sample %d: tokens differ by %.2g", i, b, d)
					}
				}
			}
		})
	}
}

// metricOf returns the keys of sample b, averaged over the heads, per token.
func metricOf(t *testing.T, k *graph.Tensor, heads int64, b int) [][]float64 {
	xs, err := k.Floats()
	if err != nil {
		t.Fatal(err)
	}
	n, d := int(k.Dims[len(k.Dims)-1]), int(k.Dims[len(k.Dims)-2])
	out := make([][]float64, n)
	for i := range n {
		out[i] = make([]float64, d)
		for h := range int(heads) {
			for j := range d {
				out[i][j] += xs[((b*int(heads)+h)*d+j)*n+i] / float64(heads)
			}
		}
	}
	return out
}

// tokensOf returns the tokens of sample b.
func tokensOf(t *testing.T, x *graph.Tensor, b int, sequence bool) [][]float64 {
	xs, err := x.Floats()
	if err != nil {
		t.Fatal(err)
	}
	n, batch, d := int(x.Dims[1]), int(x.Dims[0]), int(x.Dims[2])
	if sequence {
		n, batch = batch, n
	}
	out := make([][]float64, n)
	for i := range n {
		row := b*n + i
		if sequence {
			row = i*batch + b
		}
		out[i] = xs[row*d : (row+1)*d]
	}
	return out
}

// reference merges r pairs of tokens; the first fixed ones stay. It returns the
// tokens and the sizes afterwards.
func reference(metric, x [][]float64, size []float64, fixed, r int) ([][]float64, []float64) {
	if size == nil {
		size = make([]float64, len(x))
		for i := range size {
			size[i] = 1
		}
	}
	type pair struct {
		from, into int
		like       float64
	}
	cosine := func(a, b []float64) float64 {
		ab, aa, bb := 0.0, 0.0, 0.0
		for i := range a {
			ab, aa, bb = ab+a[i]*b[i], aa+a[i]*a[i], bb+b[i]*b[i]
		}
		return ab / math.Sqrt(aa*bb)
	}
	var pairs []pair
	for i := fixed + 1; i < len(x); i += 2 {
		best := pair{from: i, like: -2}
		for j := fixed; j < len(x); j += 2 {
			if c := cosine(metric[i], metric[j]); c > best.like {
				best.into, best.like = j, c
			}
		}
		pairs = append(pairs, best)
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return cmp.Compare(b.like, a.like) })
	out, outSize := slices.Clone(x[:fixed]), slices.Clone(size[:fixed])
	for _, p := range pairs[r:] {
		out, outSize = append(out, x[p.from]), append(outSize, size[p.from])
	}
	for j := fixed; j < len(x); j += 2 {
		sum, n := make([]float64, len(x[j])), 0.0
		add := func(i int) {
			for c, v := range x[i] {
				sum[c] += size[i] * v
			}
			n += size[i]
		}
		add(j)
		for _, p := range pairs[:r] {
			if p.into == j {
				add(p.from)
			}
		}
		for c := range sum {
			sum[c] /= n
		}
		out, outSize = append(out, sum), append(outSize, n)
	}
	return out, outSize
}

func difference(a, b [][]float64) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	worst := 0.0
	for i := range a {
		for j := range a[i] {
			worst = math.Max(worst, math.Abs(a[i][j]-b[i][j]))
		}
	}
	return worst
}
