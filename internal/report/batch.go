package report

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"nuwa/internal/figures"
)

// Batch lists models that were derived in one run, or that are looked at
// together.
type Batch struct {
	Schema int     `json:"schema"`
	Title  string  `json:"title"`
	Models []Entry `json:"models"`
}

// Entry is one model of a batch.
type Entry struct {
	Task   string `json:"task"`             // models of equal tasks share a curve
	Size   string `json:"size"`             // what was asked for
	Target string `json:"target,omitempty"` // the device
	Status string `json:"status"`           // "done", or what happened instead
	Error  string `json:"error,omitempty"`  // why it is not done
	Report string `json:"report,omitempty"` // file with the result, relative to that of the batch
	Page   string `json:"page,omitempty"`   // file with its page, relative to that of the batch

	Result *Result `json:"-"` // nil for a model that is not done
}

// Done is the status of a model that is there.
const Done = "done"

// Together makes a batch of results, those of equal bases and classes in one
// task.
func Together(results []*Result) *Batch {
	b := &Batch{Schema: Schema, Title: "Slim models"}
	differ := func(of func(*Result) string) bool {
		return slices.ContainsFunc(results, func(r *Result) bool { return of(r) != of(results[0]) })
	}
	bases := differ(func(r *Result) string { return r.Model })
	recipes := differ(func(r *Result) string { return r.Recipe })
	if len(results) > 0 && !bases {
		b.Title += " of " + path.Base(results[0].Model)
	}
	for _, r := range results {
		e := Entry{Task: strings.Join(r.Classes, ", "), Size: "rate " + figures.Digits(cmp.Or(r.RateAsked, r.Rate)), Status: Done, Result: r}
		if n := len(r.Classes); n > 4 {
			e.Task = fmt.Sprintf("%d classes: %s, …", n, strings.Join(r.Classes[:3], ", "))
		}
		if r.Budget != nil {
			e.Size = r.Budget.asked()
		}
		if bases {
			e.Task = r.Model + ": " + e.Task
		}
		if recipes {
			e.Size += ", " + r.Recipe
		}
		b.Models = append(b.Models, e)
	}
	return b
}

// Sizes returns the results of the models of e's task.
func (b *Batch) Sizes(e *Entry) (out []*Result) {
	for _, o := range b.Models {
		if o.Task == e.Task && o.Result != nil {
			out = append(out, o.Result)
		}
	}
	return out
}

// WriteHTML writes the index: a table over all models, and curves of each task.
// Models without a Page of their own follow in full.
func (b *Batch) WriteHTML(w io.Writer) error {
	p := &page{Title: b.Title, Index: b.index()}
	for i, e := range b.Models {
		if e.Result == nil || e.Page != "" {
			continue
		}
		m := newModel(e.Result)
		m.Anchor = fmt.Sprintf("model-%d", i+1)
		m.Head = strings.Join(slices.DeleteFunc([]string{e.Task, e.Size, e.Target}, func(s string) bool { return s == "" }), " · ")
		p.Models = append(p.Models, m)
	}
	return p.write(w)
}
