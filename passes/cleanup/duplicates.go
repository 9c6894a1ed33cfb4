package cleanup

import (
	"bytes"
	"hash/maphash"
	"slices"

	"nuwa/graph"
)

// Duplicates merges constants of equal type, dimensions and bytes and returns
// how many went. A constant of a nested graph gives way to an equal one of a
// graph around it. Matrices that something is multiplied with stay apart: that
// two maps share their weights is a fact about a model, not a coincidence to
// make.
func Duplicates(m *graph.Model) int {
	seed := maphash.MakeSeed()
	count := 0
	known := map[uint64][]*graph.Value{}
	for _, g := range graphs(m.Graph) {
		for _, v := range slices.Clone(g.Consts()) {
			t := v.Const()
			if t == nil || t.Type == graph.String || v.IsOutput() || isWeight(v) {
				continue
			}
			key := maphash.Bytes(seed, t.Data) ^ maphash.String(seed, t.Shape())
			i := slices.IndexFunc(known[key], func(w *graph.Value) bool {
				c := w.Const()
				return inside(g, w.Graph()) && c.Type == t.Type && slices.Equal(c.Dims, t.Dims) && bytes.Equal(c.Data, t.Data)
			})
			if i < 0 {
				known[key] = append(known[key], v)
				continue
			}
			v.ReplaceUses(known[key][i])
			if g.RemoveConst(v) == nil {
				count++
			}
		}
	}
	return count
}

func isWeight(v *graph.Value) bool {
	t := v.Const()
	return t.Type.IsFloat() && len(t.Dims) > 1 && slices.ContainsFunc(v.Users(), func(n *graph.Node) bool {
		return n.Is("MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum", "Transpose") || !n.Is(n.Op)
	})
}
