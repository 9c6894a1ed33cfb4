package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"nuwa"
	"nuwa/internal/files"
	"nuwa/internal/report"
)

func (a *app) report() *cobra.Command {
	c := &cobra.Command{
		Use: "report slim.json [slim.json ...]",
		Example: `  nuwa report slim.json
  nuwa report rate3.json rate5.json rate7.json -o sizes.html
  nuwa report out/batch.json --force`,
		Short: "Make pages of results that were written as JSON",
		Long: `Report makes a page that needs nothing but itself of a result that --report wrote.
Several results make one page: a table that can be sorted, accuracy against cost
for those of equal classes, and each model in full. The index of a batch makes
its page and those of its models again.`,
		Args: args(1, 100000, "at least one file that --report wrote"),
		RunE: func(_ *cobra.Command, args []string) error {
			pages, err := a.pages(args)
			if err != nil {
				return err
			}
			made := struct {
				Pages []string `json:"pages"`
			}{}
			for _, p := range pages {
				f, err := files.New(p.path, a.config.GetBool("force"))
				if err != nil {
					return err
				}
				err = f.Write(p.write)
				f.Discard()
				if err != nil {
					return err
				}
				made.Pages = append(made.Pages, p.path)
			}
			return a.print(made, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, "wrote", strings.Join(made.Pages, ", "))
				return err
			})
		},
	}
	c.Flags().StringP("output", "o", "", "where to write the page; beside a single file when not said")
	c.Flags().Bool("force", false, "replace an existing page")
	return c
}

// pageFile is a page that is about to be written.
type pageFile struct {
	path  string
	write func(io.Writer) error
}

// pages are those that the files make.
func (a *app) pages(files []string) ([]pageFile, error) {
	output := a.config.GetString("output")
	var results []*report.Result
	for _, name := range files {
		r, b, err := report.Read(name)
		switch {
		case err != nil:
			return nil, err
		case b != nil && len(files) > 1:
			return nil, usageError("report", name+", the index of a batch, beside other files", "one index, or any number of results")
		case b != nil:
			return batchPages(b, name, output), nil
		}
		results = append(results, r)
	}
	switch {
	case len(files) > 1 && output == "":
		return nil, usageError("--output", "no file", "where to write the page of several results (-o)")
	case len(files) > 1:
		return []pageFile{{output, report.Together(results).WriteHTML}}, nil
	case output == "":
		_, output = reportPaths(files[0])
	}
	return []pageFile{{output, func(w io.Writer) error { return results[0].WriteHTML(w) }}}, nil
}

// batchPages are the index and the pages that it links to.
func batchPages(b *report.Batch, name, output string) []pageFile {
	if output == "" {
		_, output = reportPaths(name)
	}
	pages := []pageFile{{output, b.WriteHTML}}
	for i := range b.Models {
		if e := &b.Models[i]; e.Page != "" && e.Result != nil {
			pages = append(pages, pageFile{filepath.Join(filepath.Dir(name), filepath.FromSlash(e.Page)), func(w io.Writer) error {
				return e.Result.WriteHTML(w, b.Sizes(e)...)
			}})
		}
	}
	return pages
}

// reportPaths returns the files that --report writes: JSON, and a page beside
// it.
func reportPaths(path string) (doc, page string) {
	switch stem := strings.TrimSuffix(path, filepath.Ext(path)); filepath.Ext(path) {
	case ".html":
		return stem + ".json", path
	case ".json":
		return path, stem + ".html"
	}
	return path, path + ".html"
}

func reportFlag(f *pflag.FlagSet) {
	f.String("report", "", "also write the result as JSON to this file, and as a page to the .html beside it")
}

// reportFiles are opened for a result that is being made.
type reportFiles []*files.File

// newReport opens the files that --report names; none without that flag.
func (a *app) newReport(others ...string) (opened reportFiles, err error) {
	path := a.config.GetString("report")
	if path == "" {
		return nil, nil
	}
	doc, page := reportPaths(path)
	for _, p := range []string{doc, page} {
		if slices.ContainsFunc(others, func(other string) bool { return filepath.Clean(other) == filepath.Clean(p) }) {
			err = usageError("--report", p, "another file than the models")
		}
		var f *files.File
		if err == nil {
			f, err = files.New(p, a.config.GetBool("force"))
		}
		if err != nil {
			opened.discard()
			return nil, err
		}
		opened = append(opened, f)
	}
	return opened, nil
}

// write fills the files and gives them their names.
func (fs reportFiles) write(r *nuwa.Result) error {
	for i, f := range fs {
		content := func(w io.Writer) error { return writeJSON(w, r) }
		if i == 1 {
			content = func(w io.Writer) error { return r.WriteHTML(w) }
		}
		if err := f.Write(content); err != nil {
			return err
		}
	}
	return nil
}

func (fs reportFiles) discard() {
	for _, f := range fs {
		f.Discard()
	}
}

// command is what gives the same result again: the flags as they were taken,
// from wherever, save those that change nothing about it.
func command(cmd *cobra.Command, args []string) []string {
	out := slices.Concat([]string{cmd.Name()}, args)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		value := f.Value.String()
		if value == f.DefValue || slices.Contains([]string{"config", "force", "json", "onnxruntime", "quiet", "report", "verbose"}, f.Name) {
			return
		}
		if _, ok := f.Value.(pflag.SliceValue); ok {
			value = strings.TrimSuffix(strings.TrimPrefix(value, "["), "]")
		}
		out = append(out, "--"+f.Name+"="+value)
	})
	return out
}
