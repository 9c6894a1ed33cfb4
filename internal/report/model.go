package report

import (
	"fmt"
	"html/template"
	"math"
	"path"
	"strings"
	"time"

	"nuwa/internal/figures"
	"nuwa/internal/measure"
)

// model is what the page says about one result.
type model struct {
	*Result
	Name   string // of the slim model
	Base   string // name of its base
	Anchor string // its place on a page with several models
	Head   string // its heading there
	Lede   string
	Tiles  []tile

	Accuracy  *accuracies // nil where none was measured
	Curves    []template.HTML
	Trials    *trials    // nil for a rate that was asked for
	Rejection *rejection // nil without a logit for other classes
	Device    *device    // nil without a target
	Widths    []widths
	Time      *spent
}

// tile is one figure at a glance.
type tile struct {
	Name, Value string
	Was         string // the same of the base
	Change, Way string
	Left        float64 // part of the base's that is left, in percent; 0 for no bar
}

func newModel(r *Result) *model {
	base, slim := r.pair()
	m := &model{Result: r, Name: path.Base(slim.Name), Base: path.Base(base.Name), Accuracy: newAccuracies(r), Trials: newTrials(r), Rejection: newRejection(r.Other), Device: newDevice(r.Target), Time: newSpent(r)}
	m.Lede = m.lede()
	m.Tiles = m.tiles(base, slim)
	for i, b := range r.Blocks {
		m.Widths = append(m.Widths, widths{i, newWidth(b.Heads), newWidth(b.QK), newWidth(b.VO), newWidth(b.Hidden)})
	}
	return m
}

// pair returns what was measured of base and slim.
func (r *Result) pair() (base, slim measure.Report) {
	base, slim = measure.Report{Name: r.Model}, measure.Report{Name: r.Output}
	for i, to := range []*measure.Report{&base, &slim} {
		if i < len(r.Summary.Models) {
			*to = r.Summary.Models[i]
		}
	}
	return base, slim
}

// lede says in sentences what the model is.
func (m *model) lede() string {
	var s strings.Builder
	classes := m.Classes
	if m.Other != nil { // the last one stands for the rest
		classes = classes[:max(0, len(classes)-1)]
	}
	switch a := m.Accuracy; {
	case len(classes) == 0:
		fmt.Fprintf(&s, "A slim model of %s.", m.Base)
	case a != nil && a.Restricts:
		fmt.Fprintf(&s, "A slim model of %s for %d of its %d classes: %s.", m.Base, a.base.Restricted.Among, a.base.All.Among, list(classes, 12))
	default:
		fmt.Fprintf(&s, "A slim model of %s for %s: %s.", m.Base, figures.Plural(len(classes), "class", "classes"), list(classes, 12))
	}
	fmt.Fprintf(&s, " It needs %s fewer multiply-accumulates", percent(m.Rate, 0))
	if m.Saved != nil {
		fmt.Fprintf(&s, " and %s less of the base's %s", percent(m.Saved.Part, 0), m.Saved.What)
	}
	switch {
	case m.Budget != nil:
		fmt.Fprintf(&s, " (asked: %s)", m.Budget.asked())
	case m.RateAsked > 0:
		fmt.Fprintf(&s, " (asked: %s)", percent(m.RateAsked, 0))
	}
	more := ""
	if b := m.Summary.Bench; b != nil && len(b.Speedups) > 0 {
		switch x := b.Speedups[0]; {
		case x.Interval.Low < 1 && x.Interval.High > 1:
			more = " The measurement cannot tell its speed from the base's."
		case x.Median >= 1:
			fmt.Fprintf(&s, ", runs %.2f times as fast", x.Median)
		default:
			fmt.Fprintf(&s, ", runs at %.2f of the speed", x.Median)
		}
	}
	if a := m.Accuracy; a != nil {
		s.WriteString(", and is " + a.verdict())
	}
	return s.String() + "." + more
}

func (m *model) tiles(base, slim measure.Report) []tile {
	var out []tile
	if a := m.Accuracy; a != nil {
		b, s := a.value(a.base.Restricted), a.value(a.slim.Restricted)
		t := tile{Name: a.Metric, Value: percent(s, a.Images), Was: "base " + percent(b, a.Images), Change: gain(b, s, a.Images) + " points", Way: way(b, s, a.Images)}
		if a.Restricts {
			t.Was = "restricted base " + percent(b, a.Images)
		}
		out = append(out, t)
	}
	if base.Size == nil || slim.Size == nil {
		return out
	}
	for _, f := range []struct {
		name       string
		base, slim int64
		print      func(int64) string
	}{
		{"MACs per image", base.Size.MACs, slim.Size.MACs, figures.Count},
		{"Parameters", base.Size.Params, slim.Size.Params, figures.Count},
		{"File", base.Size.Bytes, slim.Size.Bytes, figures.Bytes},
	} {
		if f.base > 0 && f.slim > 0 {
			out = append(out, newTile(f.name, f.print(f.base), f.print(f.slim), float64(f.base), float64(f.slim)))
		}
	}
	if b := m.Summary.Bench; b != nil && len(b.Models) > 1 && len(b.Speedups) > 0 {
		x, y := b.Models[0].Median, b.Models[1].Median
		t := newTile(fmt.Sprintf("Latency, batch %d", b.Batch), figures.Duration(x), figures.Duration(y), float64(x), float64(y))
		t.Change = fmt.Sprintf("%.2f× as fast", b.Speedups[0].Median)
		if i := b.Speedups[0].Interval; i.Low < i.High {
			t.Change += fmt.Sprintf(" (%.2f\u2060–\u2060%.2f)", i.Low, i.High)
		}
		t.Left = math.Min(100, 100/b.Speedups[0].Median)
		out = append(out, t)
	}
	return out
}

func newTile(name, was, value string, base, slim float64) tile {
	return tile{Name: name, Value: value, Was: "base " + was, Change: change(base, slim), Left: math.Min(100, 100*slim/base)}
}

// widths are those of one block.
type widths struct {
	Block                 int
	Heads, QK, VO, Hidden width
}

type width struct {
	Before, After int
	Left          float64 // in percent
}

func newWidth(w [2]int) width {
	out := width{Before: w[0], After: w[1]}
	if w[0] > 0 {
		out.Left = 100 * float64(w[1]) / float64(w[0])
	}
	return out
}

// spent says where the time of a derivation went.
type spent struct {
	Total string
	Steps []step
	Quiet string // passes that found nothing to do
}

type step struct {
	Name, What, Drift, Time string
	Part                    float64 // of all, in percent
}

func newSpent(r *Result) *spent {
	s := &spent{Total: figures.Duration(time.Duration(r.Seconds * 1e9))}
	total := max(r.Seconds, 1e-9)
	rest := time.Duration(r.Seconds * 1e9)
	var quiet []string
	for _, p := range r.Passes {
		rest -= p.Time
		part := 100 * p.Time.Seconds() / total
		if p.Changes == "" && part < 1 {
			quiet = append(quiet, p.Pass)
			continue
		}
		x := step{Name: p.Pass, What: p.Changes, Time: figures.Duration(p.Time), Part: part}
		switch {
		case p.Exact:
			x.Drift = "exact"
		case p.Drift > 0:
			x.Drift = fmt.Sprintf("%.2g", p.Drift)
		}
		s.Steps = append(s.Steps, x)
	}
	if rest > 0 && len(s.Steps) > 0 {
		s.Steps = append(s.Steps, step{Name: "the rest", What: "reading files and images", Time: figures.Duration(rest), Part: 100 * rest.Seconds() / total})
	}
	s.Quiet = list(quiet, 30)
	return s
}
