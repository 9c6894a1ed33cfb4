package fuse

import (
	"math"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// Gelus makes one operator of each x·½(1 + erf(x/√2)), however it is spelled:
// com.microsoft's BiasGelu where x is a sum with a constant vector, its Gelu
// where not, or ONNX's Gelu. It returns how many. There is no standard form
// before operator set 20.
func Gelus(m *graph.Model, s *engine.Shapes, form Form) int {
	if form == Standard && m.Opset("") < 20 {
		return 0
	}
	n := 0
	for _, erf := range slices.Clone(m.Graph.Nodes()) {
		x, y := gelu(erf)
		if x == nil || s.Elem(x) != graph.Float32 {
			continue
		}
		g, name := m.Graph, label(erf)
		var node *graph.Node
		add := x.Producer()
		if form == ORT && add.Is("Add") && len(x.Uses()) == reads(x, y) {
			for i, b := range add.Inputs() {
				if b.Const() != nil && len(b.Const().Dims) == 1 && b.Const().Len() > 1 && add.Input(1-i).Const() == nil && node == nil && sameLast(s, x, b) {
					node = g.Add("BiasGelu", name+"_gelu", []*graph.Value{add.Input(1 - i), b})
				}
			}
		}
		if node == nil {
			node = g.Add("Gelu", name+"_gelu", []*graph.Value{x})
		}
		if form == ORT {
			node.Domain = contrib
			if m.Opset(contrib) == 0 {
				m.SetOpset(contrib, 1)
			}
		}
		y.ReplaceUses(node.Output(0))
		engine.Trim(g)
		n++
	}
	return n
}

func sameLast(s *engine.Shapes, x, b *graph.Value) bool {
	dims, ok := s.Of(x)
	return ok && len(dims) > 0 && !dims[len(dims)-1].Dynamic() && dims[len(dims)-1].Fixed == b.Const().Dims[0]
}

// gelu returns operand and result of the GELU around an Erf: from the Erf of
// x/√2 on, one is added, and then numbers and x itself are multiplied, in any
// order, until it is x times ½ in all.
func gelu(erf *graph.Node) (x, y *graph.Value) {
	if !erf.Is("Erf") {
		return nil, nil
	}
	scaled := erf.Input(0).Producer()
	x, k := factor(scaled)
	if x == nil || math.Abs(k*math.Sqrt2-1) > 1e-5 {
		return nil, nil
	}
	plus := erf.Output(0).OnlyUser()
	if !plus.Is("Add") || number(other(plus, erf.Output(0))) != 1 {
		return nil, nil
	}
	y = plus.Output(0)
	total, taken := 1.0, false
	for !taken || math.Abs(total-0.5) > 1e-6 {
		n := y.OnlyUser()
		o := other(n, y)
		switch {
		case o == nil || !n.Is("Mul", "Div"):
			return nil, nil
		case o.Const() != nil && number(o) == number(o):
			if n.Is("Div") {
				if n.Input(1) != o {
					return nil, nil
				}
				total /= number(o)
			} else {
				total *= number(o)
			}
		case taken || n.Is("Div"):
			return nil, nil
		case o == x:
			taken = true
		default:
			z, k := factor(o.Producer())
			if z != x || len(o.Uses()) != 1 {
				return nil, nil
			}
			total, taken = total*k, true
		}
		y = n.Output(0)
	}
	return x, y
}

// factor reads n as a number times a value.
func factor(n *graph.Node) (v *graph.Value, k float64) {
	if !n.Is("Mul", "Div") {
		return nil, 0
	}
	for i, c := range n.Inputs() {
		k := number(c)
		switch {
		case k != k:
		case n.Is("Mul"):
			return n.Input(1 - i), k
		case i == 1:
			return n.Input(0), 1 / k
		}
	}
	return nil, 0
}

// reads counts how often the GELU from x to y reads x.
func reads(x, y *graph.Value) int {
	inside := map[*graph.Node]bool{}
	var walk func(v *graph.Value)
	walk = func(v *graph.Value) {
		if n := v.Producer(); v != x && n != nil && !inside[n] {
			inside[n] = true
			for _, w := range n.Inputs() {
				walk(w)
			}
		}
	}
	walk(y)
	count := 0
	for _, u := range x.Uses() {
		if inside[u.Node] {
			count++
		}
	}
	return count
}

// other returns the operand of a node of two that is not v, nil for any other
// node.
func other(n *graph.Node, v *graph.Value) *graph.Value {
	if n == nil || len(n.Inputs()) != 2 || n.Input(0) == n.Input(1) {
		return nil
	}
	if n.Input(0) == v {
		return n.Input(1)
	}
	return n.Input(0)
}

// number returns the number that v holds, NaN if it holds none or several.
func number(v *graph.Value) float64 {
	if v == nil || v.Const() == nil || v.Const().Len() != 1 {
		return math.NaN()
	}
	xs, err := v.Const().Floats()
	if err != nil {
		return math.NaN()
	}
	return xs[0]
}
