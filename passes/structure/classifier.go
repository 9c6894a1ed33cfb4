package structure

import (
	"fmt"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// Classifier is an output whose channels are classes: one linear map, or
// several whose results are combined class by class, as distilled models
// average two heads.
type Classifier struct {
	Output  *graph.Value
	Index   int // of Output among the graph's outputs
	Linears []*Linear
	Classes int
	Softmax bool // the output is probabilities, not logits

	nodes []*graph.Node // between the linear maps and Output
}

// classifiers looks behind every floating-point output for linear maps that
// give one number per class.
func (f *finder) classifiers() []*Classifier {
	var found []*Classifier
	for i, out := range f.g.Outputs() {
		d, ok := f.shapes.Of(out)
		if !ok || len(d) < 2 || d[len(d)-1].Dynamic() || !f.shapes.Elem(out).IsFloat() {
			continue
		}
		c := &Classifier{Output: out, Index: i, Classes: int(d[len(d)-1].Fixed)}
		if f.classifier(c, out, map[*graph.Value]bool{}) && len(c.Linears) > 0 && f.poolsTokens(d) {
			found = append(found, c)
		}
	}
	for { // a classifier that falls may leave another without the reader that made it sound
		i := slices.IndexFunc(found, func(c *Classifier) bool { return f.leaks(c, found) })
		if i < 0 {
			return found
		}
		found = slices.Delete(found, i, i+1)
	}
}

// leaks reports whether something that is no classifier reads what c computes
// per class, and declines c then: a number of a class, such as ArgMax gives,
// would mean another class afterwards.
func (f *finder) leaks(c *Classifier, all []*Classifier) bool {
	var inside []*graph.Node
	outputs := map[*graph.Value]bool{}
	for _, o := range all {
		inside = append(inside, o.nodes...)
		outputs[o.Output] = true
	}
	values := []*graph.Value{}
	for _, l := range c.Linears {
		values = append(values, l.Out)
	}
	for _, n := range c.nodes {
		values = append(values, n.Output(0))
	}
	for _, v := range values {
		reader := ""
		if v.IsOutput() && !outputs[v] {
			reader = "an output that is no classifier"
		}
		for _, n := range v.Users() {
			if !contains(inside, n) {
				reader = n.String()
			}
		}
		if reader != "" {
			f.decline(c.Linears[0].Node, "classifier", fmt.Sprintf("%q also goes to %s", v.Name(), reader))
			return true
		}
	}
	return false
}

// poolsTokens reports whether an output of these dimensions has one row per
// image: all but the batch and the classes are one.
func (f *finder) poolsTokens(d []engine.Size) bool {
	for _, s := range d[1 : len(d)-1] {
		if s != fixed(1) {
			return false
		}
	}
	return true
}

// classifier walks from v back to linear maps through operators that treat
// every class alike. It reports whether it arrived everywhere.
func (f *finder) classifier(c *Classifier, v *graph.Value, seen map[*graph.Value]bool) bool {
	if seen[v] {
		return true
	}
	seen[v] = true
	if l := f.linearOf[v]; l != nil {
		if l.OutDim != c.Classes || l.Axis != 1 {
			return false
		}
		c.Linears = append(c.Linears, l)
		return true
	}
	n := v.Producer()
	if n == nil || n.Domain != "" && n.Domain != "ai.onnx" {
		return false
	}
	switch {
	case n.Is("Softmax", "LogSoftmax"):
		d, _ := f.shapes.Of(v)
		if wrap(int(n.IntAttr("axis", map[bool]int64{true: -1, false: 1}[f.m.Opset("") >= 13])), len(d)) != len(d)-1 {
			return false
		}
		c.Softmax = true
	case n.Is("Identity", "Cast", "Sigmoid"):
	case n.Is("Add", "Mean", "Sum", "Sub", "Mul", "Div"):
		for i, x := range n.Inputs() {
			d, ok := f.shapes.Of(x)
			if !ok || !keepsOrder(n, i) || x.Const() == nil && (len(d) == 0 || d[len(d)-1] != fixed(c.Classes)) {
				return false
			}
		}
	case n.Is("Concat", "ReduceMean", "ReduceSum"): // of several heads, or of the rows that one gives
		if !f.keepsClasses(n, c.Classes) {
			return false
		}
	case n.Is("Gather"): // of the row of one token
		if d, ok := f.shapes.Of(n.Input(0)); !ok || n.Input(1).Const() == nil || wrap(int(n.IntAttr("axis", 0)), len(d)) == len(d)-1 {
			return false
		}
	case n.Is("Squeeze", "Unsqueeze", "Reshape", "Flatten"):
		if axis, ok := f.carryAxis(n, 1); !ok || axis != 1 || n.Is("Reshape") && len(computed(n)) != 1 {
			return false
		}
	default:
		return false
	}
	c.nodes = append(c.nodes, n)
	for _, x := range computed(n) {
		if !f.classifier(c, x, seen) {
			return false
		}
	}
	return true
}

// keepsClasses reports whether n, which joins or sums computed values along
// axes, leaves the last alone, which holds the classes.
func (f *finder) keepsClasses(n *graph.Node, classes int) bool {
	axes, ok := n.IntsAttr("axes")
	switch {
	case n.Is("Concat"):
		axes, ok = []int64{n.IntAttr("axis", 0)}, true
	case n.Input(1) != nil:
		if n.Input(1).Const() == nil {
			return false
		}
		xs, err := n.Input(1).Const().Ints()
		axes, ok = xs, err == nil
	}
	for i, v := range n.Inputs() {
		d, known := f.shapes.Of(v)
		if i > 0 && !n.Is("Concat") {
			break
		}
		if !ok || len(axes) == 0 || !known || len(d) < 2 || v.Const() != nil || d[len(d)-1] != fixed(classes) {
			return false
		}
		for _, a := range axes {
			if wrap(int(a), len(d)) == len(d)-1 {
				return false
			}
		}
	}
	return true
}

// keepsOrder reports whether n's result grows with operand i, or operand i is
// one constant that leaves the order of the classes as it is.
func keepsOrder(n *graph.Node, i int) bool {
	t := n.Input(i).Const()
	if t == nil {
		return n.Is("Add", "Mean", "Sum") || i == 0 && n.Is("Sub", "Div") && len(computed(n)) == 1 || n.Is("Mul") && len(computed(n)) == 1
	}
	xs, err := t.Floats()
	return err == nil && len(xs) == 1 && (xs[0] > 0 || !n.Is("Mul", "Div"))
}

// pooling names what turns tokens into the classifier's one row, walking back
// from the classifier through operators that keep the row.
func (f *finder) pooling(vit *ViT) string {
	if len(vit.Classifiers) == 0 {
		return ""
	}
	v := vit.Classifiers[0].Linears[0].In
	for range 40 {
		n := v.Producer()
		if n == nil {
			return ""
		}
		switch {
		case n.Is("GlobalAveragePool"):
			return "mean"
		case n.Is("ReduceMean"):
			in, _ := f.shapes.Of(n.Input(0))
			out, _ := f.shapes.Of(n.Output(0))
			if f.reducesTokens(in, out) {
				return "mean"
			}
		case n.Is("ReduceMax", "GlobalMaxPool"):
			return "max"
		case n.Is("Gather", "Slice", "Split"):
			return "class token"
		case n.Is("MatMul") && isProduct(n):
			return "attention"
		}
		cs := computed(n)
		if len(cs) == 0 {
			return ""
		}
		v = cs[0]
		for _, c := range cs { // the longer way round a decomposed norm
			if c.Producer() != nil && v.Producer() != nil && f.order[c.Producer()] < f.order[v.Producer()] {
				v = c
			}
		}
	}
	return ""
}

// reducesTokens tells a mean over tokens from the mean inside a decomposed
// norm, which is over channels, the last axis.
func (f *finder) reducesTokens(in, out []engine.Size) bool {
	if len(in) < 3 {
		return false
	}
	return len(out) > 0 && out[len(out)-1] != fixed(1) || len(out) == 0
}

// Narrow makes the shapes stated between the linear maps and the output fit
// classes instead of c.Classes.
func (c *Classifier) Narrow(m *graph.Model, classes int) error {
	for _, n := range c.nodes {
		if !n.Is("Reshape") || n.Input(1) == nil {
			continue
		}
		dims, err := n.Input(1).Const().Ints()
		if err != nil {
			return err
		}
		if last := len(dims) - 1; last >= 0 && dims[last] == int64(c.Classes) {
			dims[last] = int64(classes)
			n.SetInput(1, m.Graph.AddConst(n.Input(1).Name(), graph.NewTensor([]int64{int64(len(dims))}, dims)))
		}
	}
	return nil
}
