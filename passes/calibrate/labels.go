package calibrate

import (
	"fmt"

	"nuwa/graph"
	"nuwa/internal/fault"
	"nuwa/internal/grad"
)

// Labels say what the samples that feeds give show, in their order, as numbers
// of logits: one class each, or, in Several, any number of classes.
type Labels struct {
	Class   []int   // a negative one leaves the sample out
	Several [][]int // instead of Class
}

// Known reports whether there are labels.
func (l Labels) Known() bool { return l.Class != nil || l.Several != nil }

// Loss returns how the loss of a sample is computed: softmax cross-entropy, or
// the sigmoid one averaged over the classes.
func (l Labels) Loss() grad.LossOptions {
	return grad.LossOptions{Sum: true, MultiHot: l.Several != nil}
}

// Feed returns what the input of labels that the loss added to m takes for the
// n samples from number at on.
func (l Labels) Feed(m *graph.Model, loss grad.Loss, at, n int) (*graph.Tensor, error) {
	if known := max(len(l.Class), len(l.Several)); at+n > known {
		return nil, &fault.Error{Kind: fault.Internal, Where: "gradients", Got: fmt.Sprintf("%d samples", at+n), Want: fmt.Sprintf("%d, one per label", known)}
	}
	if l.Several == nil {
		labels := make([]int64, n)
		for i, c := range l.Class[at : at+n] {
			labels[i] = int64(c) // no class is negative: such a sample has a loss of zero
		}
		return graph.NewTensor([]int64{int64(n)}, labels), nil
	}
	in := m.Graph.Value(loss.Labels)
	dims, _ := in.Type.Dims()
	targets := make([]float64, int64(n)*dims[1])
	for i, classes := range l.Several[at : at+n] {
		for _, c := range classes {
			targets[int64(i)*dims[1]+int64(c)] = 1
		}
	}
	return graph.FromFloats(in.Type.Elem, []int64{int64(n), dims[1]}, targets)
}
