package measure

import (
	"context"
	"fmt"
	"math"
	"slices"

	"nuwa/internal/data"
	"nuwa/internal/fault"
	"nuwa/internal/ranking"
)

// evaluateMulti shows a model every image once, where an image may have
// several classes: each class that the model knows is decided by itself. Those
// without any wanted class are negatives of all.
func evaluateMulti(ctx context.Context, m *Model, images Images, classOf []int, opt EvalOptions) (*Accuracy, error) {
	truth := images.Truth()
	if len(truth) == 0 {
		return nil, noImages(m.Name)
	}
	if !slices.ContainsFunc(classOf, func(l int) bool { return l >= 0 && (opt.Wanted == nil || slices.Contains(opt.Wanted, l)) }) {
		return nil, &fault.Error{Kind: fault.Data, File: m.Name, Got: "no wanted class among those of the images", Want: "at least one",
			Remedy: "check that they are called alike"}
	}
	var t *multiTally
	err := m.each(ctx, images, nil, opt.Batch, func(b data.Batch, x rows) error {
		if t == nil {
			if _, err := newTally(m.Name, x.cols, classOf, opt.Wanted); err != nil { // which checks the numbers
				return err
			}
			t = newMultiTally(classOf)
		}
		for i, at := range b.Indices {
			t.add(x.row(i), truth[at])
		}
		if opt.Progress != nil {
			opt.Progress(t.images, len(truth))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	a := t.accuracy(images.Classes(), opt)
	a.Model = m.Name
	return a, nil
}

// multiTally collects the logits of each class.
type multiTally struct {
	classOf       []int       // logit of each class of the set, −1 where the model has none
	scores        [][]float64 // per class, one for each image
	has           [][]bool    // whether the image has the class
	images        int
	probabilities bool // nothing seen so far is outside 0..1
}

func newMultiTally(classOf []int) *multiTally {
	return &multiTally{classOf: classOf, scores: make([][]float64, len(classOf)), has: make([][]bool, len(classOf)), probabilities: true}
}

func (t *multiTally) add(row []float64, classes []int) {
	t.images++
	for c, l := range t.classOf {
		if l < 0 {
			continue
		}
		t.scores[c] = append(t.scores[c], row[l])
		t.has[c] = append(t.has[c], slices.Contains(classes, c))
	}
	t.probabilities = t.probabilities && between01(row)
}

func between01(row []float64) bool {
	return !slices.ContainsFunc(row, func(x float64) bool { return x < 0 || x > 1 })
}

// threshold is what a score must exceed for the class to be there: half, as a
// probability.
func threshold(probabilities bool) float64 {
	if probabilities {
		return 0.5
	}
	return 0
}

// decisions counts the images for which two models decide every common class
// alike, for each way to read their outputs.
type decisions struct {
	alike         [2][2]int // by whether the first's, and the second's outputs are probabilities
	probabilities [2]bool   // nothing seen so far is outside 0..1
}

func (d *decisions) add(pairs []Pair, x, y []float64) {
	d.probabilities[0] = d.probabilities[0] && between01(x)
	d.probabilities[1] = d.probabilities[1] && between01(y)
	for i := range d.alike {
		for j := range d.alike[i] {
			if !slices.ContainsFunc(pairs, func(p Pair) bool { return (x[p.First] > threshold(i == 1)) != (y[p.Second] > threshold(j == 1)) }) {
				d.alike[i][j]++
			}
		}
	}
}

func (d *decisions) same() int {
	at := map[bool]int{true: 1}
	return d.alike[at[d.probabilities[0]]][at[d.probabilities[1]]]
}

// elementLoss is the binary cross-entropy of one logit or probability.
func elementLoss(x float64, has, probability bool) float64 {
	switch {
	case probability && has:
		return -math.Log(max(x, math.SmallestNonzeroFloat32))
	case probability:
		return -math.Log(max(1-x, math.SmallestNonzeroFloat32))
	case has:
		x = -x
	}
	return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) // ln(1 + eˣ) without overflow
}

func (t *multiTally) accuracy(classes []string, opt EvalOptions) *Accuracy {
	a := &Accuracy{MultiLabel: true, Probabilities: t.probabilities, Images: t.images}
	wanted := func(l int) bool { return opt.Wanted == nil || slices.Contains(opt.Wanted, l) }
	limit := threshold(t.probabilities)
	wrong := [2][]bool{make([]bool, t.images), make([]bool, t.images)} // images with a wrong decision among all, and among wanted classes
	means := [2]*Score{&a.All, &a.Restricted}
	var ranked [2]int
	for c, l := range t.classOf {
		if l < 0 {
			continue
		}
		in := means[:]
		if !wanted(l) {
			in = means[:1]
		}
		right, positives, loss := 0, 0, 0.0
		for i, x := range t.scores[c] {
			has := t.has[c][i]
			if has {
				positives++
			}
			if (x > limit) == has {
				right++
			} else {
				for k := range in {
					wrong[k][i] = true
				}
			}
			loss += elementLoss(x, has, t.probabilities)
		}
		s := ClassScore{Class: classes[c], Logit: l, Images: positives, All: share(right, t.images), Restricted: share(right, t.images)}
		ap, ok := ranking.AveragePrecision(t.scores[c], t.has[c])
		s.AveragePrecision = ap
		for k, m := range in {
			m.Among++
			m.Macro += s.All
			m.CrossEntropy += loss / float64(t.images)
			if ok {
				m.MeanAveragePrecision += ap
				ranked[k]++
			}
		}
		switch {
		case !wanted(l):
		case ok:
			a.Classes = append(a.Classes, s)
		default:
			a.Unseen = append(a.Unseen, classes[c])
		}
	}
	for k, m := range means {
		for _, w := range wrong[k] {
			if !w {
				m.Correct++
			}
		}
		m.Accuracy, m.Interval = share(m.Correct, t.images), wilson(m.Correct, t.images)
		m.Macro /= float64(m.Among)
		m.CrossEntropy /= float64(m.Among)
		m.MeanAveragePrecision /= float64(max(1, ranked[k]))
	}
	for _, l := range opt.Wanted {
		if slices.Contains(t.classOf, l) {
			continue
		}
		name := fmt.Sprintf("logit %d", l)
		if l < len(opt.Names) {
			name = opt.Names[l]
		}
		a.Unseen = append(a.Unseen, name)
	}
	return a
}

// precision is the table of average precisions.
func (s *Summary) precision() table {
	var t table
	cols := s.columns()
	line := func(name string, cell func(c column) string) {
		cells := []string{name}
		for _, c := range cols {
			cells = append(cells, cell(c))
		}
		t.row(cells...)
	}
	line("average precision in %", func(c column) string { return c.model })
	line("classes", func(c column) string {
		if n := c.score().Among; c.restricted && c.acc.All.Among != n {
			return fmt.Sprintf("wanted %d", n)
		}
		return fmt.Sprintf("all %d", c.score().Among)
	})
	line("images", func(c column) string { return fmt.Sprint(c.acc.Images) })
	line("mean of classes", func(c column) string { return percent(c.score().MeanAveragePrecision) })
	classRows(&t, cols, func(_ column, c ClassScore) string { return percent(c.AveragePrecision) })
	line("all decisions right", func(c column) string { return percent(c.score().Accuracy) })
	line("decisions right", func(c column) string { return percent(c.score().Macro) })
	line("cross-entropy", func(c column) string { return fmt.Sprintf("%.4f", c.score().CrossEntropy) })
	unseen(&t, cols)
	return t
}
