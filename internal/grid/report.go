package grid

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"nuwa/internal/chart"
	"nuwa/internal/fault"
)

// Write puts RESULTS.md into dir, made by command, and beside it, in results/,
// a CSV of all outcomes and the charts that RESULTS.md shows.
func Write(dir string, c *Config, all []Outcome, command string) error {
	t := newTable(c, all)
	files := map[string][]byte{"RESULTS.md": []byte(t.markdown(command)), "results/cells.csv": []byte(t.csv(all))}
	for _, p := range t.places {
		files["results/"+p.file()+"-macs.svg"] = t.chart(p, false)
		files["results/"+p.file()+"-latency.svg"] = t.chart(p, true)
	}
	if err := os.MkdirAll(filepath.Join(dir, "results"), 0o755); err != nil {
		return &fault.Error{Kind: fault.IO, File: dir, Err: err}
	}
	for name, text := range files {
		if len(text) == 0 {
			continue
		}
		if err := replace(filepath.Join(dir, name), text); err != nil {
			return err
		}
	}
	return nil
}

// replace writes a file under another name first.
func replace(path string, text []byte) error {
	err := os.WriteFile(path+".tmp", text, 0o644)
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		return &fault.Error{Kind: fault.IO, File: path, Err: err}
	}
	return nil
}

func (p place) file() string { return p.model + "-" + p.task }

// csv lists all outcomes.
func (t *table) csv(all []Outcome) string {
	var b strings.Builder
	w := csv.NewWriter(&b)
	_ = w.Write([]string{"model", "task", "recipe", "seed", "rate asked", "rate", "MACs", "parameters", "base accuracy %", "accuracy %",
		"base validation %", "validation %", "base latency us", "latency us", "learn s", "seconds", "unreachable"})
	s := t.draw(nil)
	for _, o := range all {
		p := place{o.Model, o.Task}
		row := []string{o.Model, o.Task, o.Recipe, fmt.Sprint(o.Seed), fmt.Sprint(o.Asked)}
		if o.Unreachable != "" {
			row = append(row, make([]string, 11)...)
			row = append(row, o.Unreachable)
		} else {
			row = append(row, fmt.Sprintf("%.4f", o.Rate), fmt.Sprint(o.MACs), fmt.Sprint(o.Params),
				fmt.Sprintf("%.2f", s.accuracy(p, o.BaseRight)), fmt.Sprintf("%.2f", s.accuracy(p, o.Right)),
				fmt.Sprintf("%.2f", 100*o.BaseValidation), fmt.Sprintf("%.2f", 100*o.Validation),
				fmt.Sprintf("%.0f", float64(o.BaseLatency)/1e3), fmt.Sprintf("%.0f", float64(o.Latency)/1e3),
				fmt.Sprintf("%.1f", o.Learn), fmt.Sprintf("%.2f", o.Seconds), "")
		}
		_ = w.Write(row)
	}
	w.Flush() // into memory, which does not fail
	return b.String()
}

// main are the recipes that the curves show: the best and the paper's.
func (t *table) main() []string { return []string{t.c.Paper, t.c.Best} }

// rates are those of the grid, ascending.
func (t *table) rates() []float64 { return slices.Sorted(slices.Values(t.c.Rates)) }

// chart draws accuracy against the part of multiply-accumulates that is left,
// or against the part of latency.
func (t *table) chart(p place, latency bool) []byte {
	s := t.draw(nil)
	c := chart.Chart{Title: fmt.Sprintf("%s, %s: accuracy by cost", p.model, p.task), X: chart.Axis{Label: "multiply-accumulates, % of the base's", Zero: true},
		Y: chart.Axis{Label: "accuracy among the wanted classes, %"}, Levels: []chart.Level{{Y: s.baseOf(t, p), Name: "base"}}}
	if latency {
		c.X.Label = "latency at batch 1, % of the base's"
	}
	for _, r := range t.main() {
		line := chart.Series{Name: r}
		for _, rate := range t.rates() {
			all := reached(t.of[p][r][rate])
			if len(all) == 0 {
				continue
			}
			x := 100 * (1 - meanOf(all, func(o Outcome) float64 { return o.Rate }))
			if latency {
				x = 100 * relative(all)
			}
			y := t.noise(func(s *sample) float64 { return s.mean(p, all) })
			line.Points = append(line.Points, chart.Point{X: x, Y: y.Value, Low: y.Low, High: y.High, Label: fmt.Sprintf("%s, rate %g", r, rate)})
		}
		if len(line.Points) > 0 {
			c.Series = append(c.Series, line)
		}
	}
	return c.Standalone()
}

