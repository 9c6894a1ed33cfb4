package onnxgo

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"nuwa/graph"
	"nuwa/importer"
	"nuwa/internal/fault"

	"github.com/owulveryck/onnx-go"
)

// New returns a backend for decoding the model in data. It refuses a model that
// onnx-go would change or fail on; see Check.
func New(data []byte) (*Backend, error) {
	m, err := importer.Decode("the model", data, "")
	if err != nil {
		return nil, err
	}
	if err := check(m); err != nil {
		return nil, err
	}
	return newBackend(m), nil
}

// newBackend returns a backend for m, a model that passed its check.
func newBackend(m *graph.Model) *Backend {
	b := &Backend{opsets: m.Opsets, ir: m.IRVersion, named: map[string]*value{}, edges: map[string][]edge{}}
	for _, n := range m.Graph.Nodes() {
		b.ops = append(b.ops, n.Op)
	}
	return b
}

// Model returns the graph that m decoded into b. m tells which values are
// inputs and outputs; its backend must be b, and its UnmarshalBinary must have
// returned without error from the data that New was given.
func (b *Backend) Model(m *onnx.Model) (*graph.Model, error) {
	var ops []string
	for _, a := range b.applied {
		ops = append(ops, a.op.Name)
	}
	slices.Sort(ops)
	if want := slices.Sorted(slices.Values(b.ops)); !slices.Equal(ops, want) {
		return nil, &fault.Error{Kind: fault.Usage, Got: fmt.Sprintf("%d operations", len(ops)),
			Want:   fmt.Sprintf("the %d of the model that New was given", len(want)),
			Remedy: "decode the same bytes, once, with onnx.NewModel of this backend"}
	}
	out := graph.NewModel(slices.Clone(b.opsets)...)
	out.IRVersion, out.Graph.Name = b.ir, ""
	a := assembly{b: b, g: out.Graph, produced: map[string]bool{}, inputs: map[string]bool{}}
	for _, step := range []func(*onnx.Model) error{a.results, a.sources, a.operands, a.outputs} {
		if err := step(m); err != nil {
			return nil, err
		}
	}
	if err := out.Graph.Sort(); err != nil {
		return nil, failed("", err)
	}
	return out, nil
}

// assembly builds the graph from what the backend recorded.
type assembly struct {
	b        *Backend
	g        *graph.Graph
	produced map[string]bool // results of operations
	inputs   map[string]bool
}

func (a *assembly) node(id int64) (*value, error) {
	v, ok := a.b.Node(id).(*value)
	if !ok {
		return nil, &fault.Error{Kind: fault.Usage, Got: fmt.Sprintf("an input or output number %d that the backend did not make", id),
			Want: "one of its nodes", Remedy: "give Model the onnx.Model that this backend decoded"}
	}
	return v, nil
}

// results makes the nodes with what they produce, and the graph's inputs.
func (a *assembly) results(m *onnx.Model) error {
	for _, id := range m.Input {
		v, err := a.node(id)
		if err != nil {
			return err
		}
		t, err := a.declared(v)
		if err != nil {
			return err
		}
		a.inputs[v.name] = true
		a.g.AddInput(v.name, t)
	}
	for _, ap := range a.b.applied {
		n := a.g.NewNode(ap.op.Name, "")
		for _, r := range ap.results {
			if a.g.Value(r.name) != nil && r.name != "" {
				return refuse(n.String(), fmt.Sprintf("the result %q, which is there already", r.name), "every value produced once")
			}
			if w := n.AddOutput(r.name); w != nil {
				a.produced[r.name] = true
				var err error
				if w.Type, err = a.declared(r); err != nil {
					return err
				}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(ap.op.Attributes)) {
			attr, err := attribute(name, ap.op.Attributes[name])
			if err != nil {
				return failed(n.String()+": attribute "+name, err)
			}
			n.AddAttr(attr)
		}
	}
	return nil
}

// declared returns the type that was set for a value before any constant.
func (a *assembly) declared(v *value) (*graph.Type, error) {
	ts := a.b.named[v.name].tensors
	if len(ts) == 0 {
		return nil, nil
	}
	elem, ok := elems[ts[0].Dtype()]
	if !ok {
		return nil, refuse(fmt.Sprintf("value %q", v.name), ts[0].Dtype().String(), "an element type of ONNX")
	}
	t := graph.TensorType(elem)
	for _, d := range ts[0].Shape() {
		t.Shape.Dims = append(t.Shape.Dims, graph.Fixed(int64(d)))
	}
	return t, nil
}

// sources makes the constants: what carries a tensor, is read, and is neither
// an input nor a result.
func (a *assembly) sources(m *onnx.Model) error {
	read := map[string]bool{}
	for _, es := range a.b.edges {
		for _, e := range es {
			read[e.to.name] = true
		}
	}
	for _, id := range m.Output {
		v, err := a.node(id)
		if err != nil {
			return err
		}
		read[v.name] = true
	}
	for _, v := range a.b.nodes {
		if a.b.named[v.name] != v || v.name == "" {
			continue
		}
		switch {
		case a.produced[v.name] && len(v.tensors) > 0 && !slices.ContainsFunc(m.Output, func(id int64) bool { return a.b.Node(id).(*value).name == v.name }):
			a.g.Infos = append(a.g.Infos, a.g.Value(v.name))
		case !a.produced[v.name] && !a.inputs[v.name] && read[v.name] && len(v.tensors) > 0:
			t, err := Tensor(v.tensors[len(v.tensors)-1])
			if err != nil {
				return failed(fmt.Sprintf("initializer %q", v.name), err)
			}
			c := a.g.AddInitializer(v.name, t)
			if len(v.tensors) > 1 {
				if c.Type, err = a.declared(v); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// operands connects each node to what the edges of its first result name.
func (a *assembly) operands(*onnx.Model) error {
	for i, ap := range a.b.applied {
		n := a.g.Nodes()[i]
		at := slices.IndexFunc(ap.results, func(r *value) bool { return r.name != "" })
		if at < 0 {
			return refuse(n.String(), "no result", "one to which operands belong")
		}
		es := a.b.edges[ap.results[at].name]
		if len(es) == 1 && a.faked(es[0].to.name) {
			continue
		}
		for j, e := range es {
			if e.weight != float64(j) {
				return refuse(n.String(), fmt.Sprintf("operand %g in place %d", e.weight, j), "the operands in order, each once")
			}
			v := a.g.Value(e.to.name)
			if v == nil && e.to.name != "" {
				return refuse(n.String(), fmt.Sprintf("input %d %q, which nothing produces", j, e.to.name), "a value that onnx-go told of")
			}
			n.SetInput(j, v)
		}
	}
	return nil
}

// faked reports whether onnx-go invented the operand of that name for an
// operator without any.
func (a *assembly) faked(name string) bool {
	return strings.HasSuffix(name, "/input") && a.g.Value(name) == nil
}

func (a *assembly) outputs(m *onnx.Model) error {
	for i, id := range m.Output {
		v := a.b.Node(id).(*value)
		w := a.g.Value(v.name)
		if w == nil {
			return refuse(fmt.Sprintf("output %d", i), fmt.Sprintf("%q, which nothing produces", v.name), "a value that onnx-go told of")
		}
		a.g.AddOutput(w)
	}
	return nil
}

const useImporter = "load the model with package importer instead of onnx-go"

func refuse(where, got, want string) error {
	return &fault.Error{Kind: fault.Model, Where: where, Got: got, Want: want, Remedy: useImporter}
}

func failed(where string, err error) error {
	return &fault.Error{Kind: fault.Model, Where: where, Err: err, Remedy: useImporter}
}
