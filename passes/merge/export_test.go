package merge

import (
	"nuwa/graph"
	"nuwa/passes/structure"
)

// Sites returns, for each place where tokens of m can be merged, the keys and
// the tokens.
func Sites(m *graph.Model, vit *structure.ViT) (keys, at []*graph.Value) {
	w, _ := follow(m, vit)
	for _, s := range w.sites {
		keys, at = append(keys, s.keys), append(at, s.at)
	}
	return keys, at
}
