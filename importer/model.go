package importer

import (
	"nuwa/graph"
	"nuwa/internal/fault"
	"nuwa/internal/onnxpb"
)

func (d *decoder) model(p *onnxpb.ModelProto) (*graph.Model, error) {
	m := &graph.Model{Graph: graph.NewGraph(""), Opsets: opsets(p.OpsetImport), Metadata: entries(p.MetadataProps), Wire: wireOf(p)}
	w := &m.Wire
	m.IRVersion = take(w, 1, p.IrVersion)
	m.ProducerName, m.ProducerVersion = take(w, 2, p.ProducerName), take(w, 3, p.ProducerVersion)
	m.Domain, m.ModelVersion, m.Doc = take(w, 4, p.Domain), take(w, 5, p.ModelVersion), take(w, 6, p.DocString)
	if err := d.graph(m.Graph, p.Graph); err != nil {
		return nil, err
	}
	for _, pf := range p.Functions {
		f, err := d.function(pf)
		if err != nil {
			return nil, err
		}
		m.Functions = append(m.Functions, f)
	}
	for _, g := range roots(m) {
		if err := g.Sort(); err != nil {
			return nil, &fault.Error{Kind: fault.Model, File: d.file, Err: err, Want: "nodes that do not depend on their own results", Remedy: exportAgain}
		}
	}
	return m, nil
}

// roots returns the main graph and the function bodies.
func roots(m *graph.Model) []*graph.Graph {
	gs := []*graph.Graph{m.Graph}
	for _, f := range m.Functions {
		gs = append(gs, f.Body)
	}
	return gs
}

func (d *decoder) function(p *onnxpb.FunctionProto) (*graph.Function, error) {
	f := &graph.Function{AttrNames: p.Attribute, Opsets: opsets(p.OpsetImport), Metadata: entries(p.MetadataProps), Wire: wireOf(p)}
	w := &f.Wire
	f.Name, f.Doc, f.Domain, f.Overload = take(w, 1, p.Name), take(w, 8, p.DocString), take(w, 10, p.Domain), take(w, 13, p.Overload)
	f.Body = graph.NewGraph(f.Name)
	stated := map[string]*onnxpb.ValueInfoProto{}
	for _, pv := range p.ValueInfo {
		stated[pv.GetName()] = pv
	}
	names := func(names []string) []*onnxpb.ValueInfoProto {
		infos := make([]*onnxpb.ValueInfoProto, len(names))
		for i := range names {
			if infos[i] = stated[names[i]]; infos[i] == nil {
				infos[i] = &onnxpb.ValueInfoProto{Name: &names[i]}
			}
		}
		return infos
	}
	err := d.graph(f.Body, &onnxpb.GraphProto{
		Name: p.Name, Node: p.Node, Input: names(p.Input), Output: names(p.Output), ValueInfo: p.ValueInfo,
	})
	if err != nil {
		return nil, err
	}
	for _, pa := range p.AttributeProto {
		a, fill := d.attr("function "+quote(f.Name), pa)
		if err := fill(); err != nil {
			return nil, err
		}
		f.AttrDefaults = append(f.AttrDefaults, a)
	}
	return f, nil
}
