package onnxgo

import (
	"fmt"
	"slices"
	"strings"

	"nuwa/graph"
	"nuwa/importer"
	"nuwa/internal/fault"
)

// Check reports whether onnx-go carries the model in data to a backend without
// changing what it means. The error lists what would be lost, and where.
func Check(data []byte) error {
	m, err := importer.Decode("the model", data, "")
	if err != nil {
		return err
	}
	return check(m)
}

// most is how many reasons an error lists.
const most = 8

func check(m *graph.Model) error {
	reasons := append(graphReasons(m), valueReasons(m.Graph)...)
	for _, n := range m.Graph.Nodes() {
		for _, r := range nodeReasons(m.Graph, n) {
			reasons = append(reasons, n.String()+": "+r)
		}
	}
	if len(reasons) == 0 {
		return nil
	}
	if len(reasons) > most {
		reasons = append(reasons[:most], fmt.Sprintf("%d more", len(reasons)-most))
	}
	return &fault.Error{Kind: fault.Model, Got: strings.Join(reasons, "; "), Want: "a model that onnx-go carries whole",
		Remedy: useImporter}
}

func graphReasons(m *graph.Model) (reasons []string) {
	if len(m.Functions) > 0 {
		reasons = append(reasons, fmt.Sprintf("%d functions of its own", len(m.Functions)))
	}
	if len(m.Graph.Nodes()) == 0 || len(m.Graph.Outputs()) == 0 {
		reasons = append(reasons, "a graph without nodes or outputs")
	}
	return reasons
}

// valueReasons looks at every declared type and every initializer.
func valueReasons(g *graph.Graph) (reasons []string) {
	var declared []*graph.Value
	declared = append(declared, g.Inputs()...)
	declared = append(declared, g.Infos...)
	for i := range g.Outputs() {
		declared = append(declared, g.OutputDecl(i))
	}
	seen := map[string]bool{}
	for _, v := range declared {
		r := typeReason(v.Type)
		if line := fmt.Sprintf("value %q %s", v.Name(), r); r != "" && !seen[line] {
			seen[line] = true
			reasons = append(reasons, line)
		}
	}
	for _, v := range g.Consts() {
		r := ""
		if v.Sparse() != nil {
			r = "is sparse"
		} else {
			r = tensorReason(v.Default())
		}
		if r != "" {
			reasons = append(reasons, fmt.Sprintf("initializer %q %s", v.Name(), r))
		}
	}
	return reasons
}

func typeReason(t *graph.Type) string {
	switch {
	case t == nil:
		return ""
	case t.Kind != graph.TensorKind:
		return "is no tensor"
	case !slices.Contains(declarable, t.Elem):
		return fmt.Sprintf("has elements of type %s", t.Elem)
	case t.Shape == nil:
		return "is of unknown rank"
	}
	for _, d := range t.Shape.Dims {
		switch {
		case d.Kind == graph.SymbolDim:
			return fmt.Sprintf("has the dimension %q, which is not fixed", d.Param)
		case d.Kind != graph.FixedDim:
			return "has a dimension that is not fixed"
		case d.Value < 1:
			return fmt.Sprintf("has the dimension %d", d.Value)
		}
	}
	return ""
}

// declarable are the element types that onnx-go has a Go type for.
var declarable = []graph.DType{
	graph.Float32, graph.Uint8, graph.Int8, graph.Uint16, graph.Int16, graph.Int32, graph.Int64, graph.String, graph.Bool,
	graph.Float64, graph.Uint32, graph.Uint64, graph.Complex64, graph.Complex128,
}

func tensorReason(t *graph.Tensor) string {
	switch {
	case t.Storage == graph.StoreExternal:
		return "is external data"
	case t.Len() == 0:
		return "is empty"
	case t.Type == graph.Bool && t.Storage == graph.StoreRaw:
		return "is of type bool, stored as raw bytes"
	case !slices.Contains([]graph.DType{graph.Float32, graph.Float64, graph.Int32, graph.Int64, graph.Bool}, t.Type):
		return fmt.Sprintf("has elements of type %s", t.Type)
	}
	return ""
}

func nodeReasons(g *graph.Graph, n *graph.Node) (reasons []string) {
	if !n.Is(n.Op) {
		reasons = append(reasons, fmt.Sprintf("its domain %q", n.Domain))
	}
	if !slices.ContainsFunc(n.Outputs(), func(v *graph.Value) bool { return v != nil }) {
		reasons = append(reasons, "no results")
	}
	if fake := n.Name + "/input"; len(n.Inputs()) == 0 && g.Value(fake) != nil {
		reasons = append(reasons, fmt.Sprintf("a value %q, the name that onnx-go gives to an operand it invents", fake))
	}
	seen := map[string]bool{}
	for _, a := range n.Attrs() {
		r := attrReason(a)
		if seen[a.Name] {
			r = "is there twice"
		}
		seen[a.Name] = true
		if r != "" {
			reasons = append(reasons, fmt.Sprintf("attribute %q %s", a.Name, r))
		}
	}
	return reasons
}

func attrReason(a *graph.Attr) string {
	const typeField = 20
	switch a.Kind {
	case graph.AttrFloat, graph.AttrInt, graph.AttrString, graph.AttrFloats, graph.AttrInts, graph.AttrStrings:
	case graph.AttrTensor:
		if len(a.Tensors) == 0 {
			return "has no value"
		}
		if r := tensorReason(a.Tensors[0]); r != "" {
			return r
		}
	case graph.AttrUndefined:
		return "has no type"
	case graph.AttrGraph, graph.AttrGraphs:
		return "holds a graph"
	default:
		return fmt.Sprintf("is of kind %d", a.Kind)
	}
	if a.Wire.Omitted>>typeField&1 == 1 {
		return "has no type"
	}
	return ""
}
