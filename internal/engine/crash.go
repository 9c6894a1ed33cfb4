package engine

import (
	"nuwa/graph"
	"nuwa/internal/fault"
)

// Safe reports an operator that is valid and that ONNX Runtime's CPU stops the
// whole process at, instead of returning an error.
func Safe(m *graph.Model) error {
	var err error
	m.Graphs(func(g *graph.Graph) bool {
		for _, n := range g.Nodes() {
			if n.Domain != "com.microsoft" {
				continue
			}
			got, want := "", ""
			switch {
			case n.Op == "Attention" && n.Input(2) == nil:
				got, want = "no bias", "a bias, if of zeros"
			case n.Op == "EmbedLayerNormalization" && len(n.Outputs()) < 2:
				got, want = "one result", "the mask index as second result"
			}
			if got != "" {
				err = &fault.Error{Kind: fault.Unsupported, Where: n.String(), Got: got, Want: want,
					Remedy: "ONNX Runtime's CPU does not survive this form; optimize the model for the CPU, or not at all"}
				return false
			}
		}
		return true
	})
	return err
}
