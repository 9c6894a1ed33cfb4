package importer_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"nuwa/exporter"
	"nuwa/graph"
	"nuwa/importer"
	"nuwa/internal/onnxpb"
	"nuwa/internal/ort"
)

var update = flag.Bool("update", false, "write the lists of cases that do not pass anew")

// conformanceCase is one model of a corpus, with its data where there is some.
type conformanceCase struct {
	name   string
	model  []byte
	dir    string                                               // of external data
	feed   func(*graph.Model) (map[string]*graph.Tensor, error) // nil: make inputs up
	expect func(*graph.Model) (map[string]*graph.Tensor, error) // nil: nothing to compare with
}

// conform runs the cases of a corpus, prints a summary, and compares those
// that do not pass with the list in testdata. The corpus must have exactly as
// many cases as said.
func conform(t *testing.T, corpus string, want int, cases []conformanceCase) {
	slices.SortFunc(cases, func(a, b conformanceCase) int { return strings.Compare(a.name, b.name) })
	if len(cases) != want {
		t.Errorf("the corpus has %d cases, want %d", len(cases), want)
	}
	_, noRuntime := ort.Load("")
	var list strings.Builder
	fmt.Fprintf(&list, "# Cases that do not pass, each with the reason. Of all but those not imported, the\n"+
		"# export is the same model as the file, and ONNX Runtime treats both alike.\n")
	counts := map[verdict]int{}
	identical := 0
	for _, c := range cases {
		if t.Context().Err() != nil {
			t.Fatal("the deadline came before the last case")
		}
		r := c.run(t, noRuntime == nil)
		counts[r.verdict]++
		if r.identical {
			identical++
		}
		if r.verdict != passed {
			fmt.Fprintf(&list, "%s: %s: %s\n", c.name, r.verdict, r.reason)
		}
	}
	var refused []string
	for _, v := range slices.Sorted(maps.Keys(counts)) {
		if v != passed {
			refused = append(refused, fmt.Sprintf("%s %d", v, counts[v]))
		}
	}
	t.Logf("run %d, passed %d, refused %d with reason (%s); %d exported byte for byte",
		len(cases), counts[passed], len(cases)-counts[passed], strings.Join(refused, ", "), identical)
	if noRuntime != nil {
		t.Skipf("imported and exported only: %v", noRuntime)
	}
	compareLists(t, "testdata/"+corpus+".txt", list.String())
}

func compareLists(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	was := strings.Split(string(data), "\n")
	is := strings.Split(got, "\n")
	for _, line := range is {
		if !slices.Contains(was, line) {
			t.Errorf("not in %s: %s", file, line)
		}
	}
	for _, line := range was {
		if !slices.Contains(is, line) {
			t.Errorf("no longer so, but in %s: %s", file, line)
		}
	}
}

// verdict says how far a case came.
type verdict string

const (
	passed     verdict = "passed"
	notSound   verdict = "not imported"                     // and ONNX Runtime refuses it too
	notLoaded  verdict = "not loaded by ONNX Runtime"       // the original
	notRun     verdict = "loaded, but not run"              // the original fails, too
	madeUp     verdict = "run on made-up inputs only"       // the corpus's do not fit the model
	otherwise  verdict = "run, but not to what is expected" // the original, too
	unexpected verdict = "failed"
)

type result struct {
	verdict   verdict
	reason    string
	identical bool // the export is the file, byte for byte
}

// run takes one case through import, export and ONNX Runtime. What may not
// happen at all fails the test at once.
func (c conformanceCase) run(t *testing.T, runtime bool) (r result) {
	fail := func(format string, args ...any) result {
		t.Errorf("%s: %s", c.name, fmt.Sprintf(format, args...))
		r.verdict, r.reason = unexpected, "see the test's output"
		return r
	}
	say := func(v verdict, err error) result {
		r.verdict, r.reason = v, strings.TrimPrefix(oneLine(err), c.name+": ")
		return r
	}
	m, err := importer.Decode(c.name, c.model, c.dir)
	if err != nil {
		if runtime {
			if s, loaded := c.load(c.model); loaded == nil {
				s.Close()
				return fail("ONNX Runtime loads what is refused: %v", err)
			}
		}
		return say(notSound, err)
	}
	out, diffs, err := again(c.model, m)
	if err != nil {
		return fail("%v", err)
	}
	if len(diffs) > 0 {
		return fail("comes out as another model:\n%s", strings.Join(diffs, "\n"))
	}
	r.identical = bytes.Equal(c.model, out)
	if !runtime {
		return result{passed, "", r.identical}
	}

	first, err := c.load(c.model)
	if err != nil {
		return say(notLoaded, err)
	}
	defer first.Close()
	second, err := c.load(out)
	if err != nil {
		return fail("ONNX Runtime loads the file, but not the export: %v", err)
	}
	defer second.Close()
	in, want, unfit := c.data(m)
	var a map[string]*graph.Tensor
	if in != nil && unfit == nil {
		a, unfit = first.Run(t.Context(), in, nil)
	}
	if in == nil || unfit != nil {
		if in, a, err = runInvented(t.Context(), c.name, first); err != nil {
			return say(notRun, errors.Join(unfit, err))
		}
	}
	b, err := second.Run(t.Context(), in, nil)
	if err != nil {
		return fail("the file runs, but not the export: %v", err)
	}
	if err := equal(a, b, 0, 0); err != nil {
		if a2, again := first.Run(t.Context(), in, nil); again != nil || equal(a, a2, 0, 0) == nil {
			return fail("file and export give different outputs: %v", err)
		} // the model draws random numbers
	}
	if unfit != nil {
		return say(madeUp, unfit)
	}
	if err := equal(want, b, 1e-3, 1e-6); err != nil {
		return say(otherwise, err)
	}
	return result{passed, "", r.identical}
}

