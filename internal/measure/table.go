package measure

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/rivo/uniseg"
)

// table lines up cells: the first column to the left, the others to the right.
type table [][]string

func (t *table) row(cells ...string) { *t = append(*t, cells) }

// write prints the rows, two spaces between columns. A row of one cell is a
// line of text that does not widen its column.
func (t table) write(w io.Writer) error {
	var widths []int
	for _, cells := range t {
		for i, c := range cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			if len(cells) > 1 {
				widths[i] = max(widths[i], uniseg.StringWidth(c))
			}
		}
	}
	var b strings.Builder
	for _, cells := range t {
		var line strings.Builder
		for i, c := range cells {
			pad := strings.Repeat(" ", max(0, widths[i]-uniseg.StringWidth(c)))
			if i == 0 {
				line.WriteString(c + pad)
			} else {
				line.WriteString("  " + pad + c)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func percent(x float64) string { return fmt.Sprintf("%.2f", 100*x) }

func percentRange(i Interval) string {
	return fmt.Sprintf("%.1f to %.1f", 100*i.Low, 100*i.High)
}

// count prints a number with three to four digits and k, M or G.
func count(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1e9, " G"}, {1e6, " M"}, {1e3, " k"}} {
		if n >= unit.size {
			return digits(float64(n)/float64(unit.size)) + unit.name
		}
	}
	return fmt.Sprint(n)
}

// byteSize prints a file size in decimal units, as file managers and networks do.
func byteSize(n int64) string {
	s := count(n)
	if n < 1e3 {
		return s + " B"
	}
	return strings.Replace(s, "k", "kB", 1) + map[bool]string{true: "B"}[n >= 1e6]
}

// duration prints a time with three to four digits.
func duration(d time.Duration) string {
	switch {
	case d >= time.Second:
		return digits(d.Seconds()) + " s"
	case d >= time.Millisecond:
		return digits(float64(d)/1e6) + " ms"
	}
	return digits(float64(d)/1e3) + " us"
}

func digits(x float64) string {
	switch {
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

// change prints by how much b differs from a, in percent of a.
func change(a, b float64) string {
	if a == 0 {
		return ""
	}
	return fmt.Sprintf(" (%+.1f %%)", 100*(b-a)/a)
}

// faster puts a ratio of times into words.
func faster(ratio float64) string {
	if ratio < 1 {
		return fmt.Sprintf("%.2fx slower", 1/ratio)
	}
	return fmt.Sprintf("%.2fx faster", ratio)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, one)
	}
	return fmt.Sprintf("%d %s", n, many)
}
