package measure

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"nuwa/internal/figures"
)

// Summary is what was measured of models that are compared with the first of
// them. Parts that were not measured are nil.
type Summary struct {
	Models    []Report   `json:"models"`
	Agreement *Agreement `json:"agreement,omitempty"`
	Bench     *Benchmark `json:"bench,omitempty"` // of the same models, in the same order
}

// Report is what was measured of one model.
type Report struct {
	Name     string    `json:"name"`
	Accuracy *Accuracy `json:"accuracy,omitempty"`
	Size     *Size     `json:"size,omitempty"`
}

// Write prints the summary as text for a terminal.
func (s *Summary) Write(w io.Writer) error {
	parts := []table{s.accuracy(), s.costs()}
	if s.Agreement != nil {
		parts = append(parts, s.Agreement.table())
	}
	between := ""
	for _, t := range parts {
		if len(t) == 0 {
			continue
		}
		if _, err := io.WriteString(w, between); err != nil {
			return err
		}
		if err := t.write(w); err != nil {
			return err
		}
		between = "\n"
	}
	return nil
}

// shownClasses bounds the classes that have a row of their own.
const shownClasses = 40

// column is one way of one model to decide.
type column struct {
	model      string
	acc        *Accuracy
	restricted bool
}

func (c column) score() Score {
	if c.restricted {
		return c.acc.Restricted
	}
	return c.acc.All
}

// columns gives a model two columns when it knows other classes than the
// wanted ones.
func (s *Summary) columns() []column {
	var out []column
	for _, r := range s.Models {
		if r.Accuracy == nil {
			continue
		}
		if r.Accuracy.All.Among != r.Accuracy.Restricted.Among {
			out = append(out, column{r.Name, r.Accuracy, false})
		}
		out = append(out, column{r.Name, r.Accuracy, true})
	}
	return out
}

func (s *Summary) accuracy() table {
	var t table
	cols := s.columns()
	switch {
	case len(cols) == 0:
		return nil
	case cols[0].acc.MultiLabel:
		return s.precision()
	}
	line := func(name string, cell func(c column) string) {
		cells := []string{name}
		for _, c := range cols {
			cells = append(cells, cell(c))
		}
		t.row(cells...)
	}
	line("accuracy in %", func(c column) string { return c.model })
	line("deciding among", func(c column) string {
		n := c.score().Among
		if c.acc.All.Among == n {
			return fmt.Sprintf("all %d", n)
		}
		return fmt.Sprintf("wanted %d", n)
	})
	line("images", func(c column) string { return fmt.Sprint(c.acc.Images) })
	line("accuracy", func(c column) string { return percent(c.score().Accuracy) })
	line("  95 % interval", func(c column) string { return percentRange(c.score().Interval) })
	line("mean of classes", func(c column) string { return percent(c.score().Macro) })
	classRows(&t, cols, func(c column, x ClassScore) string {
		if c.restricted {
			return percent(x.Restricted)
		}
		return percent(x.All)
	})
	line("cross-entropy", func(c column) string { return fmt.Sprintf("%.4f", c.score().CrossEntropy) })
	unseen(&t, cols)
	return t
}

// classRows adds a row for each class of the first column.
func classRows(t *table, cols []column, cell func(c column, x ClassScore) string) {
	classes := cols[0].acc.Classes
	for _, cls := range classes[:min(len(classes), shownClasses)] {
		cells := []string{"  " + cls.Class}
		for _, c := range cols {
			i := slices.IndexFunc(c.acc.Classes, func(x ClassScore) bool { return x.Class == cls.Class })
			if i < 0 {
				cells = append(cells, "-")
			} else {
				cells = append(cells, cell(c, c.acc.Classes[i]))
			}
		}
		t.row(cells...)
	}
	if more := len(classes) - shownClasses; more > 0 {
		t.row(fmt.Sprintf("  and %s", figures.Plural(more, "class more", "classes more")))
	}
}

