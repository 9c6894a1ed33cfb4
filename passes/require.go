package passes

import (
	"context"
	"slices"
	"strings"

	"nuwa/graph"
	"nuwa/internal/fault"
	"nuwa/passes/structure"
)

// runRequire refuses a model that is no Vision Transformer.
func runRequire(_ context.Context, s *State) (string, error) { return "", s.RequireViT() }

// RequireViT returns a fault.Unsupported that says what was looked for when
// there is neither attention in the model, understood or not, nor a hidden layer
// that is applied to many tokens, as mixers have. The structure pass must have
// run.
func (s *State) RequireViT() error {
	mixes := func(m *structure.MLP) bool { return m.Reason == "" && m.Tokens > 1 }
	if len(s.ViT.Attentions) > 0 || attentive(s.Model.Graph) || slices.ContainsFunc(s.ViT.MLPs, mixes) {
		return nil
	}
	return &fault.Error{Kind: fault.Unsupported, Got: "a model without attention",
		Want:   "a Vision Transformer: softmax of a product of two linear maps of the tokens, multiplied by a third",
		Remedy: "nuwa prunes Vision Transformers only; `nuwa inspect` shows what this model is made of"}
}

// attentive reports whether something in g may be attention, though in a
// spelling that was not understood: a softmax that a later product reads, or
// an operator that is attention as a whole.
func attentive(g *graph.Graph) bool {
	seen := map[*graph.Value]bool{}
	var read func(v *graph.Value) bool
	read = func(v *graph.Value) bool {
		if v == nil || seen[v] {
			return false
		}
		seen[v] = true
		for _, n := range v.Users() {
			if n.Is("MatMul", "Gemm", "Einsum", "Conv", "Mul") {
				return true
			}
			for _, out := range n.Outputs() {
				if read(out) {
					return true
				}
			}
		}
		return false
	}
	for _, n := range g.Nodes() {
		if strings.Contains(n.Op, "Attention") || n.Is("Softmax") && read(n.Output(0)) {
			return true
		}
	}
	return false
}
