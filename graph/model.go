package graph

// Model is a whole ONNX model.
type Model struct {
	IRVersion       int64
	Opsets          []Opset
	ProducerName    string
	ProducerVersion string
	Domain          string
	ModelVersion    int64
	Doc             string
	Metadata        []Entry
	Graph           *Graph
	Functions       []*Function
	Wire            Wire
}

// Opset is an operator set that a model or function imports. The empty domain
// is ONNX's own.
type Opset struct {
	Domain  string
	Version int64
	Wire    Wire
}

// Function is a model-local operator, defined by a graph.
type Function struct {
	Domain, Name, Overload, Doc string
	AttrNames                   []string // attributes without a default
	AttrDefaults                []*Attr  // attributes with one
	Opsets                      []Opset
	Body                        *Graph
	Metadata                    []Entry
	Wire                        Wire
}

// NewModel returns an empty model of IR version 8 that imports opsets.
func NewModel(opsets ...Opset) *Model {
	return &Model{IRVersion: 8, Opsets: opsets, Graph: NewGraph("main")}
}

// Opset returns the version of a domain that m imports, 0 if it imports none.
// "ai.onnx" and "" name the same domain.
func (m *Model) Opset(domain string) int64 {
	for _, o := range m.Opsets {
		if sameDomain(o.Domain, domain) {
			return o.Version
		}
	}
	return 0
}

// SetOpset imports version of domain, replacing what m imported before.
func (m *Model) SetOpset(domain string, version int64) {
	for i, o := range m.Opsets {
		if sameDomain(o.Domain, domain) {
			m.Opsets[i].Version = version
			return
		}
	}
	m.Opsets = append(m.Opsets, Opset{Domain: domain, Version: version})
}

func sameDomain(a, b string) bool { return canonDomain(a) == canonDomain(b) }

func canonDomain(d string) string {
	if d == "ai.onnx" {
		return ""
	}
	return d
}

// Meta returns the metadata entry of that key.
func (m *Model) Meta(key string) (value string, ok bool) {
	for _, e := range m.Metadata {
		if e.Key == key {
			return e.Value, true
		}
	}
	return "", false
}

// SetMeta sets a metadata entry, keeping the order of those already there.
func (m *Model) SetMeta(key, value string) {
	for i, e := range m.Metadata {
		if e.Key == key {
			m.Metadata[i].Value = value
			return
		}
	}
	m.Metadata = append(m.Metadata, Entry{Key: key, Value: value})
}

// Graphs calls yield for the main graph, every function body, and every graph
// nested in those, outer before inner.
func (m *Model) Graphs(yield func(*Graph) bool) {
	if !m.Graph.walk(yield) {
		return
	}
	for _, f := range m.Functions {
		if !f.Body.walk(yield) {
			return
		}
	}
}
