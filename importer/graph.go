package importer

import (
	"fmt"

	"nuwa/graph"
	"nuwa/internal/onnxpb"

	"google.golang.org/protobuf/proto"
)

// graph fills the empty graph g. All values of g get to exist before any is
// read, so nodes may come in any order; a nested graph is filled after those
// around it, whose values it may read.
func (d *decoder) graph(g *graph.Graph, p *onnxpb.GraphProto) error {
	g.Wire = wireOf(p)
	g.Name, g.Doc = take(&g.Wire, 2, p.Name), take(&g.Wire, 10, p.DocString)
	g.Metadata, g.Quantization = entries(p.MetadataProps), annotations(p.QuantizationAnnotation)
	for _, step := range []func(*graph.Graph, *onnxpb.GraphProto) error{
		d.inputs, d.initializers, d.results, d.declarations, d.operands, d.outputs,
	} {
		if err := step(g, p); err != nil {
			return err
		}
	}
	return nil
}

func in(g *graph.Graph, what string) string { return "graph " + quote(g.Name) + ": " + what }

func (d *decoder) inputs(g *graph.Graph, p *onnxpb.GraphProto) error {
	for i, pv := range p.Input {
		name := pv.GetName()
		switch {
		case name == "":
			return d.bad(in(g, fmt.Sprintf("input %d", i)), "no name", "a name", exportAgain)
		case g.Value(name) != nil:
			return d.bad(in(g, "input "+quote(name)), "the name twice", "once", exportAgain)
		}
		g.AddInput(name, nil)
	}
	return nil
}

func (d *decoder) initializers(g *graph.Graph, p *onnxpb.GraphProto) error {
	for i, pt := range p.Initializer {
		name := pt.GetName()
		where := in(g, "initializer "+quote(name))
		if name == "" {
			where = in(g, fmt.Sprintf("initializer %d", i))
		}
		if err := d.free(g, where, name); err != nil {
			return err
		}
		t, err := d.tensor(where, pt)
		if err != nil {
			return err
		}
		t.Name = ""
		g.AddInitializer(name, t)
	}
	for i, ps := range p.SparseInitializer {
		name := ps.GetValues().GetName()
		where := in(g, fmt.Sprintf("sparse initializer %d %s", i, quote(name)))
		if err := d.free(g, where, name); err != nil {
			return err
		}
		s, err := d.sparse(where, ps)
		if err != nil {
			return err
		}
		g.AddSparse(name, s)
	}
	return nil
}

// free reports an initializer's name that is empty or belongs to something
// else than an input of g.
func (d *decoder) free(g *graph.Graph, where, name string) error {
	if name == "" {
		return d.bad(where, "no name", "a name", exportAgain)
	}
	if v := g.Value(name); v != nil && (v.Default() != nil || v.Sparse() != nil) {
		return d.bad(where, "two initializers of that name", "one", exportAgain)
	}
	return nil
}

// results makes the nodes with what they produce.
func (d *decoder) results(g *graph.Graph, p *onnxpb.GraphProto) error {
	for _, pn := range p.Node {
		n := g.NewNode("", "")
		n.Wire, n.Metadata = wireOf(pn), entries(pn.MetadataProps)
		w := &n.Wire
		n.Name, n.Op, n.Doc = take(w, 3, pn.Name), take(w, 4, pn.OpType), take(w, 6, pn.DocString)
		n.Domain, n.Overload = take(w, 7, pn.Domain), take(w, 8, pn.Overload)
		for _, name := range pn.Output {
			if v := g.Value(name); v != nil && name != "" {
				other := "an initializer"
				switch {
				case v.Producer() != nil:
					other = "a result of " + show(v.Producer())
				case v.IsInput():
					other = "an input of the graph"
				}
				return d.bad(in(g, show(n)), fmt.Sprintf("the result %s, which is also %s", quote(name), other),
					"every value produced once", exportAgain)
			}
			n.AddOutput(name)
		}
	}
	return nil
}

// show names a node for a message, shortened to what one can hold.
func show(n *graph.Node) string {
	s := n.String()
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	return s
}

// declarations records what the file states of values: with inputs, with
// outputs, and in the list of types. What comes first and has a type becomes
// the value's own; a statement that differs from it is kept beside it.
func (d *decoder) declarations(g *graph.Graph, p *onnxpb.GraphProto) error {
	own := map[*graph.Value]*onnxpb.ValueInfoProto{}
	for _, pv := range p.Input {
		own[g.Value(pv.GetName())] = pv
	}
	for _, list := range [][]*onnxpb.ValueInfoProto{p.Output, p.ValueInfo} {
		for _, pv := range list {
			v := g.Value(pv.GetName())
			if v == nil {
				continue
			}
			if q := own[v]; q == nil || q.Type == nil && pv.Type != nil && !v.IsInput() {
				own[v] = pv
			}
		}
	}
	for v, pv := range own {
		state(v, pv)
	}
	for _, pv := range p.ValueInfo {
		switch v := g.Value(pv.GetName()); {
		case v == nil:
			state(g.AddInfo(pv.GetName(), nil), pv)
		case proto.Equal(own[v], pv):
			g.Infos = append(g.Infos, v)
		default:
			r := g.Repeat(v)
			state(r, pv)
			g.Infos = append(g.Infos, r)
		}
	}
	for i, pv := range p.Output {
		v := g.Lookup(pv.GetName())
		if v != nil && (v.Graph() != g || !proto.Equal(own[v], pv)) {
			r := g.Repeat(v)
			state(r, pv)
			g.RepeatOutput(i, r)
		}
	}
	return nil
}

// state makes v say what p says.
func state(v *graph.Value, p *onnxpb.ValueInfoProto) {
	v.Wire = wireOf(p)
	always(&v.Wire, 1, p.Name)
	v.Type, v.Doc, v.Metadata = typeOf(p.Type), take(&v.Wire, 3, p.DocString), entries(p.MetadataProps)
}

// operands connects the nodes and reads their attributes.
func (d *decoder) operands(g *graph.Graph, p *onnxpb.GraphProto) error {
	for i, pn := range p.Node {
		n := g.Nodes()[i]
		for j, name := range pn.Input {
			v := g.Lookup(name)
			if v == nil && name != "" {
				return d.bad(in(g, show(n)), fmt.Sprintf("input %d %s, which nothing produces", j, quote(name)),
					"an input, initializer or result that is visible there", exportAgain)
			}
			n.SetInput(j, v)
		}
		for _, pa := range pn.Attribute {
			a, fill := d.attr(in(g, show(n)), pa)
			n.AddAttr(a)
			if err := fill(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *decoder) outputs(g *graph.Graph, p *onnxpb.GraphProto) error {
	for i, pv := range p.Output {
		v := g.Lookup(pv.GetName())
		if v == nil {
			return d.bad(in(g, fmt.Sprintf("output %d", i)), quote(pv.GetName())+", which nothing produces",
				"an input, initializer or result of the graph", exportAgain)
		}
		g.AddOutput(v)
	}
	return nil
}
