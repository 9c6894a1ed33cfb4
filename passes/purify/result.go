package purify

import (
	"fmt"
	"slices"
	"time"

	"gonum.org/v1/gonum/mat"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/ranking"
	"nuwa/passes/structure"
)

// Result is what was learned.
type Result struct {
	Method  string  `json:"method"`
	Loss    string  `json:"loss"`
	Metric  string  `json:"metric"`    // what Before, After and the choice of the mask are: accuracy, mean accuracy of classes, or mean average precision
	Steps   int     `json:"steps"`     // taken
	Best    int     `json:"best_step"` // after which the mask was the one kept; 0 for the model as it was
	Stopped string  `json:"stopped"`   // why learning ended
	Before  Score   `json:"validation_before"`
	After   Score   `json:"validation_after"`
	Layers  []Layer `json:"layers"` // parallel to structure.ViT.MLPs
	Seconds float64 `json:"seconds"`
}

// Layer says how many of a layer's hidden neurons stay.
type Layer struct {
	Block  int    `json:"block"`
	Hidden int    `json:"hidden"`
	Kept   int    `json:"kept"`
	Reason string `json:"reason,omitempty"` // why the layer was left alone

	Keep []int `json:"-"` // ascending
}

// Removed returns how many neurons go in all.
func (r *Result) Removed() (n int) {
	for _, l := range r.Layers {
		n += l.Hidden - l.Kept
	}
	return n
}

// result reports the best mask of a run.
func (l *learner) result(vit *structure.ViT, stopped string) *Result {
	s := l.state
	return newResult(vit, Result{Method: l.options.Method, Loss: l.options.Loss, Metric: l.options.metric(), Steps: s.Step, Best: s.Best.Step, Stopped: stopped,
		Before: s.Base, After: s.Best.Score, Seconds: l.elapsed().Round(time.Millisecond).Seconds()}, s.Best.Keep)
}

// newResult adds to r the layers of vit, keep holding those that can be
// purified.
func newResult(vit *structure.ViT, r Result, keep [][]int) *Result {
	at := 0
	for _, m := range vit.MLPs {
		l := Layer{Hidden: m.Hidden, Kept: m.Hidden, Reason: m.Reason, Keep: ranking.UpTo(m.Hidden)}
		l.Block = slices.IndexFunc(vit.Blocks, func(b structure.Block) bool { return b.MLP == m })
		if m.Reason == "" {
			l.Keep = keep[at]
			l.Kept = len(l.Keep)
			at++
		}
		r.Layers = append(r.Layers, l)
	}
	return &r
}

// Remove takes the neurons that r does not keep out of m, which then gives
// what it gave under the mask. vit must be the one that r was learned with; it
// describes m no longer when a neuron went.
func Remove(m *graph.Model, vit *structure.ViT, r *Result) error {
	for i, l := range r.Layers {
		if l.Kept == l.Hidden {
			continue
		}
		site := vit.MLPs[i]
		w, b, err := site.Second.Weight()
		if err != nil {
			return err
		}
		if site.Second.B == nil {
			b = nil
		}
		out, _ := w.Dims()
		kept := mat.NewDense(out, l.Kept, nil)
		for j, from := range l.Keep {
			kept.SetCol(j, mat.Col(nil, from, w))
		}
		if err := site.Rebuild(m, l.Keep, kept, b); err != nil {
			return fmt.Errorf("hidden layer of block %d: %w", l.Block, err)
		}
	}
	engine.Trim(m.Graph) // what was replaced would not fit any more
	return nil
}
