package graph

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Print writes m as text that is the same for the same model, for reading and
// for comparing before with after:
//
//	model ir=8 opset 17
//	graph main(%x: f32[batch,4]) -> (%y) {
//	  const %w: f32[4,2]
//	  %y: f32[batch,2] = MatMul(%x, %w)  # fc
//	}
//
// Small integer constants are shown with their elements.
func (m *Model) Print(w io.Writer) error {
	p := &printer{w: w}
	p.f("model ir=%d", m.IRVersion)
	for _, o := range m.Opsets {
		p.f(" opset %s", strings.TrimSpace(o.Domain+" "+strconv.FormatInt(o.Version, 10)))
	}
	p.f("\n")
	for _, e := range m.Metadata {
		p.f("meta %q = %q\n", e.Key, e.Value)
	}
	p.graph("", m.Graph)
	for _, f := range m.Functions {
		p.f("function %s.%s\n", f.Domain, f.Name)
		p.graph("", f.Body)
	}
	return p.err
}

// String returns the printed form of m.
func (m *Model) String() string {
	var b strings.Builder
	_ = m.Print(&b) // a Builder takes everything
	return b.String()
}

type printer struct {
	w   io.Writer
	err error
}

func (p *printer) f(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func (p *printer) graph(indent string, g *Graph) {
	p.f("%sgraph %s(", indent, g.Name)
	for i, v := range g.inputs {
		if i > 0 {
			p.f(", ")
		}
		p.f("%%%s: %s", v.name, v.Type)
	}
	p.f(") -> (%s) {\n", names(g.outputs))
	for _, v := range g.consts {
		switch {
		case v.sparse != nil:
			p.f("%s  sparse %%%s: %v\n", indent, v.name, v.sparse.Dims)
		default:
			p.f("%s  const %%%s: %s%s\n", indent, v.name, v.constant.Shape(), elements(v.constant))
		}
	}
	for _, n := range g.nodes {
		p.node(indent+"  ", n)
	}
	p.f("%s}\n", indent)
}

func (p *printer) node(indent string, n *Node) {
	p.f("%s", indent)
	for i, v := range n.outputs {
		if i > 0 {
			p.f(", ")
		}
		switch {
		case v == nil:
			p.f("_")
		case v.Type != nil:
			p.f("%%%s: %s", v.name, v.Type)
		default:
			p.f("%%%s", v.name)
		}
	}
	op := n.Op
	if canonDomain(n.Domain) != "" {
		op = n.Domain + "." + op
	}
	p.f(" = %s(%s)", op, names(n.inputs))
	var attrs []string
	for _, a := range n.attrs {
		if len(a.Graphs) == 0 {
			attrs = append(attrs, a.Name+"="+a.text())
		}
	}
	if len(attrs) > 0 {
		p.f(" {%s}", strings.Join(attrs, ", "))
	}
	if n.Name != "" {
		p.f("  # %s", n.Name)
	}
	p.f("\n")
	for _, a := range n.attrs {
		for _, g := range a.Graphs {
			p.f("%s  %s:\n", indent, a.Name)
			p.graph(indent+"  ", g)
		}
	}
}

func names(vs []*Value) string {
	s := make([]string, len(vs))
	for i, v := range vs {
		s[i] = "_"
		if v != nil {
			s[i] = "%" + v.name
		}
	}
	return strings.Join(s, ", ")
}

func (a *Attr) text() string {
	if a.Ref != "" {
		return "@" + a.Ref
	}
	switch a.Kind {
	case AttrFloat:
		return strconv.FormatFloat(float64(a.F), 'g', -1, 32)
	case AttrInt:
		return strconv.FormatInt(a.I, 10)
	case AttrString:
		return strconv.Quote(string(a.S))
	case AttrFloats:
		return fmt.Sprint(a.Floats)
	case AttrInts:
		return fmt.Sprint(a.Ints)
	case AttrStrings:
		return fmt.Sprintf("%q", a.Strings)
	case AttrTensor, AttrTensors:
		var s []string
		for _, t := range a.Tensors {
			s = append(s, t.Shape()+elements(t))
		}
		return strings.Join(s, ";")
	case AttrType, AttrTypes:
		return fmt.Sprint(a.Types)
	}
	return fmt.Sprintf("kind(%d)", a.Kind)
}

// elements shows up to eight numbers of a small constant, "" for others.
func elements(t *Tensor) string {
	if t.Len() > 8 {
		return ""
	}
	if xs, err := t.Ints(); err == nil {
		return " " + fmt.Sprint(xs)
	}
	if xs, err := t.Floats(); err == nil && len(xs) == 1 {
		return fmt.Sprintf(" [%g]", xs[0])
	}
	return ""
}
