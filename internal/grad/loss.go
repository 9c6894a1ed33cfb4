package grad

import (
	"fmt"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
)

// LossOptions say what is lost. The zero value is the mean cross-entropy over
// all classes.
type LossOptions struct {
	Classes  []int64 // logits to decide among, in this order; none means all
	MultiHot bool    // several classes per image: sigmoid instead of softmax, with targets between 0 and 1
	Weighted bool    // weigh each image with a further input, or each class of each image with MultiHot
	Sum      bool    // add up the images' losses instead of averaging them

	// Probabilities says that the logits are probabilities already. It is not
	// needed where a Softmax or Sigmoid of the model made them: its operand is
	// read instead.
	Probabilities bool
}

// Loss names the values that AddLoss made.
type Loss struct {
	Value     string // the loss, a scalar of type f32 or f64
	PerSample string // the loss of each image, [B], not weighted unless with MultiHot
	Labels    string // the input of labels: int64 [B], or targets [B, C] of the loss's type
	Weights   string // the input of weights, [B], or [B, C] with MultiHot; "" if there is none
}

// AddLoss appends a loss to m, computed from its value called logits, which
// has dimensions [B, C] besides axes of size 1. With C logits, or C classes
// chosen, a label is a number from 0 to C−1.
//
// Softmax cross-entropy of an image is −log softmax(z)[label]. With MultiHot
// it is the mean over classes of w·(log(1 + e^z) − t·z), with w = 1 unless
// Weighted. A weighted mean divides by the number of images and classes, not by
// the sum of weights.
func AddLoss(m *graph.Model, shapes *engine.Shapes, logits string, opt LossOptions) (Loss, error) {
	e := newEmitter(m, shapes, "loss")
	z, err := e.logits(m, logits, &opt)
	if err != nil {
		return Loss{}, err
	}
	dims := e.dims(z)
	if opt.Probabilities {
		z = e.fromProbabilities(z, opt.MultiHot)
	}
	var l Loss
	input := func(name string, elem graph.DType, dims []engine.Size) *graph.Value {
		v := m.Graph.AddInput(m.Graph.UniqueName(name), e.typeOf(info{dims, elem}))
		e.own[v] = info{dims, elem}
		return v
	}
	var each *graph.Value
	if opt.MultiHot {
		targets := input("targets", e.elem(z), dims)
		l.Labels = targets.Name()
		each = e.sub(e.unary("Softplus", z), e.mul(z, targets))
		if opt.Weighted {
			weights := input("weights", e.elem(z), dims)
			l.Weights = weights.Name()
			each = e.mul(each, weights)
		}
		each = e.mean(each, []int{1})
	} else {
		labels := input("labels", graph.Int64, dims[:1])
		l.Labels = labels.Name()
		classes := make([]int64, dims[1].Fixed)
		for i := range classes {
			classes[i] = int64(i)
		}
		hot := e.cast(e.compare("Equal", e.insert(labels, 1), e.ints(classes...)), e.elem(z))
		log := e.unary("LogSoftmax", z, graph.Int("axis", 1))
		each = e.unary("Neg", e.sum(e.mul(log, hot), []int{1}))
	}
	each = e.reshape(each, dims[:1])
	total := each
	if opt.Weighted && !opt.MultiHot {
		weights := input("weights", e.elem(z), dims[:1])
		l.Weights = weights.Name()
		total = e.mul(each, weights)
	}
	if opt.Sum {
		total = e.sum(total, []int{0})
	} else {
		total = e.mean(total, []int{0})
	}
	total = e.reshape(total, nil)
	if e.err != nil {
		return Loss{}, e.err
	}
	l.PerSample, l.Value = each.Name(), total.Name()
	return l, nil
}

// logits finds the value to compute the loss from and brings it to [B, C] in a
// type that a sum over images is exact enough in.
func (e *emitter) logits(m *graph.Model, name string, opt *LossOptions) (*graph.Value, error) {
	z := m.Graph.Value(name)
	where := fmt.Sprintf("logits %q", name)
	if z == nil || !e.elem(z).IsFloat() {
		return nil, &fault.Error{Kind: fault.Usage, Where: where, Got: "no floating-point value of that name", Want: "the logits of the classifier"}
	}
	dims := e.dims(z)
	if e.err != nil {
		return nil, e.err
	}
	classes := slices.DeleteFunc(slices.Clone(dims[min(1, len(dims)):]), func(d engine.Size) bool { return d == one })
	if len(dims) < 2 || len(classes) > 1 || len(classes) == 1 && classes[0].Dynamic() {
		return nil, &fault.Error{Kind: fault.Unsupported, Where: where, Got: fmt.Sprintf("dimensions %v", dims), Want: "[batch, classes]",
			Remedy: "name the output of the classifier"}
	}
	if n := z.Producer(); n.Is("Sigmoid") && opt.MultiHot || n.Is("Softmax", "LogSoftmax") && !opt.MultiHot && e.overClasses(n, dims) {
		z, opt.Probabilities = n.Input(0), false
	}
	if len(classes) == 0 {
		classes = ones(1)
	}
	z = e.reshape(z, []engine.Size{dims[0], classes[0]})
	if t := e.elem(z); t != graph.Float32 && t != graph.Float64 {
		z = e.cast(z, graph.Float32)
	}
	if len(opt.Classes) > 0 {
		for _, i := range opt.Classes {
			if i < 0 || i >= classes[0].Fixed {
				return nil, &fault.Error{Kind: fault.Usage, Where: where, Got: fmt.Sprintf("class %d", i), Want: fmt.Sprintf("0 to %d", classes[0].Fixed-1)}
			}
		}
		z = e.gather(z, e.ints(opt.Classes...), 1)
	}
	return z, e.err
}

// overClasses reports whether a Softmax with results of these dimensions takes
// the classes together, and not the images.
func (e *emitter) overClasses(n *graph.Node, dims []engine.Size) bool {
	axes := e.softmaxAxes(n, len(dims))
	return !slices.Contains(axes, 0) && slices.ContainsFunc(axes, func(a int) bool { return dims[a] != one })
}

// fromProbabilities undoes softmax, up to a constant that a softmax ignores,
// or sigmoid. Probabilities are kept away from 0, and from 1.
func (e *emitter) fromProbabilities(p *graph.Value, sigmoid bool) *graph.Value {
	least := e.num(e.elem(p), 1e-12)
	log := e.unary("Log", e.binary("Max", p, least))
	if !sigmoid {
		return log
	}
	return e.sub(log, e.unary("Log", e.binary("Max", e.from(1, p), least)))
}