// unseen names the wanted classes without images.
func unseen(t *table, cols []column) {
	if names := cols[0].acc.Unseen; len(names) > 0 {
		t.row("without images: " + strings.Join(names, ", "))
	}
}

func (s *Summary) costs() table {
	t := table{{"cost"}}
	for _, r := range s.Models {
		t[0] = append(t[0], r.Name)
	}
	size := func(name string, of func(Size) int64, show func(int64) string) {
		cells := []string{name}
		known := false
		var first int64
		for i, r := range s.Models {
			if r.Size == nil || of(*r.Size) == 0 {
				cells = append(cells, "-")
				continue
			}
			known = true
			n := of(*r.Size)
			if i == 0 {
				first = n
				cells = append(cells, show(n))
			} else {
				cells = append(cells, show(n)+figures.Change(float64(first), float64(n)))
			}
		}
		if known {
			t.row(cells...)
		}
	}
	size("MACs per image", func(s Size) int64 { return s.MACs }, figures.Count)
	size("parameters", func(s Size) int64 { return s.Params }, figures.Count)
	size("file", func(s Size) int64 { return s.Bytes }, figures.Bytes)
	if b := s.Bench; b != nil {
		latency, throughput := []string{fmt.Sprintf("latency, batch %d", b.Batch)}, []string{"images per second"}
		for i, m := range b.Models {
			cell := figures.Duration(m.Median)
			if i > 0 {
				cell += " (" + faster(b.Speedups[i-1].Median) + ")"
			}
			latency, throughput = append(latency, cell), append(throughput, figures.Digits(m.Throughput))
		}
		t.row(latency...)
		t.row(throughput...)
	}
	if len(t) == 1 {
		return nil
	}
	return t
}

func (a *Agreement) table() table {
	var t table
	t.row("agreement", a.Second+" with "+a.First)
	t.row("images", fmt.Sprint(a.Images))
	t.row("deciding among", figures.Plural(a.Classes, "class", "classes"))
	t.row("same answer in %", fmt.Sprintf("%s (%s)", percent(a.Top1), percentRange(a.Interval)))
	t.row("logits differ by, mean", fmt.Sprintf("%.3g", a.MeanDiff))
	t.row("  at most", fmt.Sprintf("%.3g", a.MaxDiff))
	t.row("  their size, RMS", fmt.Sprintf("%.3g", a.RMS))
	if p := a.Paired; p != nil {
		verdict := "within noise"
		if p.Interval.Low > 0 || p.Interval.High < 0 {
			verdict = "more than noise"
		}
		t.row("accuracy gained, points", fmt.Sprintf("%+.2f (%+.2f to %+.2f), %s", 100*p.Difference, 100*p.Interval.Low, 100*p.Interval.High, verdict))
	}
	return t
}

// Write prints the benchmark as text for a terminal.
func (b *Benchmark) Write(w io.Writer) error {
	var t table
	t.row(fmt.Sprintf("batch %d, %s in turns", b.Batch, figures.Plural(b.Rounds, "run of each model", "runs of each model")))
	head := []string{"model", "threads", "min", "median", "p90", "spread", "images/s"}
	if len(b.Speedups) > 0 {
		head = append(head, "speed-up", "95 % interval")
	}
	t.row(head...)
	for i, m := range b.Models {
		cells := []string{m.Model, fmt.Sprint(m.Threads), figures.Duration(m.Min), figures.Duration(m.Median), figures.Duration(m.P90),
			fmt.Sprintf("%.0f %%", 100*m.Spread), figures.Digits(m.Throughput)}
		if len(b.Speedups) > 0 {
			if i == 0 {
				cells = append(cells, "1.00", "")
			} else {
				s := b.Speedups[i-1]
				cells = append(cells, fmt.Sprintf("%.2f", s.Median), fmt.Sprintf("%.2f to %.2f", s.Interval.Low, s.Interval.High))
			}
		}
		t.row(cells...)
	}
	return t.write(w)
}