func meanOf(all []Outcome, f func(Outcome) float64) float64 {
	sum := 0.0
	for _, o := range all {
		sum += f(o)
	}
	return sum / float64(len(all))
}

// relative returns the mean latency as a part of the base's, NaN where it was
// not measured.
func relative(all []Outcome) float64 {
	timed := slices.DeleteFunc(slices.Clone(all), func(o Outcome) bool { return o.Latency == 0 })
	return meanOf(timed, func(o Outcome) float64 { return float64(o.Latency) / float64(o.BaseLatency) })
}

// markdown sums up.
func (t *table) markdown(command string) string {
	var b strings.Builder
	f := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	f("# Results\n\nMade by\n\n    %s\n\nand not edited. [All cells](results/cells.csv).\n\n", command)
	f("Accuracies are in %%, deciding among the wanted classes only, on images that\nneither calibrated nor chose anything. The base is restricted to the same\nclasses. Slim models are means over %d seeds, which draw the calibration images.\nIn brackets: where 95 of 100 draws of test images and seeds (bootstrap, %d\ndraws) lie. A dash: no model of that recipe reaches the rate.\n", len(t.c.Seeds), draws)
	t.recipes(f)
	for _, p := range t.places {
		t.accuracies(f, p)
	}
	t.verdict(f)
	t.onePoint(f)
	t.others(f)
	t.times(f)
	return b.String()
}

type printer func(format string, args ...any)

func cell(r Range, digits int) string {
	if math.IsNaN(r.Value) {
		return "–"
	}
	return fmt.Sprintf("%.*f [%.*f, %.*f]", digits, r.Value, digits, r.Low, digits, r.High)
}

// recipes tells what each recipe is.
func (t *table) recipes(f printer) {
	f("\n## Recipes\n\n| name | made of | widths in multiples of |\n|---|---|---|\n")
	for _, r := range t.c.Recipes {
		made := "recipe " + r.Recipe
		for _, p := range []struct{ part, choice string }{{"purify", r.Purify}, {"select", r.Select}, {"reconstruct", r.Reconstruct}, {"statistics", r.Statistics}, {"objective", r.Objective},
			{"attention", r.Attention}, {"allocate", r.Allocate}, {"errors", r.Errors}, {"rows", r.Rows}, {"tokens", r.Tokens}, {"refit", r.Refit}} {
			if p.choice != "" {
				made += fmt.Sprintf(", %s %s", p.part, p.choice)
			}
		}
		if r.Images > 0 {
			made += fmt.Sprintf(", %d images", r.Images)
		}
		f("| `%s` | %s | %d |\n", r.Name, made, cmp.Or(r.Align, 8))
	}
}

// accuracies is the table of one task.
func (t *table) accuracies(f printer, p place) {
	s := t.draw(nil)
	f("\n## %s, %s\n\n", p.model, p.task)
	classes := t.classes(p)
	f("Wanted: %s. Base: %.2f on %d test images", strings.Join(classes, ", "), s.baseOf(t, p), len(t.base[p]))
	if v := t.validation(p, "", 0, true); !math.IsNaN(v) {
		f(", %.2f on images of the training set", v)
	}
	f(".\n\n| rate | %s |\n|---|%s\n", strings.Join(t.headers(), " | "), strings.Repeat("---|", len(t.headers())))
	for _, rate := range t.rates() {
		f("| %g |", rate)
		for _, r := range t.main() {
			all := t.of[p][r][rate]
			if len(reached(all)) == 0 {
				f(" – | – | – |")
				continue
			}
			f(" %s | %s | %.3f |", cell(t.noise(func(s *sample) float64 { return s.mean(p, all) }), 1), dash(t.validation(p, r, rate, false), "%.1f"),
				meanOf(reached(all), func(o Outcome) float64 { return o.Rate }))
		}
		f("\n")
	}
	f("\n![accuracy by multiply-accumulates](results/%s-macs.svg)\n", p.file())
	if t.timed(p) {
		f("![accuracy by latency](results/%s-latency.svg)\n", p.file())
	}
}

