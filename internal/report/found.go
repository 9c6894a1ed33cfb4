package report

import (
	"fmt"
	"time"

	"nuwa/internal/figures"
	"nuwa/passes"
)

// Found is how a rate was found for limits, or for an accuracy.
type Found struct {
	Limits []Limit `json:"limits"`
	Trials []Trial `json:"trials"` // in the order they were made
}

// Limit is what a model had to meet.
type Limit struct {
	What  string  `json:"what"` // macs, params, bytes, memory, latency or accuracy
	Bound float64 `json:"bound"`
	Met   float64 `json:"met"` // by the model that was chosen
}

// Trial is a model that was tried.
type Trial struct {
	Rate   float64   `json:"rate"`
	Cost   string    `json:"cost,omitempty"`  // what the rate is a share of, and parts compete for
	Split  float64   `json:"split,omitempty"` // factor on what the recipe\'s ρ rule has attention lose; 0 means 1
	Merge  int       `json:"merge,omitempty"` // tokens that were merged behind each attention
	Values []float64 `json:"values"`          // one per limit; none where the rate cannot be reached
}

// Amount prints a value of what is limited.
func (l Limit) Amount(x float64) string {
	switch l.What {
	case "bytes", "memory":
		return figures.Bytes(int64(x))
	case "latency":
		return figures.Duration(time.Duration(x * 1e9))
	case "accuracy":
		return fmt.Sprintf("%.2f %%", 100*x)
	}
	return figures.Count(int64(x))
}

// Asked says what the limit is, as in "latency at most 5.00 ms".
func (l Limit) Asked() string {
	if l.What == "accuracy" {
		return l.What + " at least " + l.Amount(l.Bound)
	}
	return l.What + " at most " + l.Amount(l.Bound)
}

// asked says what all limits are.
func (f *Found) asked() string {
	var words []string
	for _, l := range f.Limits {
		words = append(words, l.Asked())
	}
	return list(words, len(words))
}

// trials is the table of the models that were tried.
type trials struct {
	Asked string
	Names []string
	Rows  []trialRow
}

type trialRow struct {
	Rate   string
	Values []string
	Chosen bool
}

func newTrials(r *Result) *trials {
	f := r.Budget
	if f == nil {
		return nil
	}
	t := &trials{Asked: f.asked()}
	for _, l := range f.Limits {
		t.Names = append(t.Names, l.What)
	}
	for _, x := range f.Trials {
		row := trialRow{Rate: fmt.Sprintf("%.4f", x.Rate), Chosen: len(x.Values) > 0}
		if x.Cost != "" && x.Cost != passes.CostMACs {
			row.Rate += " of the " + x.Cost
		}
		for i, l := range f.Limits {
			if i >= len(x.Values) {
				row.Values = append(row.Values, "not reached")
				continue
			}
			row.Values = append(row.Values, l.Amount(x.Values[i]))
			row.Chosen = row.Chosen && x.Values[i] == l.Met
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}
