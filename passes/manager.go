package passes

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"time"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
)

// Tolerance is how far, relative to the largest output, an exact pass may
// move the outputs: rounding of float32 when sums are taken in another order.
// Half-precision models get HalfTolerance.
const (
	Tolerance     = 1e-5
	HalfTolerance = 5e-3
)

// Manager runs passes and checks each.
type Manager struct {
	SkipProof bool // do not run exact passes before and after
}

// Report is what one pass did.
type Report struct {
	Pass    string        `json:"pass"`
	Exact   bool          `json:"exact"`
	Changes string        `json:"changes,omitempty"`
	Drift   float64       `json:"drift"` // largest difference of outputs before and after, relative to the largest output
	Time    time.Duration `json:"time_ns"`
}

// Run runs list over s. On an error the model is as it was before the pass
// that failed.
func (mgr *Manager) Run(ctx context.Context, s *State, list []Pass) ([]Report, error) {
	if err := Validate(list); err != nil {
		return nil, err
	}
	if s.Log == nil {
		s.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if s.Progress == nil {
		s.Progress = func(string, int, int) {}
	}
	var reports []Report
	var outputs *outputs
	for i, p := range list {
		if err := ctx.Err(); err != nil {
			return reports, err
		}
		s.Progress(p.Name, i, len(list))
		begin := time.Now()
		backup := s.Model
		if p.Effect != Reads {
			backup = s.Model.Clone()
		}
		changes, err := p.Run(ctx, s)
		r := Report{Pass: p.Name, Exact: p.Effect == Exact, Changes: changes}
		if err == nil && changes != "" && p.Effect != Reads {
			err = mgr.check(ctx, s, p, backup, &outputs, &r)
		}
		if err != nil {
			s.Model = backup
			return reports, inPass(p, err)
		}
		r.Time = time.Since(begin)
		s.Log.Debug("pass", "name", p.Name, "changes", changes, "drift", r.Drift, "time", r.Time)
		reports = append(reports, r)
	}
	s.Progress("", len(list), len(list))
	return reports, nil
}

// inPass says in which pass an error happened.
func inPass(p Pass, err error) error {
	if e, ok := err.(*fault.Error); ok {
		c := *e
		c.Where = "pass " + p.Name
		if e.Where != "" {
			c.Where += ": " + e.Where
		}
		return &c
	}
	return fmt.Errorf("pass %s: %w", p.Name, err)
}

// check holds the model to what must be true after p.
func (mgr *Manager) check(ctx context.Context, s *State, p Pass, before *graph.Model, known **outputs, r *Report) error {
	engine.Trim(s.Model.Graph)
	if err := s.Model.Graph.Sort(); err != nil {
		return err
	}
	if err := s.Model.Check(); err != nil {
		return &fault.Error{Kind: fault.Internal, Got: "an unsound graph", Err: err, Remedy: "please report this model"}
	}
	if err := sameSignature(before, s.Model, p.Signature); err != nil {
		return err
	}
	if err := refreshTypes(ctx, s.Engine, s.Model); err != nil {
		return err
	}
	if p.Signature || mgr.SkipProof {
		*known = nil
		return nil
	}
	if *known == nil {
		var err error
		if *known, err = sample(ctx, s.Engine, before); err != nil {
			return err
		}
	}
	now, err := sample(ctx, s.Engine, s.Model)
	if err != nil {
		return err
	}
	r.Drift = now.distance(*known)
	*known = now
	limit := Tolerance
	if now.half {
		limit = HalfTolerance
	}
	if p.Effect == Exact && !(r.Drift <= limit) {
		return &fault.Error{Kind: fault.Internal, Got: fmt.Sprintf("outputs that moved by %.2g of the largest", r.Drift),
			Want: fmt.Sprintf("at most %.0e from a pass that is exact", limit), Remedy: "please report this model"}
	}
	return nil
}

// sameSignature compares names of inputs and outputs, and types where the pass
// may not change them.
func sameSignature(before, after *graph.Model, types bool) error {
	for _, side := range []struct {
		what string
		a, b []*graph.Value
	}{{"inputs", engine.Feeds(before), engine.Feeds(after)}, {"outputs", before.Graph.Outputs(), after.Graph.Outputs()}} {
		same := len(side.a) == len(side.b)
		for i := 0; same && i < len(side.a); i++ {
			same = side.a[i].Name() == side.b[i].Name() && (types || side.a[i].Type.String() == side.b[i].Type.String())
		}
		if !same {
			return &fault.Error{Kind: fault.Internal, Got: fmt.Sprintf("%s %s", side.what, signature(side.b)), Want: signature(side.a), Remedy: "please report this model"}
		}
	}
	return nil
}

func signature(vs []*graph.Value) string {
	s := ""
	for _, v := range vs {
		s += fmt.Sprintf(" %s:%s", v.Name(), v.Type)
	}
	return s
}

// refreshTypes runs the model to learn every shape, and corrects the types
// that the file declares for inner values.
func refreshTypes(ctx context.Context, eng *engine.Engine, m *graph.Model) error {
	if len(m.Graph.Infos) == 0 {
		return nil
	}
	shapes, err := eng.Shapes(ctx, m)
	if err != nil {
		return err
	}
	for _, v := range m.Graph.Infos {
		sizes, ok := shapes.Of(v)
		if !ok || v.Producer() == nil || v.IsOutput() || v.Type == nil || v.Type.Kind != graph.TensorKind || v.Type.Shape == nil {
			continue
		}
		if len(v.Type.Shape.Dims) != len(sizes) {
			v.Type = graph.TensorType(shapes.Elem(v), make([]graph.Dim, len(sizes))...)
		}
		for i, d := range sizes {
			if !d.Dynamic() {
				v.Type.Shape.Dims[i] = graph.Fixed(d.Fixed)
			} else if v.Type.Shape.Dims[i].Kind == graph.FixedDim {
				v.Type.Shape.Dims[i] = graph.Dim{}
			}
		}
	}
	return nil
}

// outputs are what a model gives for made-up inputs at two batch sizes.
type outputs struct {
	values []float64
	half   bool
}

func sample(ctx context.Context, eng *engine.Engine, m *graph.Model) (*outputs, error) {
	plain := engine.Engine{Threads: eng.Threads, Providers: eng.Providers, Plain: true}
	s, err := plain.Open(m)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	sizes := []int{1, 4}
	if !engine.DynamicBatch(m) {
		sizes = sizes[:1]
	}
	o := &outputs{}
	for _, b := range sizes {
		feeds, err := engine.Inputs(m, b, 11)
		if err != nil {
			return nil, err
		}
		res, err := s.Run(ctx, feeds, nil)
		if err != nil {
			return nil, err
		}
		for _, v := range m.Graph.Outputs() {
			t := res[v.Name()]
			if t == nil || t.Type == graph.String {
				continue
			}
			xs, err := t.Floats()
			if err != nil {
				return nil, err
			}
			o.values = append(o.values, xs...)
			o.half = o.half || t.Type == graph.Float16 || t.Type == graph.BFloat16
		}
	}
	return o, nil
}

// distance is the largest difference over the largest value; infinite where
// the sizes differ or one is not finite where the other is.
func (o *outputs) distance(p *outputs) float64 {
	if len(o.values) != len(p.values) {
		return math.Inf(1)
	}
	top, diff := 0.0, 0.0
	for i, x := range o.values {
		y := p.values[i]
		if x == y || x != x && y != y {
			continue
		}
		d := math.Abs(x - y)
		if d != d {
			return math.Inf(1)
		}
		diff = math.Max(diff, d)
	}
	for _, x := range p.values {
		if x-x == 0 {
			top = math.Max(top, math.Abs(x))
		}
	}
	if diff == 0 {
		return 0
	}
	return diff / math.Max(top, 1e-30)
}
