package expand

import (
	"math"

	"nuwa/graph"
)

// gelu is x·Φ(x), of operand 0, or of the sum of two operands.
func gelu(w *writer) ([]*graph.Value, string) {
	if w.opset < 9 {
		return nil, "Erf needs operator set 9"
	}
	return []*graph.Value{w.gelu(w.biased())}, ""
}

// fastGelu is the tanh form of gelu, of operand 0 or of the sum of two.
func fastGelu(w *writer) ([]*graph.Value, string) {
	x := w.biased()
	if w.opset >= 20 {
		return []*graph.Value{w.with("Gelu", []*graph.Value{x}, graph.Str("approximate", "tanh"))}, ""
	}
	inner := w.op("Mul", w.number(0.044715), w.op("Mul", x, x))
	inner = w.op("Mul", w.op("Add", inner, w.number(1)), x)
	t := w.op("Tanh", w.op("Mul", inner, w.number(math.Sqrt(2/math.Pi))))
	half := w.op("Mul", x, w.number(0.5))
	return []*graph.Value{w.op("Mul", half, w.op("Add", t, w.number(1)))}, ""
}

// quickGelu is x·σ(α·x).
func quickGelu(w *writer) ([]*graph.Value, string) {
	x := w.n.Input(0)
	a := x
	if alpha := w.n.FloatAttr("alpha", 1.702); alpha != 1 {
		a = w.op("Mul", x, w.number(float64(alpha)))
	}
	return []*graph.Value{w.op("Mul", x, w.op("Sigmoid", a))}, ""
}

// biased is operand 0, plus operand 1 where there is one.
func (w *writer) biased() *graph.Value {
	if b := w.n.Input(1); b != nil {
		return w.op("Add", w.n.Input(0), b)
	}
	return w.n.Input(0)
}

func (w *writer) gelu(x *graph.Value) *graph.Value {
	if w.opset >= 20 {
		return w.op("Gelu", x)
	}
	e := w.op("Erf", w.op("Div", x, w.number(math.Sqrt2)))
	return w.op("Mul", w.op("Mul", x, w.op("Add", e, w.number(1))), w.number(0.5))
}

// activate applies the activation that a fused operator names, with up to
// three numbers.
func (w *writer) activate(x *graph.Value, name string, params []float32) (*graph.Value, string) {
	param := func(i int, otherwise float32) float32 {
		if i < len(params) {
			return params[i]
		}
		return otherwise
	}
	in := []*graph.Value{x}
	switch name {
	case "":
		return x, ""
	case "Relu", "Tanh", "Sigmoid", "Softplus", "Softsign":
		return w.op(name, x), ""
	case "LeakyRelu":
		return w.with(name, in, graph.Float("alpha", param(0, 0.01))), ""
	case "HardSigmoid":
		return w.with(name, in, graph.Float("alpha", param(0, 0.2)), graph.Float("beta", param(1, 0.5))), ""
	case "Clip":
		if len(params) != 2 {
			return nil, "its Clip has no bounds"
		}
		return w.op("Max", w.op("Min", x, w.number(float64(params[1]))), w.number(float64(params[0]))), ""
	}
	return nil, "its activation " + name + " is not known"
}
