package measure

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"nuwa/internal/fault"
	"nuwa/internal/ranking"
)

// tally counts decisions.
type tally struct {
	classOf []int         // logit of each class of the set
	all     []int         // 0 … logits−1
	wanted  []int         // ascending
	images  []int         // per class
	right   []int         // per class, deciding among all
	decided []map[int]int // per class: how often each logit won among wanted

	lossAll, lossWanted   float64 // summed cross-entropy of the rows as logits
	plossAll, plossWanted float64 // the same as probabilities
	probabilities         bool    // no row seen so far contradicts
}

func newTally(name string, logits int, classOf, wanted []int) (*tally, error) {
	t := &tally{classOf: classOf, all: ranking.UpTo(logits), wanted: slices.Sorted(slices.Values(wanted)), probabilities: logits > 1}
	if wanted == nil {
		t.wanted = t.all
	}
	bad := func(where string, l int) error {
		return &fault.Error{Kind: fault.Usage, File: name, Where: where, Got: fmt.Sprintf("logit %d", l),
			Want: fmt.Sprintf("0 to %d, each at most once", logits-1), Remedy: "give the classes and labels that belong to this model"}
	}
	for i, l := range t.wanted {
		if l < 0 || l >= logits || i > 0 && t.wanted[i-1] == l {
			return nil, bad("wanted classes", l)
		}
	}
	for _, l := range classOf {
		if l < -1 || l >= logits {
			return nil, bad("classes of the images", l)
		}
	}
	n := len(classOf)
	t.images, t.right, t.decided = make([]int, n), make([]int, n), make([]map[int]int, n)
	for c := range t.decided {
		t.decided[c] = map[int]int{}
	}
	return t, nil
}

// add counts one image of class c of the set.
func (t *tally) add(row []float64, c int) {
	y := t.classOf[c]
	t.images[c]++
	if best(row, t.all) == y {
		t.right[c]++
	}
	t.decided[c][best(row, t.wanted)]++
	t.lossAll += logitLoss(row, t.all, y)
	t.lossWanted += logitLoss(row, t.wanted, y)
	if t.probabilities = t.probabilities && isDistribution(row); t.probabilities {
		t.plossAll += probabilityLoss(row, t.all, y)
		t.plossWanted += probabilityLoss(row, t.wanted, y)
	}
}

// best returns the first of the given positions at which row is largest.
func best(row []float64, among []int) int {
	b := among[0]
	for _, k := range among[1:] {
		if row[k] > row[b] {
			b = k
		}
	}
	return b
}

// logitLoss is −ln softmax(row)[y], the softmax taken over the given positions.
func logitLoss(row []float64, among []int, y int) float64 {
	top := row[best(row, among)]
	sum := 0.0
	for _, k := range among {
		sum += math.Exp(row[k] - top)
	}
	return math.Log(sum) + top - row[y]
}

// probabilityLoss is −ln(row[y] / Σ row) over the given positions. What
// underflowed to 0 counts as the smallest float32.
func probabilityLoss(row []float64, among []int, y int) float64 {
	sum := 0.0
	for _, k := range among {
		sum += max(row[k], math.SmallestNonzeroFloat32)
	}
	return math.Log(sum) - math.Log(max(row[y], math.SmallestNonzeroFloat32))
}

// isDistribution allows for the rounding of half precision.
func isDistribution(row []float64) bool {
	sum := 0.0
	for _, p := range row {
		if p < 0 {
			return false
		}
		sum += p
	}
	return math.Abs(sum-1) < 0.01
}

func (t *tally) accuracy(classes []string, opt EvalOptions) *Accuracy {
	a := &Accuracy{Probabilities: t.probabilities}
	name := func(logit int) string {
		if c := slices.Index(t.classOf, logit); c >= 0 {
			return classes[c]
		}
		if logit < len(opt.Names) {
			return opt.Names[logit]
		}
		return fmt.Sprintf("logit %d", logit)
	}
	a.All.Among, a.Restricted.Among = len(t.all), len(t.wanted)
	for c, n := range t.images {
		if n == 0 {
			continue
		}
		y := t.classOf[c]
		right := t.decided[c][y]
		s := ClassScore{Class: classes[c], Logit: y, Images: n, All: share(t.right[c], n), Restricted: share(right, n)}
		for l, k := range t.decided[c] {
			if l != y {
				s.Mistakes = append(s.Mistakes, Mistake{name(l), l, k})
			}
		}
		slices.SortFunc(s.Mistakes, func(a, b Mistake) int {
			return cmp.Or(cmp.Compare(b.Images, a.Images), cmp.Compare(a.Logit, b.Logit))
		})
		a.Classes = append(a.Classes, s)
		a.Images += n
		a.All.Correct += t.right[c]
		a.Restricted.Correct += right
		a.All.Macro += s.All
		a.Restricted.Macro += s.Restricted
	}
	a.All.CrossEntropy, a.Restricted.CrossEntropy = t.lossAll, t.lossWanted
	if t.probabilities {
		a.All.CrossEntropy, a.Restricted.CrossEntropy = t.plossAll, t.plossWanted
	}
	for _, s := range []*Score{&a.All, &a.Restricted} {
		s.Accuracy, s.Interval = share(s.Correct, a.Images), wilson(s.Correct, a.Images)
		s.Macro /= float64(len(a.Classes))
		s.CrossEntropy /= float64(a.Images)
	}
	for _, l := range opt.Wanted {
		if !slices.ContainsFunc(a.Classes, func(s ClassScore) bool { return s.Logit == l }) {
			a.Unseen = append(a.Unseen, name(l))
		}
	}
	return a
}

func share(k, n int) float64 { return float64(k) / float64(n) }