func (t *table) headers() (out []string) {
	for _, r := range t.main() {
		out = append(out, "`"+r+"`, test", "validation", "rate reached")
	}
	return out
}

func dash(x float64, format string) string {
	if math.IsNaN(x) {
		return "–"
	}
	return fmt.Sprintf(format, x)
}

func (t *table) classes(p place) []string {
	for _, m := range t.c.Models {
		for _, k := range m.Tasks {
			if m.Name == p.model && k.Name == p.task {
				return k.Classes
			}
		}
	}
	return nil
}

// validation returns the mean accuracy in % on validation images, of the base
// or of a recipe; NaN where it was not measured.
func (t *table) validation(p place, recipe string, rate float64, base bool) float64 {
	sum, n := 0.0, 0.0
	for r, rates := range t.of[p] {
		for x, all := range rates {
			for _, o := range reached(all) {
				switch {
				case o.BaseValidation == 0:
				case base:
					sum, n = sum+100*o.BaseValidation, n+1
				case r == recipe && x == rate:
					sum, n = sum+100*o.Validation, n+1
				}
			}
		}
	}
	return sum / n
}

func (t *table) timed(p place) bool {
	for _, rates := range t.of[p] {
		for _, all := range rates {
			for _, o := range all {
				if o.Latency > 0 {
					return true
				}
			}
		}
	}
	return false
}

// demanding are the rates from .7 on, where recipes part.
func (t *table) demanding() []float64 {
	return slices.DeleteFunc(t.rates(), func(r float64) bool { return r < 0.7 })
}

// both reports whether both main recipes reach a rate.
func (t *table) both(p place, rate float64) bool {
	return len(reached(t.of[p][t.c.Paper][rate])) > 0 && len(reached(t.of[p][t.c.Best][rate])) > 0
}

// verdict holds the best recipe against the paper's.
func (t *table) verdict(f printer) {
	f("\n## `%s` against `%s`\n\n", t.c.Best, t.c.Paper)
	sums := func(s *sample) (best, paper float64) {
		for _, p := range t.places {
			for _, rate := range t.demanding() {
				if t.both(p, rate) {
					best += t.lost(p, t.c.Best, rate)(s)
					paper += t.lost(p, t.c.Paper, rate)(s)
				}
			}
		}
		return best, paper
	}
	n := 0
	for _, p := range t.places {
		for _, rate := range t.demanding() {
			if t.both(p, rate) {
				n++
			}
		}
	}
	if n == 0 {
		f("There is no rate from .7 on that both reach.\n")
		return
	}
	part := func(k int) func(*sample) float64 {
		return func(s *sample) float64 {
			best, paper := sums(s)
			return []float64{best / float64(n), paper / float64(n), best / paper}[k]
		}
	}
	f("Over the %d pairs of task and rate from .7 on that both reach, `%s` loses %s\npoints on average and `%s` %s: a part of %s.\n\n", n,
		t.c.Best, cell(t.noise(part(0)), 2), t.c.Paper, cell(t.noise(part(1)), 2), cell(t.noise(part(2)), 2))
	f("| task | rate | `%s` lost | `%s` lost | `%s` minus `%s` |\n|---|---|---|---|---|\n", t.c.Paper, t.c.Best, t.c.Best, t.c.Paper)
	for _, p := range t.places {
		for _, rate := range t.rates() {
			a, b := t.lost(p, t.c.Paper, rate), t.lost(p, t.c.Best, rate)
			f("| %s, %s | %g | %s | %s | %s |\n", p.model, p.task, rate, cell(t.noise(a), 1), cell(t.noise(b), 1),
				cell(t.noise(func(s *sample) float64 { return a(s) - b(s) }), 1))
		}
	}
}

