package passes

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"nuwa/internal/fault"
)

// Manager runs passes and checks each.
type Manager struct {
	SkipProof bool // do not run models before and after a pass: ONNX Runtime only loads them
}

// Report is what one pass did.
type Report struct {
	Pass    string        `json:"pass"`
	Exact   bool          `json:"exact"`
	Changes string        `json:"changes,omitempty"`
	Drift   float64       `json:"drift"` // largest difference of outputs before and after, relative to the largest output
	Time    time.Duration `json:"time_ns"`
}

// Run runs list over s, on which other lists may have run before, checking
// after each pass that
//
//   - the graph is sound, and one that the pass reports no change of is the same;
//   - inputs and outputs have their names and types, unless the pass may change
//     the types of outputs;
//   - ONNX Runtime runs it at two batch sizes;
//   - outputs are equal to those before an exact pass; for an approximate one
//     the difference is recorded.
//
// A dispensable pass of which that does not hold is undone. The types that the file
// declares for inner values are put right at the end.
//
// On an error the state is as it was before the pass that failed, but for what
// had been found in the graph, which is forgotten.
func (mgr *Manager) Run(ctx context.Context, s *State, list []Pass) (reports []Report, err error) {
	if err := Validate(list, s.ran...); err != nil {
		return nil, err
	}
	if s.Log == nil {
		s.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if s.Progress == nil {
		s.Progress = func(string, int, int) {}
	}
	if err := s.Model.Graph.Sort(); err != nil {
		return nil, &fault.Error{Kind: fault.Model, Err: err, Remedy: "export the model again"}
	}
	c := checker{state: s, skipProof: mgr.SkipProof}
	defer func() {
		if s.declared != nil {
			if e := s.redeclare(ctx); err == nil {
				err = e
			}
		}
	}()
	for i, p := range list {
		if err := ctx.Err(); err != nil {
			return reports, err
		}
		s.Progress(p.Name, i, len(list))
		begin := time.Now()
		saved, backup := *s, s.Model.Clone()
		changes, err := p.Run(ctx, s)
		r := Report{Pass: p.Name, Exact: p.Effect == Exact, Changes: changes}
		switch {
		case err != nil:
		case changes == "" || p.Effect == Reads:
			err = unchanged(backup, s.Model)
		default:
			r.Drift, err = c.check(ctx, p, backup)
			if err != nil && p.Dispensable && ctx.Err() == nil {
				*s = saved
				s.Model = backup
				s.note("pass %s is left out, as ONNX Runtime does not bear it out: %v", p.Name, err)
				r.Changes, r.Drift, err = "", 0, nil
			}
		}
		if err != nil {
			*s = saved
			s.Model, s.ViT, s.Spectra, s.Evidence, s.known = backup, nil, nil, nil, nil
			return reports, inPass(p, err)
		}
		r.Time = time.Since(begin)
		s.Log.Debug("pass", "name", p.Name, "changes", changes, "drift", r.Drift, "time", r.Time)
		reports, s.ran = append(reports, r), append(s.ran, p.Name)
	}
	s.Progress("", len(list), len(list))
	return reports, nil
}

// inPass says in which pass an error happened, unless it names a file.
func inPass(p Pass, err error) error {
	if e, ok := err.(*fault.Error); ok {
		if e.File != "" {
			return e
		}
		c := *e
		c.Where = "pass " + p.Name
		if e.Where != "" {
			c.Where += ": " + e.Where
		}
		return &c
	}
	return fmt.Errorf("pass %s: %w", p.Name, err)
}
