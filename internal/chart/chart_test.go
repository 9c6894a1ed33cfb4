package chart

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestScale(t *testing.T) {
	for _, c := range []struct {
		lo, hi float64
		whole  bool
		want   string // ticks
	}{
		{80, 97, true, "80 85 90 95 100"},
		{83.2, 100, true, "80 85 90 95 100"},
		{0, 48.66, false, "0 10 20 30 40 50"},
		{0, 0.0134, false, "0 0.005 0.010"},
		{-3, 7, true, "-4 -2 0 2 4 6 8"},
		{97, 97, true, "92 94 96 98 100 102"},
		{0, 0, true, "0 0.0002 0.0004 0.0006 0.0008 0.0010"},
		{1e9, 4.1e9, true, "1000000000 2000000000 3000000000 4000000000 5000000000"},
	} {
		s := newScale(c.lo, c.hi, 5, c.whole)
		var names []string
		for _, x := range s.ticks() {
			names = append(names, s.name(x))
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%v to %v: got ticks %s, want %s", c.lo, c.hi, got, c.want)
		}
		if s.from > c.lo || s.to < c.hi {
			t.Errorf("%v to %v: the scale goes from %v to %v", c.lo, c.hi, s.from, s.to)
		}
	}
}

var example = Chart{
	Title: `a < b & "c"`,
	X:     Axis{Label: "cost", Zero: true},
	Y:     Axis{Label: "accuracy, %"},
	Series: []Series{
		{Name: "one <b>", Points: []Point{{X: 10, Y: 90, Low: 85, High: 94, Label: "first & only"}, {X: 20, Y: math.NaN()}, {X: 30, Y: 95}}},
		{Name: "two", Points: []Point{{X: 40, Y: 80}}},
	},
	Levels: []Level{{Y: 97, Name: "base"}},
}

// attributes returns the attribute of every element of the class.
func attributes(t *testing.T, svg []byte, class, attribute string) []string {
	var out []string
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		tok, err := d.Token()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		e, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		at := map[string]string{}
		for _, a := range e.Attr {
			at[a.Name.Local] = a.Value
		}
		if slices.Contains(strings.Fields(at["class"]), class) {
			out = append(out, at[attribute])
		}
	}
}

// TestDrawing reads places back from the drawing.
func TestDrawing(t *testing.T) {
	svg := []byte(example.SVG())
	line := attributes(t, svg, "line", "d")
	if len(line) != 1 {
		t.Fatalf("%d lines, want that of the one series with two points", len(line))
	}
	var x1, y1, x2, y2, left, bottom, right float64
	if _, err := fmt.Sscanf(line[0], "M%f %fL%f %f", &x1, &y1, &x2, &y2); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(attributes(t, svg, "axis", "d")[5], "M%f %fH%f", &left, &bottom, &right); err != nil {
		t.Fatal(err)
	}
	unit := (right - left) / (1.03 * 40) // from 0 to a little beyond the largest
	if math.Abs(x1-left-10*unit) > 0.1 || math.Abs(x2-left-30*unit) > 0.1 {
		t.Errorf("points at %v and %v from %v, want 10 and 30 units of %v", x1, x2, left, unit)
	}
	var low, high float64
	if _, err := fmt.Sscanf(attributes(t, svg, "bounds", "d")[0], fmt.Sprintf("M%v %%fV%%f", x1), &low, &high); err != nil {
		t.Fatal(err)
	}
	if got, want := (low-y1)/(y1-y2), 1.0; math.Abs(got-want) > 0.02 {
		t.Errorf("the lower bound is %v steps of the line below it, want %v", got, want)
	}
	if n := len(attributes(t, svg, "mark", "d")); n != 3+2 {
		t.Errorf("%d markers, want those of three points and two names", n)
	}
	if !strings.Contains(string(svg), "<title>first &amp; only</title>") || !strings.Contains(string(svg), `one &lt;b&gt;`) {
		t.Errorf("labels are not as given: %s", svg)
	}
	if got := (Chart{Series: []Series{{Points: []Point{{X: math.Inf(1)}}}}}).SVG(); got != "" {
		t.Errorf("nothing to draw, yet %s", got)
	}
}

func TestStandalone(t *testing.T) {
	svg := example.Standalone()
	if got := attributes(t, svg, "chart", "width"); len(got) != 1 || got[0] != "440" {
		t.Errorf("width %q", got)
	}
	if !bytes.Contains(svg, []byte("prefers-color-scheme: dark")) {
		t.Error("the file has no dark colors")
	}
	if bytes.Contains([]byte(example.SVG()), []byte("<style")) {
		t.Error("a part of a page has a style sheet of its own")
	}
}

// TestLegend has more names than a row takes.
func TestLegend(t *testing.T) {
	c := Chart{}
	for i := range 9 {
		c.Series = append(c.Series, Series{Name: strings.Repeat("x", 5+3*i), Points: []Point{{X: float64(i)}}})
	}
	svg := []byte(c.SVG())
	for _, d := range attributes(t, svg, "mark", "d") {
		var x, y float64
		if _, err := fmt.Sscanf(d, "M%f %f", &x, &y); err != nil {
			t.Fatal(err)
		}
		if x < 0 || x > 440 || y < 0 || y > 300 {
			t.Errorf("a marker at %v, %v is outside", x, y)
		}
	}
}

// TestContrast holds text to a contrast of 4.5 with the paper, and lines to 3,
// as WCAG 2.1 wants them.
func TestContrast(t *testing.T) {
	parts := strings.SplitN(string(CSS), "@media", 2)
	for _, mode := range parts {
		color := map[string][3]float64{}
		for _, m := range regexp.MustCompile(`--chart-(\w+): #(\w{6});`).FindAllStringSubmatch(mode, -1) {
			n, err := strconv.ParseUint(m[2], 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			color[m[1]] = [3]float64{float64(n >> 16), float64(n >> 8 & 255), float64(n & 255)}
		}
		want := map[string]float64{"text": 4.5, "muted": 4.5, "axis": 3}
		for i := range colors {
			want[fmt.Sprint(i+1)] = 3
		}
		for name, least := range want {
			c, ok := color[name]
			if got := contrast(c, color["paper"]); !ok || got < least {
				t.Errorf("--chart-%s has contrast %.2f, want %v", name, got, least)
			}
		}
	}
}

func contrast(a, b [3]float64) float64 {
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func luminance(c [3]float64) float64 {
	l := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		v := c[i] / 255
		if v <= 0.04045 {
			v /= 12.92
		} else {
			v = math.Pow((v+0.055)/1.055, 2.4)
		}
		l += weight * v
	}
	return l
}
