package measure

import (
	"fmt"
	"io"
	"strings"

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

// faster puts a ratio of times into words.
func faster(ratio float64) string {
	if ratio < 1 {
		return fmt.Sprintf("%.2fx slower", 1/ratio)
	}
	return fmt.Sprintf("%.2fx faster", ratio)
}
