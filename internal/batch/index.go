package batch

import (
	"encoding/json"
	"io"
	"path/filepath"
	"strings"

	"nuwa/internal/report"
)

func (b *batch) result() *Result {
	r := &Result{Base: b.c.Base}
	for _, m := range b.models {
		r.Models = append(r.Models, m.Model)
	}
	return r
}

// reports are the files that tell about a model: its result as JSON, and a page.
func (m *Model) reports() (doc, page string) {
	stem := strings.TrimSuffix(m.Output, filepath.Ext(m.Output))
	return stem + ".json", stem + ".html"
}

// index lists all models, those that are not made yet too, in their order.
func (b *batch) index() *report.Batch {
	index := &report.Batch{Schema: report.Schema, Title: "Models of " + filepath.Base(b.c.Base)}
	for _, m := range b.models {
		e := report.Entry{Task: m.Task, Size: m.Size, Target: m.Target, Status: m.Status, Error: m.Error, Result: m.Result}
		if m.Result != nil {
			doc, page := m.reports()
			e.Status, e.Report, e.Page = report.Done, filepath.Base(doc), filepath.Base(page)
		}
		index.Models = append(index.Models, e)
	}
	return index
}

// finish takes note of the result of a model, and writes what tells about it and
// the index anew: a run that ends early leaves reports of all that is finished.
func (b *batch) finish(m *batchModel, r *report.Result) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	m.Result = r
	index := b.index()
	for i := range b.models {
		if b.models[i] == m {
			if err := b.writeReports(index, i); err != nil {
				m.Result = nil
				return err
			}
		}
	}
	return b.writeIndex(index)
}

// writeReports writes the result of a model and its page, with curves over the
// sizes of its task that are there.
func (b *batch) writeReports(index *report.Batch, i int) error {
	e := &index.Models[i]
	doc, page := b.models[i].reports()
	if err := b.outputs.write(doc, document(e.Result)); err != nil {
		return err
	}
	return b.outputs.write(page, func(w io.Writer) error { return e.Result.WriteHTML(w, index.Sizes(e)...) })
}

// writeAll writes everything that tells about models, now that all sizes are
// there, and returns where the index is.
func (b *batch) writeAll() (string, error) {
	index := b.index()
	for i := range index.Models {
		if index.Models[i].Result == nil {
			continue
		}
		if err := b.writeReports(index, i); err != nil {
			return "", err
		}
	}
	_, page := b.indexFiles()
	return page, b.writeIndex(index)
}

func (b *batch) indexFiles() (doc, page string) {
	return filepath.Join(b.c.Output.Dir, "index.json"), filepath.Join(b.c.Output.Dir, "index.html")
}

func (b *batch) writeIndex(index *report.Batch) error {
	doc, page := b.indexFiles()
	if err := b.outputs.write(doc, document(index)); err != nil {
		return err
	}
	return b.outputs.write(page, index.WriteHTML)
}

// document writes v as JSON.
func document(v any) func(io.Writer) error {
	return func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
}
