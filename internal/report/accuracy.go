package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"nuwa/internal/measure"
)

// accuracies holds base and slim against each other.
type accuracies struct {
	base, slim *measure.Accuracy
	Images     int
	PassedOver int
	Judged     string
	Metric     string
	other      bool // the slim model has a logit for other classes
	Restricts  bool // the base knows other classes than the wanted ones
	Multi      bool
	Noise      string // half the interval of the slim model's figure; "" where there is none
	Unseen     string // wanted classes without images

	From    float64 // where the plot of the rows starts, in percent
	Rows    []decision
	Classes []classRow
	More    []classRow // those that changed less, where there are many
	Before  *matrix
	After   *matrix
	Mixed   []mixed // classes that are mistaken most often
}

// decision is one way of one model to decide.
type decision struct {
	Who, Among         string
	Slim, Yardstick    bool
	Value, Range       string
	Macro, Entropy     string
	Perfect            string  // images with every class right, where each is decided by itself
	Low, At, High      float64 // places on the plot, in percent of its width
	low, middle, upper float64
}

// classRow compares one class.
type classRow struct {
	Class       string
	Images      int
	Base, Slim  float64 // in percent
	Was, Value  string
	Change, Way string
	Gain        float64
}

func newAccuracies(r *Result) *accuracies {
	base, slim := r.pair()
	if base.Accuracy == nil || slim.Accuracy == nil {
		return nil
	}
	a := &accuracies{base: base.Accuracy, slim: slim.Accuracy, Images: slim.Accuracy.Images, PassedOver: slim.Accuracy.PassedOver, Judged: r.Judged,
		Metric: "Accuracy", Restricts: base.Accuracy.All.Among != base.Accuracy.Restricted.Among, Multi: slim.Accuracy.MultiLabel, Unseen: list(slim.Accuracy.Unseen, 12), other: r.Other != nil}
	if a.Multi {
		a.Metric = "Mean average precision"
	} else {
		i := a.slim.Restricted.Interval
		a.Noise = points((i.High-i.Low)/2, a.Images)
	}
	a.decisions()
	a.classes()
	if !a.Multi {
		a.confusions()
	}
	return a
}

// value is the figure of a score that counts.
func (a *accuracies) value(s measure.Score) float64 {
	if a.Multi {
		return s.MeanAveragePrecision
	}
	return s.Accuracy
}

func (a *accuracies) classValue(c measure.ClassScore) float64 {
	if a.Multi {
		return c.AveragePrecision
	}
	return c.Restricted
}

// verdict says in words how slim compares with the restricted base.
func (a *accuracies) verdict() string {
	b, s := a.value(a.base.Restricted), a.value(a.slim.Restricted)
	what, same := "right", "as the base when it decides among the same classes"
	if !a.Restricts {
		same = "as the base"
	}
	switch {
	case a.Multi:
		return fmt.Sprintf("%s in mean average precision against the base on the same classes", gain(b, s, a.Images)+" points")
	case strings.HasPrefix(gain(b, s, a.Images), "±"):
		return what + " as often " + same
	case s < b:
		return fmt.Sprintf("%s on %s points fewer images than the base%s", what, points(b-s, a.Images), same[len("as the base"):])
	}
	return fmt.Sprintf("%s on %s points more images than the base%s", what, points(s-b, a.Images), same[len("as the base"):])
}

func (a *accuracies) decisions() {
	add := func(who string, acc *measure.Accuracy, s measure.Score, slim, restricted bool) {
		d := decision{Who: who, Slim: slim, Value: percent(a.value(s), a.Images), Macro: percent(s.Macro, a.Images), Entropy: fmt.Sprintf("%.3f", s.CrossEntropy)}
		d.Among = fmt.Sprintf("all %d", s.Among)
		if slim && !restricted && a.other {
			d.Among = fmt.Sprintf("the wanted %d, or none", s.Among-1)
		}
		if restricted && acc.All.Among != s.Among {
			d.Among = fmt.Sprintf("the wanted %d", s.Among)
			d.Yardstick = !slim
		}
		d.low, d.middle, d.upper = a.value(s), a.value(s), a.value(s)
		if a.Multi {
			d.Perfect = percent(s.Accuracy, a.Images)
		} else {
			d.low, d.upper = s.Interval.Low, s.Interval.High
			d.Range = fmt.Sprintf("%s to %s", points(d.low, 0), points(d.upper, 0))
		}
		a.Rows = append(a.Rows, d)
	}
	for _, side := range []struct {
		who  string
		acc  *measure.Accuracy
		slim bool
	}{{"base", a.base, false}, {"slim", a.slim, true}} {
		if side.acc.All.Among != side.acc.Restricted.Among {
			add(side.who, side.acc, side.acc.All, side.slim, false)
		}
		add(side.who, side.acc, side.acc.Restricted, side.slim, true)
	}
	least := 1.0
	for _, d := range a.Rows {
		least = min(least, d.low)
	}
	a.From = math.Max(0, math.Floor(least*20-0.2)*5)
	place := func(x float64) float64 { return (100*x - a.From) / (100 - a.From) * 100 }
	for i := range a.Rows {
		d := &a.Rows[i]
		d.Low, d.At, d.High = place(d.low), place(d.middle), place(d.upper)
	}
}

// shownClasses bounds the classes that show at once.
const shownClasses = 60

func (a *accuracies) classes() {
	for _, s := range a.slim.Classes {
		i := slices.IndexFunc(a.base.Classes, func(b measure.ClassScore) bool { return b.Class == s.Class })
		if i < 0 {
			continue
		}
		b := a.base.Classes[i]
		was, is := a.classValue(b), a.classValue(s)
		a.Classes = append(a.Classes, classRow{Class: s.Class, Images: s.Images, Base: 100 * was, Slim: 100 * is, Was: percent(was, s.Images), Value: percent(is, s.Images),
			Change: gain(was, is, s.Images), Way: way(was, is, s.Images), Gain: is - was})
	}
	if len(a.Classes) > shownClasses {
		slices.SortStableFunc(a.Classes, func(x, y classRow) int { return cmp.Compare(x.Gain, y.Gain) })
		a.Classes, a.More = a.Classes[:shownClasses/2], a.Classes[shownClasses/2:]
	}
}
