package report

import (
	"fmt"
	"html/template"
	"slices"

	"nuwa/internal/figures"
)

// index is what the page says about a batch.
type index struct {
	Title   string
	Lede    string
	Targets bool // some models have one
	Rows    []indexRow
	Failed  []Entry
	Tasks   []taskCurves
}

type indexRow struct {
	Entry
	OK         bool
	Link, Name string

	// What is shown, and what it is sorted by; "" where it was not measured.
	Rate, Value, Drop, Way, Bytes, Latency, Speedup  string
	SRate, SValue, SDrop, SBytes, SLatency, SSpeedup string
}

type taskCurves struct {
	Name   string
	Curves []template.HTML
}

func (b *Batch) index() *index {
	x := &index{Title: b.Title}
	var names []string
	byTask := map[string][]*Entry{}
	done := 0
	for i := range b.Models {
		e := &b.Models[i]
		if byTask[e.Task] == nil {
			names = append(names, e.Task)
		}
		byTask[e.Task] = append(byTask[e.Task], e)
		x.Targets = x.Targets || e.Target != ""
		row := newIndexRow(e, i)
		if row.OK {
			done++
		}
		if e.Error != "" {
			x.Failed = append(x.Failed, *e)
		}
		x.Rows = append(x.Rows, row)
	}
	for _, n := range names {
		if c := curves(byTask[n]); c != nil {
			x.Tasks = append(x.Tasks, taskCurves{n, c})
		}
	}
	x.Lede = fmt.Sprintf("%s for %s", figures.Plural(len(b.Models), "model", "models"), figures.Plural(len(names), "task", "tasks"))
	if open := len(b.Models) - done; open > 0 {
		x.Lede += fmt.Sprintf(", %d done, %d not", done, open)
	}
	return x
}

func newIndexRow(e *Entry, i int) indexRow {
	row := indexRow{Entry: *e, OK: e.Status == Done, Link: e.Page, Name: e.Page}
	r := e.Result
	if r == nil {
		return row
	}
	base, slim := r.pair()
	row.Name = slim.Name
	if row.Link == "" {
		row.Link = fmt.Sprintf("#model-%d", i+1)
	}
	row.Rate, row.SRate = percent(r.Rate, 0), fmt.Sprint(r.Rate)
	if a := newAccuracies(r); a != nil {
		b, s := a.value(a.base.Restricted), a.value(a.slim.Restricted)
		row.Value, row.SValue = percent(s, a.Images), fmt.Sprint(s)
		row.Drop, row.SDrop, row.Way = gain(b, s, a.Images), fmt.Sprint(s-b), way(b, s, a.Images)
	}
	if base.Size != nil && slim.Size != nil && slim.Size.Bytes > 0 {
		row.Bytes, row.SBytes = figures.Bytes(slim.Size.Bytes), fmt.Sprint(slim.Size.Bytes)
	}
	if b := r.Summary.Bench; b != nil && len(b.Models) > 1 && len(b.Speedups) > 0 {
		row.Latency, row.SLatency = figures.Duration(b.Models[1].Median), fmt.Sprint(int64(b.Models[1].Median))
		row.Speedup, row.SSpeedup = fmt.Sprintf("%.2f×", b.Speedups[0].Median), fmt.Sprint(b.Speedups[0].Median)
	}
	return row
}

// Has reports whether any model has what a column shows.
func (x *index) Has(column string) bool {
	return slices.ContainsFunc(x.Rows, func(r indexRow) bool {
		return map[string]string{"accuracy": r.Value, "bytes": r.Bytes, "latency": r.Latency}[column] != ""
	})
}
