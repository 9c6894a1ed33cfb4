package report

import (
	"cmp"
	"fmt"
	"slices"

	"nuwa/internal/figures"
	"nuwa/internal/measure"
)

// matrix shows for the images of each class what they were taken for.
type matrix struct {
	Who     string
	Small   bool // cells are too many for numbers
	Columns []string
	Rows    []matrixRow
}

type matrixRow struct {
	Class string
	Cells []cell
}

type cell struct {
	Images int
	Right  bool
	Tint   float64 // part of the row's images, in percent
	Title  string
}

// mixed is a class, what it is mistaken for, and on how many images.
type mixed struct {
	Class, For    string
	Before, After int
	Images        int
}

// Classes beyond these make a matrix that nobody reads.
const (
	numberedClasses = 12
	matrixClasses   = 40
	shownMistakes   = 10
)

func (a *accuracies) confusions() {
	if n := len(a.slim.Classes); n > 1 && n <= matrixClasses {
		a.Before, a.After = newMatrix("base", a.base), newMatrix("slim", a.slim)
	}
	if len(a.slim.Classes) < 3 {
		return
	}
	at := map[[2]string]int{}
	for i, acc := range []*measure.Accuracy{a.base, a.slim} {
		for _, c := range acc.Classes {
			for _, m := range c.Mistakes {
				k := [2]string{c.Class, m.Class}
				if _, ok := at[k]; !ok {
					at[k] = len(a.Mixed)
					a.Mixed = append(a.Mixed, mixed{Class: c.Class, For: m.Class, Images: c.Images})
				}
				if i == 0 {
					a.Mixed[at[k]].Before = m.Images
				} else {
					a.Mixed[at[k]].After = m.Images
				}
			}
		}
	}
	slices.SortStableFunc(a.Mixed, func(x, y mixed) int {
		return cmp.Or(cmp.Compare(max(y.Before, y.After), max(x.Before, x.After)), cmp.Compare(y.After, x.After))
	})
	a.Mixed = a.Mixed[:min(len(a.Mixed), shownMistakes)]
}

func newMatrix(who string, a *measure.Accuracy) *matrix {
	m := &matrix{Who: who}
	var logits []int
	for _, c := range a.Classes {
		logits, m.Columns = append(logits, c.Logit), append(m.Columns, c.Class)
	}
	for _, c := range a.Classes { // wanted classes without images of their own
		for _, x := range c.Mistakes {
			if !slices.Contains(logits, x.Logit) {
				logits, m.Columns = append(logits, x.Logit), append(m.Columns, x.Class)
			}
		}
	}
	m.Small = len(m.Columns) > numberedClasses
	for i, row := range a.Confusion(logits) {
		c := a.Classes[i]
		r := matrixRow{Class: c.Class}
		for k, n := range row {
			taken := "taken for " + m.Columns[k]
			if k == i {
				taken = "recognized"
			}
			r.Cells = append(r.Cells, cell{Images: n, Right: k == i, Tint: 100 * float64(n) / float64(max(1, c.Images)),
				Title: fmt.Sprintf("%s: %d of %s %s", c.Class, n, figures.Plural(c.Images, "image", "images"), taken)})
		}
		m.Rows = append(m.Rows, r)
	}
	return m
}
