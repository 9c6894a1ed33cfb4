package cleanup

import (
	"fmt"
	"slices"

	"nuwa/graph"
)

// storedIn returns the 16-bit type that v, which the set gives and whose
// elements are t, is stored in: that of the largest constant it is made of, where
// that holds every element as it is.
func storedIn(t *graph.Tensor, v *graph.Value, set nodeSet) graph.DType {
	var from *graph.Tensor
	for _, c := range ingredients(v, set) {
		if from == nil || c.Len() > from.Len() {
			from = c
		}
	}
	if from == nil || t.Type != graph.Float32 {
		return graph.Undefined
	}
	typ := from.Stored
	if from.Type.IsHalf() {
		typ = from.Type
	}
	if !typ.IsHalf() {
		return graph.Undefined
	}
	xs, err := t.Floats()
	if err != nil {
		return graph.Undefined
	}
	small, err := graph.FromFloats(typ, t.Dims, xs)
	if err != nil {
		return graph.Undefined
	}
	if ys, err := small.Floats(); err != nil || !slices.Equal(xs, ys) {
		return graph.Undefined
	}
	return typ
}

// Store rounds the constants that were stored in 16 bits to that type again, and
// widens them by a Cast. It returns how many. Numbers beyond the type's range
// stay.
func Store(m *graph.Model) (int, error) {
	count := 0
	for _, g := range graphs(m.Graph) {
		for _, v := range slices.Clone(g.Consts()) {
			t := v.Const()
			if t == nil || t.Stored == graph.Undefined || v.IsOutput() || len(v.Uses()) == 0 {
				continue
			}
			xs, err := t.Floats()
			if err != nil {
				return count, fmt.Errorf("%q: %w", v.Name(), err)
			}
			small, err := graph.FromFloats(t.Stored, t.Dims, xs)
			if err != nil {
				return count, fmt.Errorf("%q: %w", v.Name(), err)
			}
			if firstSpecial(small, 0) != firstSpecial(t, 0) {
				continue
			}
			name := v.Name()
			c := g.AddConst(name, small)
			v.ReplaceUses(g.Add("Cast", name+"_widened", []*graph.Value{c}, graph.Int("to", int64(graph.Float32))).Output(0))
			if err := g.RemoveConst(v); err != nil {
				return count, err
			}
			claim(c, name)
			count++
		}
	}
	if count == 0 {
		return 0, nil
	}
	return count, m.Graph.Sort()
}
