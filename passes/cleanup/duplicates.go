package cleanup

import (
	"crypto/sha256"
	"fmt"

	"nuwa/graph"
)

// Duplicates merges initializers of equal type, shape and bytes. Weights of
// rank two and more are left: that two maps share one is a fact about the
// model, not a coincidence to make.
func Duplicates(m *graph.Model) int {
	n := 0
	seen := map[string]*graph.Value{}
	for _, v := range append([]*graph.Value(nil), m.Graph.Consts()...) {
		t := v.Const()
		if t == nil || t.Type == graph.String || len(t.Dims) > 1 || v.IsOutput() {
			continue
		}
		key := fmt.Sprintf("%s %x", t.Shape(), sha256.Sum256(t.Data))
		first := seen[key]
		if first == nil {
			seen[key] = v
			continue
		}
		v.ReplaceUses(first)
		if m.Graph.RemoveConst(v) == nil {
			n++
		}
	}
	return n
}

// InitializersAsInputs makes initializers that are also listed as inputs plain
// constants, as files of IR version 3 list all of them. The model's inputs are
// then those that must be fed.
func InitializersAsInputs(m *graph.Model) int {
	n := 0
	for _, v := range append([]*graph.Value(nil), m.Graph.Inputs()...) {
		if v.Default() != nil && m.Graph.RemoveInput(v) == nil {
			n++
		}
	}
	return n
}
