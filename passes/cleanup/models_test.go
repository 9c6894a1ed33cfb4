package cleanup_test

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/importer"
	"nuwa/internal/engine"
	"nuwa/passes/cleanup"
)

var eng = &engine.Engine{Threads: 1}

// cleanAll applies every step, in the order in which the pipeline does.
func cleanAll(ctx context.Context, m *graph.Model) (log []string, err error) {
	say := func(format string, args ...any) { log = append(log, fmt.Sprintf(format, args...)) }
	inlined, err := cleanup.Inline(m)
	if err != nil {
		return log, err
	}
	say("inline %+v", inlined)
	say("defaults %d", cleanup.InitializersAsInputs(m))
	say("constants %d", cleanup.Constants(m))
	say("identities %d", cleanup.Identities(m, nil))
	folded, err := cleanup.Fold(ctx, eng, m)
	if err != nil {
		return log, fmt.Errorf("fold: %w", err)
	}
	say("fold %+v", folded)
	frozen, err := cleanup.Freeze(ctx, eng, m)
	if err != nil {
		return log, fmt.Errorf("freeze: %w", err)
	}
	say("freeze %+v", frozen)
	shapes, err := eng.Shapes(ctx, m)
	if err != nil {
		return log, fmt.Errorf("shapes: %w", err)
	}
	say("identities %d", cleanup.Identities(m, shapes))
	say("duplicates %d", cleanup.Duplicates(m))
	nodes, consts := cleanup.Dead(m)
	say("dead %d %d", nodes, consts)
	return log, m.Check()
}

// outputs runs m at two batch sizes.
func outputs(ctx context.Context, m *graph.Model) ([]map[string]*graph.Tensor, error) {
	var names []string
	for _, v := range m.Graph.Outputs() {
		names = append(names, v.Name())
	}
	var feeds []map[string]*graph.Tensor
	for _, b := range []int{1, 4} {
		f, err := engine.Inputs(m, b, 3)
		if err != nil {
			return nil, err
		}
		feeds = append(feeds, f)
	}
	return eng.Compute(ctx, m, names, feeds...)
}

// differ says where two runs differ by more than tol of the largest element.
func differ(a, b []map[string]*graph.Tensor, tol float64) error {
	for i := range a {
		if len(a[i]) != len(b[i]) {
			return fmt.Errorf("%d outputs, then %d", len(a[i]), len(b[i]))
		}
		for name, x := range a[i] {
			y := b[i][name]
			if y == nil || x.Shape() != y.Shape() {
				return fmt.Errorf("output %s was %s", name, x.Shape())
			}
			if x.Type == graph.String {
				continue
			}
			xs, err1 := x.Floats()
			ys, err2 := y.Floats()
			if err := errors.Join(err1, err2); err != nil {
				return err
			}
			top := 0.0
			for _, v := range xs {
				if !math.IsInf(v, 0) && !math.IsNaN(v) {
					top = max(top, math.Abs(v))
				}
			}
			for k := range xs {
				if xs[k] == ys[k] || math.IsNaN(xs[k]) && math.IsNaN(ys[k]) {
					continue
				}
				if d := math.Abs(xs[k] - ys[k]); !(d <= tol*top) {
					return fmt.Errorf("output %s[%d] was %g, is %g", name, k, xs[k], ys[k])
				}
			}
		}
	}
	return nil
}

// leftovers lists shape arithmetic that no ViT may have after cleanup.
func leftovers(m *graph.Model) []string {
	var bad []string
	for _, n := range m.Graph.Nodes() {
		switch {
		case n.Is("Shape", "Size") && !n.Input(0).IsInput():
			bad = append(bad, fmt.Sprintf("%s reads %s", n, n.Input(0).Name()))
		case n.Is("Reshape") && n.Input(1).Const() == nil:
			bad = append(bad, fmt.Sprintf("the target of %s is computed", n))
		case n.Is("Constant", "Identity", "Dropout", "If"):
			bad = append(bad, n.String())
		}
	}
	return bad
}

func load(t *testing.T, path string) *graph.Model {
	t.Helper()
	m, err := importer.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Every ViT of the project comes out with equal outputs and without shape
// arithmetic, and cleaning it again changes nothing.
func TestCleanModels(t *testing.T) {
	paths, err := filepath.Glob("../../testmodels/tiny/*.onnx")
	if err != nil {
		t.Fatal(err)
	}
	more, _ := filepath.Glob("../../testmodels/tiny/external/*.onnx")
	paths = append(paths, more...)
	if len(paths) < 60 {
		t.Fatalf("found %d tiny models", len(paths))
	}
	const cifar = "../../../shared/models/cifar10_vit.onnx"
	if _, err := os.Stat(cifar); errors.Is(err, fs.ErrNotExist) {
		t.Log("skipped the CIFAR model: ../shared is not there")
	} else {
		paths = append(paths, cifar)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			m := load(t, path)
			before, err := outputs(ctx, m)
			if err != nil {
				t.Fatal(err)
			}
			signature := fmt.Sprint(types(engine.Feeds(m)), types(m.Graph.Outputs()))
			log, err := cleanAll(ctx, m)
			if err != nil {
				t.Fatal(err, log)
			}
			if got := fmt.Sprint(types(engine.Feeds(m)), types(m.Graph.Outputs())); got != signature {
				t.Errorf("the signature is %s, was %s", got, signature)
			}
			after, err := outputs(ctx, m)
			if err != nil {
				t.Fatalf("%v\n%s", err, m)
			}
			tol := 0.0
			if strings.HasPrefix(filepath.Base(path), "initializers_as_inputs") {
				tol = 1e-5 // weights are multiplied in another order once they are known beforehand
			}
			if err := differ(before, after, tol); err != nil {
				t.Error(err)
			}
			if bad := leftovers(m); len(bad) > 0 {
				t.Errorf("left: %s\n%s\n%s", strings.Join(bad, ", "), strings.Join(log, "\n"), m)
			}
			once := m.String()
			if log, err = cleanAll(ctx, m); err != nil {
				t.Fatal(err)
			}
			if m.String() != once {
				t.Errorf("cleaning again gives\n%s\nafter\n%s\n%s", m, once, strings.Join(log, "\n"))
			}
		})
	}
}

