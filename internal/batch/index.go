package batch

import (
	"encoding/json"
	"io"
	"path/filepath"
	"strings"

	"nuwa/internal/files"
	"nuwa/internal/report"
)

func (b *batch) result() *Result {
	r := &Result{Base: b.c.Base}
	for _, m := range b.models {
		r.Models = append(r.Models, m.Model)
	}
	return r
}

// writeIndex writes a page and a document over all models, and those of each
// model beside it.
func (b *batch) writeIndex(r *Result) error {
	index := &report.Batch{Schema: report.Schema, Title: "Models of " + filepath.Base(b.c.Base)}
	for i, m := range r.Models {
		e := report.Entry{Task: m.Task, Size: m.Size, Target: m.Target, Status: m.Status, Error: m.Error, Result: m.Result}
		if m.Result != nil {
			stem := strings.TrimSuffix(filepath.Base(m.Output), filepath.Ext(m.Output))
			e.Status, e.Report, e.Page = report.Done, stem+".json", stem+".html"
			r.Models[i].Result = m.Result
		}
		index.Models = append(index.Models, e)
	}
	write := func(name string, content func(io.Writer) error) error {
		return files.Replace(filepath.Join(b.c.Output.Dir, name), content)
	}
	document := func(v any) func(io.Writer) error {
		return func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			return e.Encode(v)
		}
	}
	for i := range index.Models {
		e := &index.Models[i]
		if e.Result == nil {
			continue
		}
		if err := write(e.Report, document(e.Result)); err != nil {
			return err
		}
		if err := write(e.Page, func(w io.Writer) error { return e.Result.WriteHTML(w, index.Sizes(e)...) }); err != nil {
			return err
		}
	}
	r.Index = filepath.Join(b.c.Output.Dir, "index.html")
	if err := write("index.json", document(index)); err != nil {
		return err
	}
	return write("index.html", index.WriteHTML)
}
