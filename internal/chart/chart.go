package chart

import (
	"bytes"
	_ "embed"
	"html/template"
	"math"
	"slices"
)

// Chart is one plot with lines, points and levels.
type Chart struct {
	Title  string // what it shows, for those who cannot see it
	X, Y   Axis
	Series []Series
	Levels []Level
	Width  float64 // in pixels, of the drawing before the reader scales it; 0 means 440
	Height float64 // 0 means 300
}

// Axis says how numbers become places.
type Axis struct {
	Label string // with the unit
	Zero  bool   // start at 0, whatever the smallest number is
}

// Series is a sequence of points that a line goes through, in their order.
type Series struct {
	Name   string // "" for none in the legend
	Points []Point
	Bare   bool // no line, only points
	Muted  bool // in the color of levels
}

// Point is one measurement. Points that are not finite are left out.
type Point struct {
	X, Y      float64
	Low, High float64 // bounds of Y; equal where there are none
	Label     string  // shown when the point is pointed at
}

// Level is a horizontal line that others are held against.
type Level struct {
	Y    float64
	Name string
}

// CSS styles what SVG returns, light and dark. Series take the colors
// --chart-1 to --chart-8, in turns.
//
//go:embed chart.css
var CSS template.CSS

//go:embed chart.svg.tmpl
var source string

var drawing = template.Must(template.New("chart").Parse(source))

// SVG draws the chart as an element of a page. A chart without any point is "".
func (c Chart) SVG() template.HTML { return c.draw(false) }

// Standalone draws the chart as the content of an SVG file.
func (c Chart) Standalone() []byte { return []byte(c.draw(true)) }

func (c Chart) draw(alone bool) template.HTML {
	if c.Width == 0 {
		c.Width = 440
	}
	if c.Height == 0 {
		c.Height = 300
	}
	c.Series = slices.Clone(c.Series)
	points := 0
	for i, s := range c.Series {
		c.Series[i].Points = slices.DeleteFunc(slices.Clone(s.Points), func(p Point) bool { return !finite(p.X) || !finite(p.Y) })
		points += len(c.Series[i].Points)
	}
	if points == 0 {
		return ""
	}
	l := c.layout()
	if alone {
		l.Style = CSS
	}
	var b bytes.Buffer
	if err := drawing.Execute(&b, l); err != nil {
		panic(err) // the template and what it is given are both this package's
	}
	return template.HTML(b.String())
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
