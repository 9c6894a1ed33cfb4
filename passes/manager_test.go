package passes_test

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"nuwa/graph"
	"nuwa/importer"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/passes"
)

// affine is y = relu(x·w) + b over x[batch,4], with a declared type for x·w.
func affine() *graph.Model {
	m := graph.NewModel(graph.Opset{Version: 17})
	g := m.Graph
	x := g.AddInput("x", graph.TensorType(graph.Float32, graph.Sym("n"), graph.Fixed(4)))
	w := g.AddConst("w", graph.NewTensor([]int64{4, 2}, []float32{1, 2, 3, 4, 5, 6, 7, 8}))
	h := g.Add("MatMul", "h", []*graph.Value{x, w}).Output(0)
	g.AddInfo("h", graph.TensorType(graph.Float32, graph.Sym("n"), graph.Fixed(2)))
	r := g.Add("Relu", "r", []*graph.Value{h}).Output(0)
	b := g.AddConst("b", graph.NewTensor([]int64{2}, []float32{0, 100}))
	y := g.Add("Add", "y", []*graph.Value{r, b}).Output(0)
	y.Type = graph.TensorType(graph.Float32, graph.Sym("n"), graph.Fixed(2))
	g.AddOutput(y)
	return m
}

func state(m *graph.Model) *passes.State {
	return &passes.State{Model: m, Engine: &engine.Engine{Threads: 1}}
}

func set(name string, xs ...float32) func(*passes.State) (string, error) {
	return func(s *passes.State) (string, error) {
		v := s.Model.Graph.Value(name)
		v.SetConst(graph.NewTensor(v.Const().Dims, xs))
		return "a constant", nil
	}
}