func (c conformanceCase) load(model []byte) (*ort.Session, error) {
	return ort.NewSession(model, ort.Options{Name: c.name, Dir: c.dir, Threads: 1})
}

// data returns inputs and expected outputs; no inputs where the corpus has
// none.
func (c conformanceCase) data(m *graph.Model) (in, want map[string]*graph.Tensor, err error) {
	if c.feed == nil {
		return nil, nil, nil
	}
	if in, err = c.feed(m); err != nil {
		return nil, nil, err
	}
	want, err = c.expect(m)
	return in, want, err
}

// again exports m and lists what differs from the file that m came from.
func again(file []byte, m *graph.Model) (out []byte, diffs []string, err error) {
	if err := m.Check(); err != nil {
		return nil, nil, err
	}
	p, err := exporter.Proto(m)
	if err != nil {
		return nil, nil, err
	}
	pieces, _, err := onnxpb.Marshal(p)
	if err != nil {
		return nil, nil, err
	}
	out = bytes.Join(pieces, nil)
	diffs, err = exporter.Diff(file, out)
	return out, diffs, err
}

// runInvented runs a model on made-up inputs. Dimensions that are not fixed get
// the same small size and integers the same value; the first pair on which the
// model runs is taken.
func runInvented(ctx context.Context, seed string, s *ort.Session) (in, out map[string]*graph.Tensor, err error) {
	var first error
	for _, integer := range []byte{1, 0, 32} {
		for _, size := range []int64{2, 1, 4, 8, 16} {
			if in, err = invent(seed, s, size, integer); err != nil {
				return nil, nil, err
			}
			if out, err = s.Run(ctx, in, nil); err == nil {
				return in, out, nil
			}
			if first == nil {
				first = err
			}
		}
	}
	return nil, nil, first
}

func invent(seed string, s *ort.Session, size int64, integer byte) (map[string]*graph.Tensor, error) {
	in := map[string]*graph.Tensor{}
	h := fnv.New64()
	h.Write([]byte(seed))
	rng := rand.New(rand.NewPCG(h.Sum64(), 0))
	for _, i := range s.Inputs() {
		if i.Kind != ort.TensorKind || i.Type.Bits() == 0 {
			return nil, fmt.Errorf("input %q is %s", i.Name, i)
		}
		t := &graph.Tensor{Type: i.Type}
		for _, d := range i.Dims {
			if d < 0 {
				d = size
			}
			t.Dims = append(t.Dims, d)
		}
		if t.Len() > 1<<22 {
			return nil, fmt.Errorf("input %q has %d elements", i.Name, t.Len())
		}
		if i.Type.IsFloat() {
			xs := make([]float64, t.Len())
			for j := range xs {
				xs[j] = rng.Float64()
			}
			var err error
			if t, err = graph.FromFloats(i.Type, t.Dims, xs); err != nil {
				return nil, err
			}
		} else {
			t.Data = make([]byte, i.Type.ByteLen(t.Len()))
			for j := 0; j < len(t.Data); j += max(i.Type.Bits()/8, 1) {
				t.Data[j] = integer
			}
			if i.Type == graph.Bool {
				for j := range t.Data {
					t.Data[j] = 1
				}
			}
		}
		in[i.Name] = t
	}
	return in, nil
}

// equal compares tensors by name: elements x of want and y of got may differ by
// atol + rtol·|x|. Not-a-number equals itself.
func equal(want, got map[string]*graph.Tensor, rtol, atol float64) error {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		x, y := want[name], got[name]
		if y == nil {
			return fmt.Errorf("no output %q", name)
		}
		if x.Type != y.Type || !slices.Equal(x.Dims, y.Dims) {
			return fmt.Errorf("output %q is %s, want %s", name, y.Shape(), x.Shape())
		}
		if bytes.Equal(x.Data, y.Data) && slices.EqualFunc(x.Strings, y.Strings, bytes.Equal) {
			continue
		}
		xs, errX := x.Floats()
		ys, errY := y.Floats()
		if errX != nil || errY != nil {
			return fmt.Errorf("output %q has other elements", name)
		}
		for i := range xs {
			same := xs[i] == ys[i] || math.IsNaN(xs[i]) && math.IsNaN(ys[i])
			if !same && !(math.Abs(xs[i]-ys[i]) <= atol+rtol*math.Abs(xs[i])) {
				return fmt.Errorf("element %d of output %q is %.2g, want %.2g", i, name, ys[i], xs[i])
			}
		}
	}
	return nil
}

// oneLine gives an error's text for a list: in one line, of bounded length,
// without what changes from run to run.
func oneLine(err error) string {
	s := addresses.ReplaceAllString(strings.Join(strings.Fields(err.Error()), " "), "0x…")
	if r := []rune(s); len(r) > 240 {
		s = string(r[:240]) + "…"
	}
	return s
}

var addresses = regexp.MustCompile(`0x[0-9a-f]{6,}`)
