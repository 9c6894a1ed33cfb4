package grad

import (
	"fmt"
	"slices"
	"strings"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
)

// Options say how a gradient is computed; they never change its value by more
// than rounding.
type Options struct {
	// Keep holds every activation until the gradient comes back to it, instead
	// of computing it again. It is faster and takes memory that grows with the
	// depth of the model.
	Keep bool
}

// Backward returns a copy of m that also returns loss, which must be a single
// number, and its gradients with respect to the values wrt: inputs of m or
// results of its nodes. The map tells the output that holds the gradient of
// each, of the dimensions of the value itself. The outputs of m stay.
//
// shapes must be those of m. A value that the loss does not depend on, or an
// operator on the way that has no rule, is an error of kind
// fault.Unsupported.
func Backward(m *graph.Model, loss string, wrt []string, shapes *engine.Shapes, opt Options) (*graph.Model, map[string]string, error) {
	if opt.Keep {
		return backward(m, loss, wrt, shapes, nil)
	}
	return backward(m, loss, wrt, shapes, (*emitter).plan)
}

// backward is Backward with the nodes cut into segments by cut, which returns
// the number of each one's segment; with nil there is one segment.
func backward(m *graph.Model, loss string, wrt []string, shapes *engine.Shapes, cut cutter) (*graph.Model, map[string]string, error) {
	c := m.Clone()
	c.IRVersion = max(c.IRVersion, 4) // earlier versions have no constants beside the inputs
	if v := c.Opset(""); v < 9 {
		return nil, nil, &fault.Error{Kind: fault.Unsupported, Where: "gradient", Got: fmt.Sprintf("opset %d", v), Want: "opset 9 or later",
			Remedy: "export the model again with a later opset"}
	}
	s := &sweep{
		emitter: newEmitter(c, shapes, "grad"),
		active:  map[*graph.Value]bool{}, live: map[*graph.Node]bool{}, readers: map[*graph.Value]int{},
		given: map[*graph.Value][]share{}, totals: map[*graph.Value]share{},
	}
	values := make([]*graph.Value, len(wrt))
	for i, name := range wrt {
		values[i] = c.Graph.Value(name)
		if err := s.check(values[i], name); err != nil {
			return nil, nil, err
		}
	}
	l := c.Graph.Value(loss)
	if err := s.check(l, loss); err != nil {
		return nil, nil, err
	}
	if n, ok := product(s.dims(l)); !ok || n != one {
		return nil, nil, &fault.Error{Kind: fault.Usage, Where: fmt.Sprintf("loss %q", loss), Got: fmt.Sprintf("%d dimensions", len(s.dims(l))),
			Want: "a single number", Remedy: "reduce it to its mean or sum"}
	}
	if err := c.Graph.Sort(); err != nil {
		return nil, nil, &fault.Error{Kind: fault.Model, Err: err}
	}
	s.activate(l, values)
	s.again = newReplay(s.emitter, slices.Clone(c.Graph.Nodes()), l, cut)
	s.run(l, values)
	names := s.finish(l, values)
	if s.err != nil {
		return nil, nil, s.err
	}
	engine.Trim(c.Graph)
	return c, names, nil
}

// sweep is one pass from the loss back to the values asked for.
type sweep struct {
	*emitter
	again   *replay
	active  map[*graph.Value]bool    // on the way from a value asked for to the loss
	live    map[*graph.Node]bool     // the nodes between those
	readers map[*graph.Value]int     // how often live nodes that were not visited yet read a value
	given   map[*graph.Value][]share // shares of the gradient of a value
	totals  map[*graph.Value]share   // gradients whose shares were all added
}

// share is a part of a gradient: the number k times the elements of v. A nil v
// stands for zero. Where span is set, v is only what belongs to that stretch
// of an axis; the rest is zero.
type share struct {
	v    *graph.Value
	k    float64
	span *span
}

// span is a stretch of an axis, from start on.
type span struct {
	axis  int
	start int64
}

// check reports a name that no floating-point value has.
func (s *sweep) check(v *graph.Value, name string) error {
	switch {
	case v == nil:
		return &fault.Error{Kind: fault.Usage, Where: "gradient", Got: fmt.Sprintf("%q, which is no value of the model", name), Want: "the name of a value"}
	case !s.elem(v).IsFloat():
		return &fault.Error{Kind: fault.Usage, Where: fmt.Sprintf("value %q", name), Got: "elements of type " + s.elem(v).String(), Want: "floating-point numbers"}
	}
	s.dims(v)
	return s.err
}

// activate marks the values that depend on one of values and that loss depends
// on, the nodes between them, and counts how often these read each value.
func (s *sweep) activate(loss *graph.Value, values []*graph.Value) {
	nodes := s.g.Nodes()
	needed := map[*graph.Value]bool{loss: true}
	for _, n := range slices.Backward(nodes) {
		if slices.ContainsFunc(n.Outputs(), func(v *graph.Value) bool { return needed[v] }) {
			for _, v := range reads(n) {
				needed[v] = true
			}
		}
	}
	active := func(v *graph.Value) bool { return s.active[v] }
	for _, v := range values {
		s.active[v] = needed[v]
		if !needed[v] {
			s.fail(noPath(loss, v))
		}
	}
	for _, n := range nodes {
		if !slices.ContainsFunc(reads(n), active) {
			continue
		}
		for _, v := range n.Outputs() {
			if v != nil && needed[v] && s.elem(v).IsFloat() {
				s.active[v], s.live[n] = true, true
			}
		}
		if s.live[n] {
			for _, v := range reads(n) {
				s.readers[v]++
			}
		}
	}
}