func TestManagerHoldsPassesToTheirWord(t *testing.T) {
	for _, c := range []struct {
		name   string
		effect passes.Effect
		types  bool // the pass may change the types of outputs
		run    func(*passes.State) (string, error)
		want   string // of the error; "" for none
		drift  float64
	}{
		{"nothing", passes.Exact, false, func(*passes.State) (string, error) { return "", nil }, "", 0},
		{"equal", passes.Exact, false, func(s *passes.State) (string, error) {
			g := s.Model.Graph
			x := g.Value("x")
			g.Value("h").Producer().SetInput(0, g.Add("Identity", "same", []*graph.Value{x}).Output(0))
			return "one node", nil
		}, "", 0},
		{"rounding", passes.Exact, false, set("b", 0, 100.0001), "", 0.0001 / 100},
		{"not exact", passes.Exact, false, set("b", 0, 101), `pass try: output "y" at batch 1: got element 1 is`, 0},
		{"not a number", passes.Exact, false, set("b", 0, float32(math.NaN())), "is NaN", 0},
		{"approximate", passes.Approximate, false, set("b", 0, 101), "", 1.0 / 100},
		{"not reported", passes.Exact, false, func(s *passes.State) (string, error) {
			_, err := set("b", 0, 100)(s)
			return "", err
		}, `a change of "b" that is not reported`, 0},
		{"reads, but writes", passes.Reads, false, func(s *passes.State) (string, error) {
			s.Model.Graph.Value("h").Producer().Name = "other"
			return "found", nil
		}, "a change that is not reported, near %h", 0},
		{"other type", passes.Approximate, false, narrow, "want y:f32[n,2]", 0},
		{"other type, as announced", passes.Approximate, true, narrow, "", 0},
		{"other output", passes.Approximate, true, func(s *passes.State) (string, error) {
			s.Model.Graph.SetOutput(0, s.Model.Graph.Value("r"))
			return "outputs", nil
		}, "got outputs r, want y", 0},
		{"unsound", passes.Exact, false, func(s *passes.State) (string, error) {
			s.Model.Graph.Value("r").Producer().SetInput(0, affine().Graph.Value("h"))
			return "an operand", nil
		}, "an unsound graph", 0},
		{"does not run", passes.Exact, false, func(s *passes.State) (string, error) {
			s.Model.Graph.Value("r").Producer().Op = "Rely"
			return "an operator", nil
		}, "Rely", 0},
		{"fails", passes.Exact, false, func(s *passes.State) (string, error) {
			s.Model.Graph.Value("r").Producer().Op = "Rely"
			s.Notes = append(s.Notes, "halfway")
			return "", errors.New("no luck")
		}, "pass try: no luck", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := state(affine())
			before := s.Model.String()
			pass := passes.Pass{Name: "try", Doc: "a test", Effect: c.effect, Signature: c.types,
				Run: func(_ context.Context, s *passes.State) (string, error) { return c.run(s) }}
			reports, err := (&passes.Manager{}).Run(t.Context(), s, []passes.Pass{pass})
			if c.want == "" {
				if err != nil || len(reports) != 1 {
					t.Fatalf("got %v, %d reports", err, len(reports))
				}
				if r := reports[0]; math.Abs(r.Drift-c.drift) > 0.1*c.drift {
					t.Errorf("the drift is %g, want about %g", r.Drift, c.drift)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if s.Model.String() != before || len(s.Notes) > 0 {
				t.Errorf("the pass left behind\n%s %v", s.Model, s.Notes)
			}
			if b, _ := s.Model.Graph.Value("b").Const().Floats(); b[1] != 100 {
				t.Errorf("the pass left behind %v", b)
			}
		})
	}
}

// What a model makes of the rounding of its inputs, an exact pass may move its
// outputs by, and no more than that.
func TestManagerMeasuresRounding(t *testing.T) {
	for _, c := range []struct {
		near, factor float32 // x − near·x becomes factor·x
		want         string
	}{{0.999, 1e-3, ""}, {0.999, 1.02e-3, `pass try: output "y" at batch 1`}, {0.5, 0.5 + 6.5e-6, `pass try: output "y" at batch 1`}} {
		m := graph.NewModel(graph.Opset{Version: 17})
		g := m.Graph
		x := g.AddInput("x", graph.TensorType(graph.Float32, graph.Sym("n"), graph.Fixed(50)))
		near := g.Add("Mul", "near", []*graph.Value{x, g.AddConst("c", graph.Scalar(c.near))}).Output(0)
		y := g.Add("Sub", "y", []*graph.Value{x, near}).Output(0)
		y.Type = graph.TensorType(graph.Float32, graph.Sym("n"), graph.Fixed(50))
		g.AddOutput(y)
		pass := passes.Pass{Name: "try", Doc: "a test", Effect: passes.Exact, Run: func(_ context.Context, s *passes.State) (string, error) {
			n := s.Model.Graph.Value("y").Producer()
			n.Op = "Mul"
			n.SetInput(1, s.Model.Graph.AddConst("factor", graph.Scalar(c.factor)))
			return "a cancellation", nil
		}}
		reports, err := (&passes.Manager{}).Run(t.Context(), state(m), []passes.Pass{pass})
		switch {
		case c.want != "":
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%g: got %v, want %q", c.factor, err, c.want)
			}
		case err != nil:
			t.Errorf("%g: %v", c.factor, err)
		case reports[0].Drift <= passes.Tolerance:
			t.Errorf("the drift is %g: too little to be measured here", reports[0].Drift)
		}
	}
}

