package cleanup

import (
	"encoding/binary"
	"fmt"
	"slices"

	"nuwa/graph"
	"nuwa/internal/fault"
)

// Finite reports the first constant of m that holds a NaN, or an infinity
// where none makes sense, as a fault.Model that names it and the element.
// Infinity is fine in scalars, as bounds are, and −∞ in what is added to or
// selected from, as masks are, if it is no vector.
func Finite(m *graph.Model) error {
	var err error
	m.Graphs(func(g *graph.Graph) bool {
		for _, v := range g.Consts() {
			if t := v.Default(); t != nil && err == nil {
				err = finite(fmt.Sprintf("initializer %q", v.Name()), t, mayMask(v))
			}
		}
		for _, n := range g.Nodes() {
			if t := constantOf(n); n.Is("Constant") && t != nil && n.Output(0) != nil && err == nil {
				err = finite(fmt.Sprintf("constant %q", n.Output(0).Name()), t, mayMask(n.Output(0)))
			}
		}
		return err == nil
	})
	return err
}

func mayMask(v *graph.Value) bool {
	return !slices.ContainsFunc(v.Users(), func(n *graph.Node) bool {
		return !n.Is("Add", "Where", "Unsqueeze", "Reshape", "Slice", "Cast", "Expand")
	})
}

func finite(where string, t *graph.Tensor, mask bool) error {
	if t.Check() != nil {
		return nil // reported as what it is by the graph's own check
	}
	at := func(i int, x float64) error {
		return &fault.Error{Kind: fault.Model, Where: where, Got: fmt.Sprintf("%v at element %d of %s", x, i, t.Shape()),
			Want: "finite numbers", Remedy: "the training diverged or the file is damaged; export a sound checkpoint"}
	}
	for i := firstSpecial(t, 0); i >= 0; i = firstSpecial(t, i+1) {
		one := &graph.Tensor{Type: t.Type, Data: t.Data[i*t.Type.Bits()/8 : (i+1)*t.Type.Bits()/8], Dims: []int64{1}}
		xs, err := one.Floats()
		if err != nil {
			return err
		}
		x := xs[0]
		infinite := x == x
		if infinite && (t.Len() == 1 || x < 0 && mask && len(t.Dims) > 1) {
			continue
		}
		return at(i, x)
	}
	return nil
}

// firstSpecial returns the index of the first element from i on whose exponent
// bits are all set, as those of NaN and infinity are; −1 if there is none.
func firstSpecial(t *graph.Tensor, i int) int {
	n, le := int(t.Len()), binary.LittleEndian
	switch t.Type {
	case graph.Float32:
		for ; i < n; i++ {
			if le.Uint32(t.Data[4*i:])&0x7f800000 == 0x7f800000 {
				return i
			}
		}
	case graph.Float64:
		for ; i < n; i++ {
			if le.Uint64(t.Data[8*i:])&0x7ff0000000000000 == 0x7ff0000000000000 {
				return i
			}
		}
	case graph.Float16:
		for ; i < n; i++ {
			if le.Uint16(t.Data[2*i:])&0x7c00 == 0x7c00 {
				return i
			}
		}
	case graph.BFloat16:
		for ; i < n; i++ {
			if le.Uint16(t.Data[2*i:])&0x7f80 == 0x7f80 {
				return i
			}
		}
	}
	return -1
}