func noPath(loss, v *graph.Value) error {
	return &fault.Error{Kind: fault.Unsupported, Where: fmt.Sprintf("value %q", v.Name()), Got: fmt.Sprintf("a value that %q does not depend on smoothly", loss.Name()),
		Want: "one with a gradient", Remedy: "ask for values between the inputs and the loss"}
}

// reads returns the values that n reads, once for each time.
func reads(n *graph.Node) []*graph.Value {
	vs := slices.DeleteFunc(slices.Clone(n.Inputs()), func(v *graph.Value) bool { return v == nil })
	return append(vs, captured(n)...)
}

// captured returns the values that are read by graphs inside n.
func captured(n *graph.Node) (vs []*graph.Value) {
	for _, g := range n.Subgraphs() {
		for _, inner := range g.Nodes() {
			vs = append(vs, reads(inner)...)
		}
		vs = append(vs, g.Outputs()...)
	}
	return vs
}

// run visits the nodes from the loss backward.
func (s *sweep) run(loss *graph.Value, values []*graph.Value) {
	if s.err != nil {
		return
	}
	s.given[loss] = []share{{v: s.reshape(s.num(s.elem(loss), 1), s.dims(loss)), k: 1}}
	for _, n := range slices.Backward(s.again.nodes) {
		if !s.live[n] {
			continue
		}
		s.visit(n)
		if s.err != nil {
			return
		}
		for _, v := range reads(n) {
			if s.readers[v]--; s.readers[v] == 0 && slices.Contains(values, v) {
				s.again.after(s.total(v).v)
			}
		}
	}
}

// visit gives each active operand of n its share of the gradient.
func (s *sweep) visit(n *graph.Node) {
	c := &call{sweep: s, node: n, dys: make([]*graph.Value, len(n.Outputs()))}
	for j, v := range n.Outputs() {
		if !s.active[v] {
			continue
		}
		t := s.total(v)
		switch {
		case t.v == nil || s.err != nil:
		case c.factor == 0:
			c.dys[j], c.factor = t.v, t.k
		default:
			c.dys[j] = s.times(t.v, t.k/c.factor)
		}
	}
	if c.factor == 0 {
		return
	}
	rule := rules[opName(n)]
	if rule == nil || slices.ContainsFunc(captured(n), func(v *graph.Value) bool { return s.active[v] }) {
		c.unsupported("an operator without a rule for its gradient", "lower it to simpler operators first, or ask for values after it")
		return
	}
	for _, v := range reads(n) {
		s.dims(v)
	}
	if s.err != nil {
		return
	}
	s.label = "grad/" + label(n)
	s.again.enter(n, c.dy())
	for i, v := range n.Inputs() {
		if !s.active[v] {
			continue
		}
		c.k, c.span = 1, nil
		if dv := rule(c, i); dv != nil && s.err == nil && c.k != 0 {
			s.give(v, share{dv, c.k * c.factor, c.span})
		}
	}
}

// label is what nodes made for n are named after.
func label(n *graph.Node) string {
	if n.Name != "" {
		return strings.Trim(n.Name, "/")
	}
	return n.Op
}

// give adds a share to the gradient of v. A share may be larger than v where v
// was broadcast, and smaller where it is the same along an axis.
func (s *sweep) give(v *graph.Value, x share) {
	if x.span == nil {
		x.v = s.sumTo(x.v, s.dims(v))
	}
	s.given[v] = append(s.given[v], x)
}

// total adds up what v was given.
func (s *sweep) total(v *graph.Value) share {
	if t, ok := s.totals[v]; ok {
		return t
	}
	var t share
	for _, x := range s.whole(v, s.given[v]) {
		if t.v == nil {
			t = x
		} else {
			t.v = s.add(t.v, s.times(x.v, x.k/t.k))
		}
	}
	if t.v != nil {
		t.v = s.expand(t.v, s.dims(v))
	}
	delete(s.given, v)
	s.totals[v] = t
	return t
}

// finish makes the loss and the gradients outputs.
func (s *sweep) finish(loss *graph.Value, values []*graph.Value) map[string]string {
	if !loss.IsOutput() && s.err == nil {
		loss.Type = s.typeOf(info{s.dims(loss), s.elem(loss)})
		s.g.AddOutput(loss)
	}
	names := map[string]string{}
	for _, v := range values {
		t := s.total(v)
		if t.v == nil {
			s.fail(noPath(loss, v))
		}
		if s.err != nil {
			return nil
		}
		if names[v.Name()] != "" {
			continue
		}
		s.label = "grad"
		out := s.times(t.v, t.k)
		if _, emitted := s.own[out]; !emitted || out.IsOutput() {
			out = s.g.Add("Identity", s.label, []*graph.Value{out}).Output(0)
			s.know(out, info{s.dims(v), s.elem(v)})
		}
		s.g.Rename(out, s.g.UniqueName("grad:"+v.Name()))
		s.g.AddOutput(out)
		names[v.Name()] = out.Name()
	}
	return names
}
