package chart

import (
	"fmt"
	"html/template"
	"math"
	"strings"
	"unicode/utf8"
)

// Sizes in pixels. Letters are taken to be as wide as those of common sans
// serif fonts at 12 pixels.
const (
	letter = 6.4
	line   = 18.0
	margin = 14.0
	marker = 4.0
)

// layout is what the template draws.
type layout struct {
	Title          string
	Width, Height  float64
	Style          template.CSS
	Left, Right    float64
	Top, Bottom    float64
	XLabel, YLabel string
	XTicks, YTicks []tick
	Levels         []float64
	Series         []drawn
	Legend         []entry
}

type tick struct {
	At   float64
	Name string
}

type drawn struct {
	Color  int    // 0 for muted
	Line   string // path data
	Points []mark
}

type mark struct {
	X, Low, High float64
	Bounds       bool
	Shape, Label string
}

type entry struct {
	X, Y        float64
	Color       int
	Shape, Dash string // path data of one of them
	Name        string
}

func (c Chart) layout() *layout {
	l := &layout{Title: c.Title, Width: c.Width, Height: c.Height, XLabel: c.X.Label, YLabel: c.Y.Label}
	x, y := c.scales()
	l.Top = margin
	if len(c.Series)+len(c.Levels) > 1 {
		l.Top = l.legend(c.Series, c.Levels)
	}
	if c.Y.Label != "" {
		l.Top += line
	}
	longest := 0
	for _, t := range y.ticks() {
		longest = max(longest, utf8.RuneCountInString(y.name(t)))
	}
	l.Left, l.Right = round(margin+letter*float64(longest)), c.Width-margin
	l.Bottom = c.Height - 2*line - 6
	x.at, x.end, y.at, y.end = l.Left, l.Right, l.Bottom, l.Top
	for _, t := range x.ticks() {
		l.XTicks = append(l.XTicks, tick{x.pixel(t), x.name(t)})
	}
	for _, t := range y.ticks() {
		l.YTicks = append(l.YTicks, tick{y.pixel(t), y.name(t)})
	}
	for _, v := range c.Levels {
		if finite(v.Y) {
			l.Levels = append(l.Levels, y.pixel(v.Y))
		}
	}
	for i, s := range c.Series {
		d := drawn{Color: s.color(i)}
		var path []string
		for _, p := range s.Points {
			px, py := x.pixel(p.X), y.pixel(p.Y)
			path = append(path, fmt.Sprintf("%v %v", px, py))
			m := mark{X: px, Shape: shape(i, px, py), Label: p.Label}
			if p.Low < p.High {
				m.Bounds, m.Low, m.High = true, y.pixel(p.Low), y.pixel(p.High)
			}
			d.Points = append(d.Points, m)
		}
		if len(path) > 1 && !s.Bare {
			d.Line = "M" + strings.Join(path, "L")
		}
		l.Series = append(l.Series, d)
	}
	return l
}

// scales covers all numbers.
func (c Chart) scales() (x, y scale) {
	lo, hi := [2]float64{math.Inf(1), math.Inf(1)}, [2]float64{math.Inf(-1), math.Inf(-1)}
	cover := func(axis int, v float64) {
		if finite(v) {
			lo[axis], hi[axis] = min(lo[axis], v), max(hi[axis], v)
		}
	}
	for _, s := range c.Series {
		for _, p := range s.Points {
			cover(0, p.X)
			cover(1, p.Y)
			if p.Low < p.High {
				cover(1, p.Low)
				cover(1, p.High)
			}
		}
	}
	for _, v := range c.Levels {
		cover(1, v.Y)
	}
	for i, a := range []Axis{c.X, c.Y} {
		if a.Zero {
			cover(i, 0)
		}
	}
	return newScale(lo[0], hi[0], 5, false), newScale(lo[1], hi[1], 5, true)
}

// legend places the names of series and levels in rows above the plot and
// returns where they end.
func (l *layout) legend(series []Series, levels []Level) float64 {
	x, y := margin, margin
	place := func(name string, width float64) entry {
		all := width + letter*float64(utf8.RuneCountInString(name)) + 18
		if x+all > l.Width && x > margin {
			x, y = margin, y+line
		}
		e := entry{X: round(x + width + 6), Y: y, Name: name}
		x = round(x + all)
		return e
	}
	for i, s := range series {
		if s.Name == "" {
			continue
		}
		e := place(s.Name, 2*marker)
		e.Color, e.Shape = s.color(i), shape(i, e.X-marker-6, e.Y-4)
		l.Legend = append(l.Legend, e)
	}
	for _, v := range levels {
		if v.Name == "" {
			continue
		}
		e := place(v.Name, 5*marker)
		e.Dash = fmt.Sprintf("M%v %vh%v", e.X-5*marker-6, e.Y-4, 5*marker)
		l.Legend = append(l.Legend, e)
	}
	return y + line
}

func (s Series) color(i int) int {
	if s.Muted {
		return 0
	}
	return i%colors + 1
}

// colors is the number of colors in the style sheet.
const colors = 8

// shape outlines the marker of series i around a place: a circle, square,
// diamond or triangle, so that color is not all that tells series apart.
func shape(i int, x, y float64) string {
	const r = marker
	switch i % 4 {
	case 1:
		return fmt.Sprintf("M%v %vh%vv%vh%vz", round(x-r+.5), round(y-r+.5), 2*r-1, 2*r-1, 1-2*r)
	case 2:
		return fmt.Sprintf("M%v %vl%v %vl%v %vl%v %vz", round(x), round(y-r-1), r+1, r+1, -r-1, r+1, -r-1, -r-1)
	case 3:
		return fmt.Sprintf("M%v %vl%v %vh%vz", round(x), round(y-r-1), r+.5, 2*r, -2*r-1)
	}
	return fmt.Sprintf("M%v %va%v %v 0 1 0 %v 0a%v %v 0 1 0 %v 0z", round(x-r), round(y), r, r, 2*r, r, r, -2*r)
}
