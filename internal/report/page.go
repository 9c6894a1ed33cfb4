package report

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"io"

	"nuwa/internal/chart"
)

//go:embed page
var files embed.FS

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"command": command,
	"minus":   func(a, b int) int { return a - b },
	"percent": func(x float64) string { return percent(x, 0) },
}).ParseFS(files, "page/*.tmpl"))

// page is what the frame of every page is given.
type page struct {
	Title  string
	Policy string // what the page may load: nothing but itself
	Style  template.CSS
	Script template.JS
	Index  *index   // of several models; nil on the page of one
	Models []*model // in full
}

// WriteHTML writes a page about r that needs nothing but itself. Others of the
// same task, derived to other sizes, show in its curves.
func (r *Result) WriteHTML(w io.Writer, others ...*Result) error {
	m := newModel(r)
	m.Curves = curves(siblings(r, others))
	return (&page{Title: m.Name, Models: []*model{m}}).write(w)
}

// siblings are r and the others, each once.
func siblings(r *Result, others []*Result) []*Entry {
	list := []*Entry{{Result: r}}
	for _, o := range others {
		if o != nil && o != r {
			list = append(list, &Entry{Result: o})
		}
	}
	return list
}

func (p *page) write(w io.Writer) error {
	style, err := files.ReadFile("page/style.css")
	if err != nil {
		return err
	}
	script, err := files.ReadFile("page/table.js")
	if err != nil {
		return err
	}
	p.Style, p.Script = chart.CSS+template.CSS(style), template.JS(script)
	digest := sha256.Sum256(script)
	p.Policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) + "'"
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, "page.tmpl", p); err != nil {
		return err
	}
	_, err = b.WriteTo(w)
	return err
}
