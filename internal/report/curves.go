package report

import (
	"cmp"
	"fmt"
	"html/template"
	"slices"
	"strings"

	"nuwa/internal/chart"
	"nuwa/internal/figures"
	"nuwa/internal/measure"
)

// curves draw accuracy against cost for the models of one task: a line per
// recipe and target. Fewer than two models make no curve.
func curves(task []*Entry) []template.HTML {
	task = slices.DeleteFunc(slices.Clone(task), func(e *Entry) bool {
		return e.Result == nil || newAccuracies(e.Result) == nil
	})
	if len(task) < 2 {
		return nil
	}
	multi := newAccuracies(task[0].Result).Multi
	y := chart.Axis{Label: "accuracy, %"}
	if multi {
		y.Label = "mean average precision, %"
	}
	var out []template.HTML
	for _, cost := range []struct {
		axis, title string
		of          func(r *Result, model int) float64
		print       func(float64) string
	}{
		{"MACs per image, millions", "by multiply-accumulates", macs, func(x float64) string { return figures.Count(int64(x*1e6)) + " MACs" }},
		{"latency, % of the base's", "by latency", latency, func(x float64) string { return figures.Digits(x) + "\u202f% of the base's latency" }},
	} {
		c := chart.Chart{Title: strings.TrimSuffix(y.Label, ", %") + " " + cost.title, X: chart.Axis{Label: cost.axis, Zero: true}, Y: y}
		var base *chart.Series
		for _, e := range task {
			a := newAccuracies(e.Result)
			if cost.of(e.Result, 1) == 0 {
				continue
			}
			name := seriesName(task, e)
			i := slices.IndexFunc(c.Series, func(s chart.Series) bool { return s.Name == name })
			if i < 0 {
				i = len(c.Series)
				c.Series = append(c.Series, chart.Series{Name: name})
			}
			c.Series[i].Points = append(c.Series[i].Points, point(e.Result, a, 1, cost.of, cost.print))
			if base == nil {
				base = &chart.Series{Bare: true, Muted: true, Points: []chart.Point{point(e.Result, a, 0, cost.of, cost.print)}}
				c.Levels = []chart.Level{{Y: base.Points[0].Y, Name: a.yardstick()}}
			}
		}
		if base == nil {
			continue
		}
		for i := range c.Series {
			slices.SortStableFunc(c.Series[i].Points, func(a, b chart.Point) int { return cmp.Compare(a.X, b.X) })
		}
		c.Series = append(c.Series, *base)
		out = append(out, c.SVG())
	}
	return out
}

func (a *accuracies) yardstick() string {
	if a.Restricts {
		return fmt.Sprintf("base, among the same %d", a.base.Restricted.Among)
	}
	return "base"
}

// point is model 0, the base, or 1, the slim model, at its cost.
func point(r *Result, a *accuracies, model int, cost func(*Result, int) float64, print func(float64) string) chart.Point {
	acc := []*measure.Accuracy{a.base, a.slim}[model]
	v := a.value(acc.Restricted)
	p := chart.Point{X: cost(r, model), Y: 100 * v}
	if !a.Multi {
		p.Low, p.High = 100*acc.Restricted.Interval.Low, 100*acc.Restricted.Interval.High
	}
	base, slim := r.pair()
	p.Label = fmt.Sprintf("%s: %s, %s", []string{base.Name, slim.Name}[model], percent(v, a.Images), print(p.X))
	return p
}

func macs(r *Result, model int) float64 {
	if m := r.Summary.Models; model < len(m) && m[model].Size != nil {
		return float64(m[model].Size.MACs) / 1e6
	}
	return 0
}

// latency is taken from the ratios within rounds: times of several derivations
// do not compare, as the machine may be slower for some.
func latency(r *Result, model int) float64 {
	b := r.Summary.Bench
	switch {
	case b == nil || len(b.Speedups) == 0 || b.Speedups[0].Median <= 0:
		return 0
	case model == 0:
		return 100
	}
	return 100 / b.Speedups[0].Median
}

// seriesName says by what an entry differs from others of its task.
func seriesName(task []*Entry, e *Entry) string {
	var name []string
	for _, of := range []func(*Entry) string{(*Entry).target, func(e *Entry) string { return e.Result.Recipe }} {
		if slices.ContainsFunc(task, func(o *Entry) bool { return of(o) != of(e) }) {
			name = append(name, of(e))
		}
	}
	return cmp.Or(strings.Join(name, ", "), "slim")
}

// target names the device of an entry, also of one that is of no batch.
func (e *Entry) target() string {
	if e.Target == "" && e.Result.Target != nil {
		return e.Result.Target.Name
	}
	return e.Target
}