func types(vs []*graph.Value) []string {
	var s []string
	for _, v := range vs {
		s = append(s, v.Name()+":"+v.Type.String())
	}
	return s
}

// Files that other people exported or optimized come out equal, or are not
// runnable to begin with.
func TestCleanWild(t *testing.T) {
	z, err := zip.OpenReader("../../../shared/onnx-wild.zip")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("../shared/onnx-wild.zip is not there")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	count := map[string]int{}
	skipped := map[string][]string{}
	for _, f := range z.File {
		if !strings.HasSuffix(f.Name, ".onnx") {
			continue
		}
		why := cleanWild(t, f)
		count[why]++
		skipped[why] = append(skipped[why], f.Name)
	}
	for _, why := range slices.Sorted(func(yield func(string) bool) {
		for w := range count {
			if !yield(w) {
				return
			}
		}
	}) {
		t.Logf("%4d %s, such as %s", count[why], why, skipped[why][0])
	}
	if count["equal"] < 140 {
		t.Errorf("only %d files were compared", count["equal"])
	}
}

// cleanWild says what became of one file: "equal", or why it was not compared.
func cleanWild(t *testing.T, f *zip.File) string {
	ctx := context.Background()
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
	if err != nil {
		return "refused by the importer"
	}
	if len(cleanup.Random(m)) > 0 {
		return "gives other results at every run"
	}
	for _, n := range m.Graph.Nodes() {
		if n.Op == "Attention" && n.Domain == "com.microsoft" && n.Input(2) == nil {
			return "crashes ONNX Runtime, which reads the missing bias of an Attention"
		}
	}
	total := int64(0)
	for _, v := range engine.Feeds(m) {
		if dims, ok := v.Type.Dims(); ok {
			total += graph.Elements(slices.DeleteFunc(dims, func(d int64) bool { return d < 0 }))
		}
	}
	if total > 1<<22 {
		return "takes more than four million numbers"
	}
	if note, err := cleanup.Settle(ctx, eng, m, [2]int{}); err != nil {
		return "image of no size that it runs at"
	} else if note != "" {
		t.Log(f.Name, note)
	}
	before, err := outputs(ctx, m)
	for _, size := range []int64{8, 1} {
		if err != nil {
			m, _ = importer.Decode(f.Name, data, "")
			closeDims(m, size)
			before, err = outputs(ctx, m)
		}
	}
	if err != nil && strings.Contains(err.Error(), "known rank") {
		return "an input has no known rank"
	} else if err != nil {
		return "ONNX Runtime does not run it with the inputs made up here"
	}
	base := m.Clone()
	log, err := cleanAll(ctx, m)
	if err != nil {
		t.Errorf("%s: %v\n%s", f.Name, err, strings.Join(log, "\n"))
		return "failed"
	}
	after, err := outputs(ctx, m)
	if err == nil {
		tol := 1e-6
		if strings.Contains(m.String(), "f16[") {
			tol = 5e-3 // one rounding of half precision
		}
		err = differ(before, after, tol)
	}
	if err != nil {
		if !repeats(ctx, base, before) {
			return "gives other results at every run"
		}
		t.Errorf("%s: %v\n%s", f.Name, err, strings.Join(log, "\n"))
		return "failed"
	}
	return "equal"
}

// repeats reports whether m, which has given the outputs before, gives the same
// bits every time: some of ONNX Runtime's operators in half precision do not.
func repeats(ctx context.Context, m *graph.Model, before []map[string]*graph.Tensor) bool {
	for range 20 {
		if again, err := outputs(ctx, m); err != nil || differ(before, again, 0) != nil {
			return false
		}
	}
	return true
}

// closeDims fixes the dimensions that inputs leave open, but for the batch.
func closeDims(m *graph.Model, size int64) {
	for _, v := range engine.Feeds(m) {
		if dims, ok := v.Type.Dims(); ok {
			for i, d := range dims {
				if d < 0 && i > 0 {
					v.Type.Shape.Dims[i] = graph.Fixed(size)
				}
			}
		}
	}
}