// An output in 32 bits that came of values in 16 is held to the rounding of those;
// a pass that makes it come of them is not.
func TestManagerKnowsHalves(t *testing.T) {
	through := func(g *graph.Graph, x *graph.Value) *graph.Value {
		x = g.Add("Cast", "small", []*graph.Value{x}, graph.Int("to", int64(graph.Float16))).Output(0)
		return g.Add("Cast", "wide", []*graph.Value{x}, graph.Int("to", int64(graph.Float32))).Output(0)
	}
	for _, c := range []struct{ before, after, fine bool }{{true, true, true}, {false, false, false}, {false, true, false}} {
		m := graph.NewModel(graph.Opset{Version: 17})
		g := m.Graph
		x := g.AddInput("x", graph.TensorType(graph.Float32, graph.Sym("n"), graph.Fixed(4)))
		if c.before {
			x = through(g, x)
		}
		y := g.Add("Mul", "y", []*graph.Value{x, g.AddConst("c", graph.Scalar(float32(1)))}).Output(0)
		y.Type = graph.TensorType(graph.Float32, graph.Sym("n"), graph.Fixed(4))
		g.AddOutput(y)
		pass := passes.Pass{Name: "try", Doc: "a test", Effect: passes.Exact, Run: func(_ context.Context, s *passes.State) (string, error) {
			if c.before == c.after {
				return set("c", 1.0005)(s)
			}
			n := s.Model.Graph.Value("y").Producer()
			n.SetInput(0, through(s.Model.Graph, n.Input(0)))
			return "half precision", nil
		}}
		if _, err := (&passes.Manager{}).Run(t.Context(), state(m), []passes.Pass{pass}); (err == nil) != c.fine {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// narrow drops an output column.
func narrow(s *passes.State) (string, error) {
	g := s.Model.Graph
	y := g.Value("y")
	k := g.AddConst("k", graph.NewTensor([]int64{1}, []int64{0}))
	z := g.Add("Gather", "z", []*graph.Value{y, k}, graph.Int("axis", 1)).Output(0)
	g.SetOutput(0, z)
	g.Rename(y, "wide")
	g.Rename(z, "y")
	z.Type = graph.TensorType(graph.Float32, graph.Sym("n"), graph.Fixed(1))
	return "a column", nil
}

// Declared types follow what the model computes; those of removed values go.
func TestManagerDeclaresTypes(t *testing.T) {
	m := affine()
	m.Graph.AddInfo("r", graph.TensorType(graph.Float32, graph.Sym("stale"), graph.Fixed(2)))
	s := state(m)
	pass := passes.Pass{Name: "shrink", Doc: "a test", Effect: passes.Approximate, Run: func(_ context.Context, s *passes.State) (string, error) {
		g := s.Model.Graph
		w := g.Value("w")
		w.SetConst(graph.NewTensor([]int64{4, 1}, []float32{1, 2, 3, 4}))
		r := g.Value("r")
		r.ReplaceUses(g.Value("h"))
		return "a column", r.Producer().Remove()
	}}
	if _, err := (&passes.Manager{}).Run(t.Context(), s, []passes.Pass{pass}); err != nil {
		t.Fatal(err)
	}
	infos := s.Model.Graph.Infos
	if len(infos) != 1 || infos[0].Name() != "h" || infos[0].Type.String() != "f32[n,1]" {
		t.Errorf("declared: %v", s.Model)
	}
}

func TestValidate(t *testing.T) {
	run := func(context.Context, *passes.State) (string, error) { return "", nil }
	a := passes.Pass{Name: "a", Doc: "a test", Run: run}
	for want, list := range map[string][]passes.Pass{
		"without name, doc or run": {{Name: "a", Run: run}},
		"two passes":               {a, a},
		"no reason":                {a, {Name: "b", Doc: "a test", Run: run, After: []passes.Order{{Pass: "a"}}}},
		"it runs before a, but it": {{Name: "b", Doc: "a test", Run: run, After: []passes.Order{{Pass: "a", Reason: "it reads it"}}}, a},
	} {
		if err := passes.Validate(list); fault.KindOf(err) != fault.Internal || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if err := passes.Validate(passes.Pipeline); err != nil {
		t.Error(err)
	}
}

func TestManagerInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&passes.Manager{}).Run(ctx, state(affine()), passes.Cleaning); fault.KindOf(err) != fault.Interrupted {
		t.Errorf("got %v, want an interruption", err)
	}
}

// Cleaning is proven exact on one model of every spelling and opset.
func TestCleaningIsExact(t *testing.T) {
	paths, err := filepath.Glob("../testmodels/tiny/*_*_dynamic.onnx")
	if err != nil || len(paths) < 15 {
		t.Fatalf("found %d models, %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			m, err := importer.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			reports, err := (&passes.Manager{}).Run(t.Context(), state(m), passes.Cleaning)
			if err != nil {
				t.Fatal(err)
			}
			frozen := false
			for _, r := range reports {
				frozen = frozen || r.Pass == "freeze" && r.Changes != ""
				if r.Drift > passes.Tolerance {
					t.Errorf("%s moved the outputs by %g", r.Pass, r.Drift)
				}
			}
			if !frozen {
				t.Errorf("nothing was frozen: %+v", reports)
			}
		})
	}
}
