package expand_test

import (
	"archive/zip"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/importer"
	"nuwa/internal/engine"
	"nuwa/passes/cleanup"
	"nuwa/passes/expand"
)

// The official cases of fused operators, and files that other people's tools
// wrote, come out equal or stay as they are.
func TestCorpora(t *testing.T) {
	equal, kept, expanded := 0, map[string]int{}, map[string]int{}
	for _, archive := range []string{"onnx-node-tests.zip", "onnx-wild.zip"} {
		z, err := zip.OpenReader("../../../shared/" + archive)
		if errors.Is(err, fs.ErrNotExist) {
			t.Skipf("../shared/%s is not there", archive)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		for _, f := range z.File {
			if path.Ext(f.Name) != ".onnx" || f.UncompressedSize64 > 120<<10 || strings.Contains(f.Name, "_expanded") {
				continue
			}
			m := fused(t, f)
			if m == nil {
				continue
			}
			ops := map[string]int{}
			for _, n := range m.Graph.Nodes() {
				ops[n.Op]++
			}
			before := m.Clone()
			if _, err := eng.Observe(t.Context(), m, nil, 0, 1, 2, 3); err != nil {
				kept["ONNX Runtime does not run it"]++
				continue
			}
			shapes, err := eng.Shapes(t.Context(), m)
			if err != nil {
				t.Errorf("%s: %v", f.Name, err)
				continue
			}
			done := expand.Expand(m, shapes)
			for _, why := range done.Kept {
				kept[why[strings.LastIndex(why, ": ")+2:]]++
			}
			if done.Nodes == 0 {
				if m.String() != before.String() {
					t.Errorf("%s: changed, though nothing was expanded", f.Name)
				}
				continue
			}
			for _, n := range m.Graph.Nodes() {
				ops[n.Op]--
			}
			for op, n := range ops {
				if n > 0 {
					expanded[op] += n
				}
			}
			m.Graph.Infos = nil
			if err := m.Graph.Sort(); err != nil {
				t.Fatal(err)
			}
			if err := m.Check(); err != nil {
				t.Fatal(err)
			}
			feeds, err := visible(m)
			if err != nil {
				t.Errorf("%s: %v", f.Name, err)
				continue
			}
			want, err := runOn(t, before, feeds)
			if err != nil {
				t.Errorf("%s: %v", f.Name, err)
				continue
			}
			got, err := runOn(t, m, feeds)
			if err != nil {
				t.Errorf("%s: %v", f.Name, err)
				continue
			}
			tol := 1e-5
			if slices.ContainsFunc(slices.Collect(maps.Values(want)), func(x *graph.Tensor) bool { return x.Type == graph.Float16 }) {
				tol = 5e-3
			}
			if d := distance(t, want, got); !(d <= tol) || math.IsNaN(d) {
				t.Errorf("%s: moved by %.3g", f.Name, d)
				continue
			}
			equal++
		}
	}
	t.Logf("%d models are equal; expanded %v", equal, expanded)
	for why, n := range kept {
		t.Logf("%3d stay: %s", n, why)
	}
	if equal < 90 {
		t.Errorf("only %d models were compared", equal)
	}
}

// fused reads a model that has operators to expand, nil where it has none or
// where ONNX Runtime does not run it. Inputs of Attention beyond the tokens
// become constants.
func fused(t *testing.T, f *zip.File) *graph.Model {
	r, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	r.Close()
	if err != nil {
		t.Fatal(err)
	}
	m, err := importer.Decode(f.Name, data, "")
	if err != nil || !expand.Needed(m) || len(cleanup.Random(m)) > 0 {
		return nil
	}
	feeds, err := engine.Inputs(m, 2, 3)
	if err != nil {
		return nil
	}
	for _, x := range feeds {
		if x.Len() > 1<<20 {
			return nil // minutes of work, and logits so large that softmax is a choice
		}
	}
	for _, n := range m.Graph.Nodes() {
		if !n.Is("Attention") {
			continue
		}
		for i, v := range n.Inputs() {
			if i >= 3 && v != nil && v.IsInput() && feeds[v.Name()] != nil && !slices.ContainsFunc(m.Graph.Outputs(), func(o *graph.Value) bool { return o == v }) {
				m.Graph.SetDefault(v, feeds[v.Name()])
			}
		}
	}
	cleanup.InitializersAsInputs(m)
	cleanup.Constants(m)
	vary(m)
	return m
}

// visible draws inputs, with ones where there may be masks: of a query that
// sees no key, only the rounding is left.
func visible(m *graph.Model) (map[string]*graph.Tensor, error) {
	feeds, err := engine.Inputs(m, 2, 3)
	for name, x := range feeds {
		if x.Type == graph.Int32 {
			ones := make([]int32, x.Len())
			for i := range ones {
				ones[i] = 1
			}
			feeds[name] = graph.NewTensor(x.Dims, ones)
		}
	}
	return feeds, err
}

// vary makes random numbers of weights that are ones throughout, as files made
// for tests have them: a norm of equal numbers is noise.
func vary(m *graph.Model) {
	rng := rand.New(rand.NewPCG(4, 2))
	for _, v := range m.Graph.Consts() {
		c := v.Const()
		if c == nil || !c.Type.IsFloat() || c.Len() < 4 {
			continue
		}
		xs, err := c.Floats()
		if err != nil || slices.ContainsFunc(xs, func(x float64) bool { return x != xs[0] }) {
			continue
		}
		for i := range xs {
			xs[i] = rng.NormFloat64() * 0.3
		}
		if w, err := graph.FromFloats(c.Type, c.Dims, xs); err == nil {
			v.SetConst(w)
		}
	}
}
