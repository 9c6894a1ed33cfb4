package batch

import (
	"log/slog"
	"time"

	"nuwa/configs"
	"nuwa/internal/modelfile"
	"nuwa/internal/report"
)

// Options say what Batch shall make and with what. Config is needed.
type Options struct {
	Config  *configs.Config
	Runtime modelfile.Runtime // Threads are those of one model; 0 means 1
	Cores   int               // how many are kept busy; 0 means all
	Memory  int64             // bytes that steps may take together, as estimated; 0 means no limit
	Cache   string            // folder of results that runs share; without one, a run that is killed begins anew
	Force   bool              // replace files that are there and that no run with this cache made as they are
	DryRun  bool              // plan only: nothing is made
	Bench   bool              // measure latency, of one model at a time

	Log      *slog.Logger   // nil discards
	Progress func(Progress) // called one at a time; nil for none
}

// Progress tells that a step began, went on or ended.
type Progress struct {
	Step  string // base, a task, a size of it, or the file of a model
	State string // "running", "done", "failed" or "passed over"
	Stage string // what is being done, while running
	Done  int    // of Total, in that stage
	Total int
	Err   error
	Took  time.Duration

	Finished, Models int // models that are done, of all
}

// Result is what Batch made.
type Result struct {
	Base    string  `json:"base"`
	Models  []Model `json:"models"` // in the order of tasks, sizes and targets
	Index   string  `json:"index,omitempty"`
	Steps   []Step  `json:"steps,omitempty"` // still to be done; of a dry run
	Seconds float64 `json:"seconds"`         // taken, or, of a dry run, estimated
	Memory  int64   `json:"memory"`          // estimated, of the steps that take most at a time
}

// Step is a step of a plan.
type Step struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"` // estimated
	Memory  int64   `json:"memory"`  // estimated, in bytes
}

// Model is one model of a batch.
type Model struct {
	Task    string         `json:"task"`
	Size    string         `json:"size"`
	Target  string         `json:"target"`
	Output  string         `json:"output"`
	Status  string         `json:"status"` // one of the statuses below
	Error   string         `json:"error,omitempty"`
	Result  *report.Result `json:"result,omitempty"` // nil unless made or kept
	Err     error          `json:"-"`                // why it failed
	Seconds float64        `json:"seconds,omitempty"`
}

// Statuses of a model.
const (
	Made    = "made"
	Kept    = "kept" // an earlier run made it
	Planned = "planned"
	Broken  = "failed"
)

// Failed returns the models that were not made.
func (r *Result) Failed() (out []Model) {
	for _, m := range r.Models {
		if m.Status == Broken {
			out = append(out, m)
		}
	}
	return out
}
