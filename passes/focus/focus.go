// Package focus narrows a classifier to the wanted classes: rows of the last
// linear map outside the set are taken out of the decision.
//
//	err := focus.Slice(model, vit.Classifiers, []int{3, 5, 8}) // logits 3, 5 and 8, in that order
//	err := focus.Mask(model, vit.Classifiers, []int{3, 5, 8})  // all logits, the others at Masked
//
// A narrowed classifier must choose one of its classes whatever it sees.
// AddOther gives it a logit more, for everything else.
//
// It may import graph, passes/structure, passes/calibrate, internal/engine,
// internal/linalg, internal/ranking and internal/fault.
package focus

import (
	"fmt"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/internal/fault"
	"nuwa/passes/structure"
)

// Masked is the logit of a class that is out of the decision. It is within the
// range of every float type and far below any logit of a trained model, so its
// probability is zero.
const Masked = -1e4

// Slice keeps the logits of classes only, in that order: the outputs become
// narrower.
func Slice(m *graph.Model, heads []*structure.Classifier, classes []int) error {
	return each(heads, classes, func(l *structure.Linear, w *mat.Dense, b []float64) error {
		_, in := w.Dims()
		nw, nb := mat.NewDense(len(classes), in, nil), make([]float64, len(classes))
		for i, c := range classes {
			nw.SetRow(i, w.RawRowView(c))
			nb[i] = b[c]
		}
		if l.B == nil {
			nb = nil
		}
		return replace(m, l, nw, nb)
	}, func(c *structure.Classifier, name string) error { return resize(m, c, name, len(classes)) })
}

// resize makes what is declared of the output, and what lies before it, fit
// another number of classes.
func resize(m *graph.Model, c *structure.Classifier, output string, classes int) error {
	if t := m.Graph.Value(output).Type; t != nil && t.Shape != nil && len(t.Shape.Dims) > 0 {
		t.Shape.Dims[len(t.Shape.Dims)-1] = graph.Fixed(int64(classes))
	}
	return c.Narrow(m, classes)
}

// Mask keeps the width of the outputs: the rows of other classes become zero,
// their bias Masked.
func Mask(m *graph.Model, heads []*structure.Classifier, classes []int) error {
	return each(heads, classes, func(l *structure.Linear, w *mat.Dense, b []float64) error {
		wanted := make([]bool, l.OutDim)
		for _, c := range classes {
			wanted[c] = true
		}
		for c := range wanted {
			if !wanted[c] {
				w.SetRow(c, make([]float64, l.InDim))
				b[c] = Masked
			}
		}
		return replace(m, l, w, b)
	}, func(*structure.Classifier, string) error { return nil })
}

func each(heads []*structure.Classifier, classes []int, edit func(*structure.Linear, *mat.Dense, []float64) error, after func(c *structure.Classifier, output string) error) error {
	if len(heads) == 0 {
		return &fault.Error{Kind: fault.Unsupported, Got: "a model without a classifier that was understood",
			Want: "a linear map to one logit per class before the output", Remedy: "derive with --classes all to leave the outputs alone"}
	}
	if len(classes) == 0 {
		return &fault.Error{Kind: fault.Data, Got: "no class", Want: "at least one"}
	}
	done := map[*structure.Linear]bool{}
	for _, h := range heads {
		output := h.Output.Name() // which stays, as the model's signature does
		for _, c := range classes {
			if c < 0 || c >= h.Classes {
				return &fault.Error{Kind: fault.Data, Where: fmt.Sprintf("output %q", h.Output.Name()),
					Got: fmt.Sprintf("class %d", c), Want: fmt.Sprintf("0 to %d", h.Classes-1)}
			}
		}
		for _, l := range h.Linears {
			if done[l] {
				continue
			}
			done[l] = true
			w, b, err := l.Weight()
			if err != nil {
				return err
			}
			if err := edit(l, w, b); err != nil {
				return fmt.Errorf("%s: %w", l.Node, err)
			}
		}
		if err := after(h, output); err != nil {
			return err
		}
	}
	return nil
}

func replace(m *graph.Model, l *structure.Linear, w *mat.Dense, b []float64) error {
	y, err := l.Rebuild(m.Graph, l.Input(), l.Name(), w, b)
	if err != nil {
		return err
	}
	l.Out.ReplaceUses(y)
	return nil
}