// onePoint tells how far recipes go before they lose a point.
func (t *table) onePoint(f printer) {
	f("\n## One point lost\n\nThe rate, and the part of the base's latency, at which one point is lost, between\nmeasured rates by straight lines. A dash: not at any rate measured.\n\n| task | recipe | rate | latency, %% |\n|---|---|---|---|\n")
	for _, p := range t.places {
		for _, r := range t.main() {
			at := func(x func([]Outcome) float64) func(*sample) float64 {
				return func(s *sample) float64 {
					var xs, ys []float64
					for _, rate := range t.rates() {
						if all := reached(t.of[p][r][rate]); len(all) > 0 {
							xs, ys = append(xs, x(all)), append(ys, t.lost(p, r, rate)(s))
						}
					}
					return crossing(xs, ys, 1)
				}
			}
			rate := t.noise(at(func(all []Outcome) float64 { return meanOf(all, func(o Outcome) float64 { return o.Rate }) }))
			saved := at(func(all []Outcome) float64 { return 1 - relative(all) })(t.draw(nil))
			f("| %s, %s | `%s` | %s | %s |\n", p.model, p.task, r, cell(rate, 3), dash(100*(1-saved), "%.0f"))
		}
	}
}

// others holds every further recipe against the best, at the rates that it was
// run at, as means over tasks.
func (t *table) others(f printer) {
	var rest []string
	for _, r := range t.c.Recipes {
		if !slices.Contains(t.main(), r.Name) {
			rest = append(rest, r.Name)
		}
	}
	if len(rest) == 0 {
		return
	}
	f("\n## Other recipes\n\nMean accuracy over tasks minus that of `%s` on the same tasks, seeds and rates.\n", t.c.Best)
	var rates []float64
	for _, p := range t.places {
		for _, r := range rest {
			for rate := range t.of[p][r] {
				rates = append(rates, rate)
			}
		}
	}
	slices.Sort(rates)
	rates = slices.Compact(rates)
	f("\n| recipe |")
	for _, rate := range rates {
		f(" rate %g |", rate)
	}
	f("\n|---|%s\n", strings.Repeat("---|", len(rates)))
	for _, r := range rest {
		f("| `%s` |", r)
		for _, rate := range rates {
			f(" %s |", cell(t.noise(func(s *sample) float64 { return t.against(s, r, rate) }), 2))
		}
		f("\n")
	}
}

// against returns the mean over tasks of a recipe's accuracy minus that of the
// best, over the seeds that both have.
func (t *table) against(s *sample, recipe string, rate float64) float64 {
	sum, n := 0.0, 0.0
	for _, p := range t.places {
		own, best := reached(t.of[p][recipe][rate]), reached(t.of[p][t.c.Best][rate])
		best = slices.DeleteFunc(best, func(o Outcome) bool {
			return !slices.ContainsFunc(own, func(x Outcome) bool { return x.Seed == o.Seed })
		})
		if len(own) > 0 && len(best) > 0 {
			sum, n = sum+s.mean(p, own)-s.mean(p, best), n+1
		}
	}
	return sum / n
}

// times tells where time goes.
func (t *table) times(f printer) {
	f("\n## Time\n\nSeconds on the machine that made this, medians. What a task takes first is shared\nby all of its rates.\n\n| model | recipe | a task | one more rate |\n|---|---|---|---|\n")
	for _, m := range t.c.Models {
		for _, r := range t.c.Recipes {
			var learn, each []float64
			for _, p := range t.places {
				for _, all := range t.of[p][r.Name] {
					for _, o := range reached(all) {
						if p.model == m.Name {
							learn, each = append(learn, o.Learn), append(each, o.Seconds)
						}
					}
				}
			}
			if len(each) > 0 {
				f("| %s | `%s` | %.1f | %.2f |\n", m.Name, r.Name, median(learn), median(each))
			}
		}
	}
}

func median(xs []float64) float64 {
	slices.Sort(xs)
	return xs[len(xs)/2]
}
