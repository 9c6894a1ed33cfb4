package measure

import (
	"context"
	"fmt"
	"slices"

	"nuwa/internal/data"
	"nuwa/internal/fault"
)

// Accuracy says how often a model is right on the images of the wanted
// classes. Shares are in 0..1.
//
// Where images may have several classes, every image counts, and each class is
// decided by itself: it is there where its logit is above 0, or its probability
// above one half. "Deciding among" classes is then judging those classes.
type Accuracy struct {
	Model         string       `json:"model"`
	MultiLabel    bool         `json:"multi_label,omitempty"`
	Images        int          `json:"images"`           // those of wanted classes
	PassedOver    int          `json:"passed_over"`      // those of other classes
	Probabilities bool         `json:"probabilities"`    // the model returns probabilities, not logits
	All           Score        `json:"all"`              // deciding among all logits
	Restricted    Score        `json:"restricted"`       // deciding among the wanted logits
	Classes       []ClassScore `json:"classes"`          // those with images, in the order of the set
	Unseen        []string     `json:"unseen,omitempty"` // wanted classes without images
}

// Score is how well one way to decide does.
type Score struct {
	Among        int      `json:"among"` // number of logits to decide among
	Correct      int      `json:"correct"`
	Accuracy     float64  `json:"accuracy"`
	Interval     Interval `json:"interval"`       // of Accuracy
	Macro        float64  `json:"macro_accuracy"` // mean of the classes' accuracies
	CrossEntropy float64  `json:"cross_entropy"`  // mean of −ln p(true class), p among the same logits

	// MeanAveragePrecision is the mean of the average precisions of the classes
	// that have images; 0 unless images may have several classes. Correct then
	// counts images with every class decided rightly, and CrossEntropy is the
	// binary one, averaged over classes.
	MeanAveragePrecision float64 `json:"mean_average_precision,omitempty"`
}

// Quality is the figure that choices go by: the accuracy, the mean of the
// classes' accuracies where they are balanced, or the mean average precision
// where images may have several classes.
func (s Score) Quality(multiLabel, balance bool) float64 {
	switch {
	case multiLabel:
		return s.MeanAveragePrecision
	case balance:
		return s.Macro
	}
	return s.Accuracy
}

// ClassScore is how well a model does on one class.
type ClassScore struct {
	Class      string  `json:"class"`
	Logit      int     `json:"logit"`
	Images     int     `json:"images"`
	All        float64 `json:"all"`
	Restricted float64 `json:"restricted"`

	// AveragePrecision is Σ (Rₙ − Rₙ₋₁)·Pₙ over the images in the order of the
	// class's logit, with precision P and recall R (see internal/ranking); 0
	// unless images may have several classes.
	AveragePrecision float64 `json:"average_precision,omitempty"`

	Mistakes []Mistake `json:"mistakes,omitempty"` // deciding among the wanted logits, most frequent first
}

// Mistake is a wrong class and the number of images taken for it.
type Mistake struct {
	Class  string `json:"class"`
	Logit  int    `json:"logit"`
	Images int    `json:"images"`
}

// Confusion returns the confusion matrix of the restricted decision: a row for
// each of Classes, and a column for each of the given logits.
func (a *Accuracy) Confusion(logits []int) [][]int {
	out := make([][]int, len(a.Classes))
	for i, c := range a.Classes {
		out[i] = make([]int, len(logits))
		right := c.Images
		for _, m := range c.Mistakes {
			right -= m.Images
			if k := slices.Index(logits, m.Logit); k >= 0 {
				out[i][k] = m.Images
			}
		}
		if k := slices.Index(logits, c.Logit); k >= 0 {
			out[i][k] = right
		}
	}
	return out
}

// EvalOptions says what to evaluate. The zero value takes all classes.
type EvalOptions struct {
	Batch    int                   // images per run; 0 for a good number. A model of fixed batch keeps its own
	Wanted   []int                 // the logits of the wanted classes; nil means all
	Names    []string              // class names by logit, for mistakes; may be nil
	Progress func(done, total int) // called after each batch; may be nil
}

// Evaluate shows a model every image of a wanted class once. classOf holds, for
// each class of images, the number of its logit, or −1 if the model does not
// know it (see Sliced). Of equal logits the first one decides, so the
// restricted accuracy is never below the one over all.
//
// Outputs that are nowhere negative and sum up to 1 for every image are
// probabilities, and the cross-entropy is theirs. Where images may have several
// classes, all images are shown, and outputs between 0 and 1 are probabilities.
func Evaluate(ctx context.Context, m *Model, images Images, classOf []int, opt EvalOptions) (*Accuracy, error) {
	classes, labels := images.Classes(), images.Labels()
	if len(classes) == 0 {
		return nil, &fault.Error{Kind: fault.Data, Got: "images without classes", Want: "one folder per class, to tell right from wrong"}
	}
	if len(classOf) != len(classes) {
		return nil, &fault.Error{Kind: fault.Internal, Where: "evaluation", Got: fmt.Sprintf("the logits of %d classes", len(classOf)),
			Want: fmt.Sprintf("those of the set's %d classes", len(classes))}
	}
	if images.Truth() != nil {
		return evaluateMulti(ctx, m, images, classOf, opt)
	}
	wanted := func(logit int) bool { return logit >= 0 && (opt.Wanted == nil || slices.Contains(opt.Wanted, logit)) }
	var idx []int
	for i, c := range labels {
		if c >= 0 && wanted(classOf[c]) {
			idx = append(idx, i)
		}
	}
	if len(idx) == 0 {
		return nil, &fault.Error{Kind: fault.Data, File: m.Name, Got: fmt.Sprintf("no image of a wanted class among %d", len(labels)),
			Want: "at least one", Remedy: "check that the folders are called like the wanted classes"}
	}
	var t *tally
	done := 0
	err := m.each(ctx, images, idx, opt.Batch, func(b data.Batch, x rows) (err error) {
		if t == nil {
			if t, err = newTally(m.Name, x.cols, classOf, opt.Wanted); err != nil {
				return err
			}
		}
		for i, c := range b.Labels {
			t.add(x.row(i), c)
		}
		done += len(b.Labels)
		if opt.Progress != nil {
			opt.Progress(done, len(idx))
		}
		return nil
	})
	if err == nil && t == nil {
		err = noImages(m.Name)
	}
	if err != nil {
		return nil, err
	}
	a := t.accuracy(classes, opt)
	a.Model, a.PassedOver = m.Name, len(labels)-len(idx)
	return a, nil
}

// Sliced turns the logits that classes have in a base model into those they
// have in a model that keeps only the logits kept, in that order: −1 where a
// class is gone.
func Sliced(classOf, kept []int) []int {
	out := make([]int, len(classOf))
	for i, l := range classOf {
		out[i] = slices.Index(kept, l)
	}
	return out
}
