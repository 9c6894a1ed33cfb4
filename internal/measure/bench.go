package measure

import (
	"context"
	"fmt"
	"slices"
	"time"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/ort"
)

// Benchmark says how fast models are beside one another.
type Benchmark struct {
	Batch    int       `json:"batch"`  // images per run
	Rounds   int       `json:"rounds"` // measured runs of each model
	Models   []Timing  `json:"models"`
	Speedups []Speedup `json:"speedups,omitempty"` // of each later model over the first
}

// Timing is the latency of one model. Times are those of one run.
type Timing struct {
	Model      string         `json:"model"`
	Threads    int            `json:"threads"`
	Providers  []ort.Provider `json:"providers,omitempty"` // empty for the CPU alone
	Min        time.Duration  `json:"min_ns"`
	Median     time.Duration  `json:"median_ns"`
	P90        time.Duration  `json:"p90_ns"`
	Spread     float64        `json:"spread"`     // distance of the quartiles over the median
	Throughput float64        `json:"throughput"` // images per second at the median
}

// Speedup is how many times faster a model is than another. The ratio is taken
// within each round, in which both ran right after one another, so that a load
// on the machine weighs on both.
type Speedup struct {
	Model    string   `json:"model"`
	Over     string   `json:"over"`
	Median   float64  `json:"median"`
	Interval Interval `json:"interval"` // of Median
	Spread   float64  `json:"spread"`   // distance of the quartiles over the median
	Ratios   int      `json:"ratios"`   // number of rounds behind it
}

// BenchOptions says how to measure. The zero value times the models at the
// batch that they are fixed to, or else at 1.
type BenchOptions struct {
	Batch    int                   // images per run; 0 for the fixed batch of the models, or 1
	Image    []int64               // dims of one image, for inputs that leave them open; may be nil
	Warmup   int                   // rounds that are not measured; 0 means 3, −1 none
	Runs     int                   // rounds at least; 0 means 30
	MinTime  time.Duration         // and go on until the measured rounds took so long
	Seed     uint64                // of the inputs, which are standard normal numbers
	Progress func(done, total int) // called after each round; may be nil. total grows when MinTime asks for more
}

// Bench times the models in rounds: in each, every model runs once, in the
// order given. Inputs and outputs stay in place; only the run itself is timed.
func Bench(ctx context.Context, models []*Model, opt BenchOptions) (*Benchmark, error) {
	if len(models) == 0 {
		return nil, &fault.Error{Kind: fault.Usage, Where: "bench", Got: "no model", Want: "at least one"}
	}
	if opt.Batch < 0 || opt.Runs < 0 || opt.Warmup < -1 || opt.MinTime < 0 {
		return nil, &fault.Error{Kind: fault.Usage, Where: "bench", Got: fmt.Sprintf("batch %d, %d runs, %d for warm-up, %v at least", opt.Batch, opt.Runs, opt.Warmup, opt.MinTime),
			Want: "numbers that are not negative"}
	}
	if opt.Warmup == 0 {
		opt.Warmup = 3
	}
	if opt.Runs == 0 {
		opt.Runs = 30
	}
	batch, err := commonBatch(models, opt.Batch)
	if err != nil {
		return nil, err
	}
	calls := make([]*ort.Call, len(models))
	for i, m := range models {
		in, err := m.feeds(batch, opt)
		if err != nil {
			return nil, err
		}
		if calls[i], err = m.session.Bind(ctx, in); err != nil {
			return nil, err
		}
		defer func() { _ = calls[i].Close() }() // cannot fail
	}
	times, err := rounds(ctx, calls, opt)
	if err != nil {
		return nil, err
	}
	return newBenchmark(models, times, batch), nil
}

// commonBatch returns the batch at which all models can be timed.
func commonBatch(models []*Model, wanted int) (int, error) {
	var fixedBy *Model
	for _, m := range models {
		fixed := m.Batch()
		if fixed == 0 {
			continue
		}
		if wanted == 0 {
			wanted, fixedBy = fixed, m
		}
		if wanted == fixed {
			continue
		}
		e := &fault.Error{Kind: fault.Usage, File: m.Name, Got: fmt.Sprintf("a model of fixed batch %d", fixed), Want: fmt.Sprintf("batch %d", wanted),
			Remedy: fmt.Sprintf("measure at batch %d, or export the model with a dynamic batch", fixed)}
		if fixedBy != nil {
			e.Want += ", to which " + fixedBy.Name + " is fixed"
			e.Remedy = "measure the models one by one, or export them with a dynamic batch"
		}
		return 0, e
	}
	return max(wanted, 1), nil
}

// feeds makes up inputs for a run.
func (m *Model) feeds(batch int, opt BenchOptions) (map[string]*graph.Tensor, error) {
	decl := graph.NewModel()
	for _, in := range m.session.Inputs() {
		t := &graph.Type{Elem: in.Type}
		if in.Dims != nil {
			t.Shape = &graph.Shape{Dims: make([]graph.Dim, len(in.Dims))}
			for k, d := range in.Dims {
				if d < 0 && k > 0 && len(in.Dims) == len(opt.Image)+1 {
					d = opt.Image[k-1]
				}
				if d >= 0 {
					t.Shape.Dims[k] = graph.Fixed(d)
				}
			}
		}
		decl.Graph.AddInput(in.Name, t)
	}
	in, err := engine.Inputs(decl, batch, opt.Seed)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Name, err)
	}
	return in, nil
}

// rounds returns the times of each call in nanoseconds, those of one round at
// the same place.
func rounds(ctx context.Context, calls []*ort.Call, opt BenchOptions) ([][]float64, error) {
	times := make([][]float64, len(calls))
	var spent time.Duration
	for r := -max(opt.Warmup, 0); r < opt.Runs || spent < opt.MinTime; r++ {
		for i, c := range calls {
			if ctx.Err() != nil {
				return nil, &fault.Error{Kind: fault.Interrupted, Where: "bench", Err: context.Cause(ctx)}
			}
			start := time.Now()
			err := c.Run()
			took := time.Since(start)
			if err != nil {
				return nil, err
			}
			if r >= 0 {
				times[i] = append(times[i], max(float64(took), 1))
				spent += took
			}
		}
		if opt.Progress != nil && r >= 0 {
			total := opt.Runs
			if spent < opt.MinTime {
				total = max(total, int(float64(r+1)*float64(opt.MinTime)/float64(spent)))
			}
			opt.Progress(r+1, max(total, r+1))
		}
	}
	return times, nil
}

func newBenchmark(models []*Model, times [][]float64, batch int) *Benchmark {
	b := &Benchmark{Batch: batch, Rounds: len(times[0])}
	for i, m := range models {
		s := sorted(times[i])
		median := quantile(s, 0.5)
		b.Models = append(b.Models, Timing{
			Model: m.Name, Threads: m.Threads, Providers: slices.Clone(m.Providers),
			Min: time.Duration(s[0]), Median: time.Duration(median), P90: time.Duration(quantile(s, 0.9)),
			Spread: relativeSpread(s), Throughput: float64(batch) * 1e9 / median,
		})
		if i > 0 {
			ratios := make([]float64, len(times[0]))
			for r := range ratios {
				ratios[r] = times[0][r] / times[i][r]
			}
			s := sorted(ratios)
			b.Speedups = append(b.Speedups, Speedup{
				Model: m.Name, Over: models[0].Name, Median: quantile(s, 0.5), Interval: medianInterval(s), Spread: relativeSpread(s), Ratios: len(s),
			})
		}
	}
	return b
}
