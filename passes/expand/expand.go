package expand

import (
	"fmt"
	"slices"

	"nuwa/graph"
	"nuwa/internal/engine"
)

// Expanded is what Expand did.
type Expanded struct {
	Nodes int      // operators replaced
	Kept  []string // operators that stay, and why
}

// contrib is the domain of ONNX Runtime's own operators.
const contrib = "com.microsoft"

// A rule writes what the writer's node computes and returns one value for each
// result that is used, or says why it cannot.
type rule func(w *writer) (results []*graph.Value, reason string)

// rules are the operators that can be written out, by domain and name.
var rules = map[string]rule{
	"com.microsoft.Gelu":      gelu,
	"com.microsoft.BiasGelu":  gelu,
	"com.microsoft.FastGelu":  fastGelu,
	"com.microsoft.QuickGelu": quickGelu,

	"LayerNormalization":                             layerNorm,
	"SimplifiedLayerNormalization":                   simplifiedNorm,
	"com.microsoft.SkipLayerNormalization":           skipNorm(true),
	"com.microsoft.SkipSimplifiedLayerNormalization": skipNorm(false),
	"com.microsoft.EmbedLayerNormalization":          embedNorm,

	"com.microsoft.FusedMatMul":     fusedMatMul,
	"com.microsoft.TransposeMatMul": fusedMatMul,
	"com.microsoft.FusedGemm":       fusedGemm,
	"com.microsoft.FusedConv":       fusedConv,

	"Einsum": einsum,

	"com.microsoft.Attention":           packedAttention,
	"com.microsoft.MultiHeadAttention":  multiHeadAttention,
	"com.microsoft.GroupQueryAttention": func(*writer) ([]*graph.Value, string) { return nil, cached },
	"Attention":                         attention,
	"com.microsoft.RotaryEmbedding":     contribRotary,
	"RotaryEmbedding":                   rotary,
}

// Needed reports whether m has an operator that Expand looks at, so that
// shapes need not be known otherwise.
func Needed(m *graph.Model) bool {
	return slices.ContainsFunc(m.Graph.Nodes(), func(n *graph.Node) bool { return concerns(m, n) })
}

func concerns(m *graph.Model, n *graph.Node) bool {
	return !n.Is(n.Op) || rules[opName(n)] != nil && !plain(m, n)
}

// plain reports whether a node that has a rule is standard in m's operator set
// and understood as it is.
func plain(m *graph.Model, n *graph.Node) bool {
	return n.Is("LayerNormalization") && m.Opset("") >= 17
}

func opName(n *graph.Node) string {
	if n.Is(n.Op) {
		return n.Op
	}
	return n.Domain + "." + n.Op
}

// Expand replaces the fused operators of m's main graph. Shapes are those of
// m as it is.
func Expand(m *graph.Model, shapes *engine.Shapes) Expanded {
	var done Expanded
	var kept tally
	stands := map[*graph.Value]*graph.Value{}
	for _, n := range slices.Clone(m.Graph.Nodes()) {
		if !concerns(m, n) {
			continue
		}
		why := "it is not known to be made of plain operators"
		if f := rules[opName(n)]; f != nil {
			why = replace(m, shapes, stands, n, f)
		} else if integers[n.Op] {
			why = "it computes in integers"
		} else if n.Domain == "com.microsoft.nchwc" {
			why = "its channels are stored in blocks, for the processor that the model was optimized on"
		}
		if why == "" {
			done.Nodes++
		} else {
			kept.add(n, why)
		}
	}
	done.Kept = kept.lines()
	if done.Nodes > 0 {
		engine.Trim(m.Graph)
		forget(m, contrib)
	}
	return done
}

// integers are the quantized operators of ONNX Runtime.
var integers = map[string]bool{
	"QAttention": true, "QGemm": true, "QLinearAdd": true, "QLinearMul": true, "QLinearSigmoid": true, "QLinearSoftmax": true,
	"QLinearConcat": true, "QLinearReduceMean": true, "QLinearGlobalAveragePool": true, "QLinearAveragePool": true, "QLinearLeakyRelu": true,
	"QLinearWhere": true, "QLinearConv": true, "DynamicQuantizeMatMul": true, "MatMulIntegerToFloat": true, "QEmbedLayerNormalization": true,
	"QuantizeLinear": true, "DequantizeLinear": true, "MatMulNBits": true, "MatMulBnb4": true, "MulInteger": true, "ReduceSumInteger": true,
}

// replace writes n out by f, or tells why not. What stands for a result of n is
// recorded, so that what is known of that result is known of it.
func replace(m *graph.Model, shapes *engine.Shapes, stands map[*graph.Value]*graph.Value, n *graph.Node, f rule) (why string) {
	nodes, consts := len(m.Graph.Nodes()), len(m.Graph.Consts())
	results, why := f(newWriter(m, shapes, stands, n))
	for i, v := range n.Outputs() {
		if why == "" && v != nil && len(v.Uses()) > 0 && (i >= len(results) || results[i] == nil) {
			why = fmt.Sprintf("its result %d is used", i)
		}
	}
	if why != "" {
		undo(m.Graph, nodes, consts)
		return why
	}
	for i, v := range n.Outputs() {
		if v != nil && len(v.Uses()) > 0 {
			stands[results[i]] = v
			v.ReplaceUses(results[i])
		}
	}
	if err := n.Remove(); err != nil {
		return err.Error()
	}
	return ""
}

// undo removes what was appended to g since it had so many nodes and constants.
func undo(g *graph.Graph, nodes, consts int) {
	added := slices.Clone(g.Nodes()[nodes:])
	for _, n := range slices.Backward(added) {
		_ = n.Remove() // only nodes behind it read it, and they are gone
	}
	for _, v := range slices.Clone(g.Consts()[consts:]) {
		_ = g.RemoveConst(v) // alike
	}
}

// forget drops the import of a domain that nothing in m uses any more.
func forget(m *graph.Model, domain string) {
	used := false
	m.Graphs(func(g *graph.Graph) bool {
		used = used || slices.ContainsFunc(g.Nodes(), func(n *graph.Node) bool { return n.Domain == domain })
		return !used
	})
	if !used {
		m.Opsets = slices.DeleteFunc(m.Opsets, func(o graph.Opset) bool { return o.Domain == domain })
	}
}

// tally counts equal reasons of equal operators.
type tally struct {
	order []string
	first map[string]*graph.Node
	count map[string]int
}

func (t *tally) add(n *graph.Node, why string) {
	if t.first == nil {
		t.first, t.count = map[string]*graph.Node{}, map[string]int{}
	}
	key := opName(n) + "\x00" + why
	if t.first[key] == nil {
		t.first[key] = n
		t.order = append(t.order, key)
	}
	t.count[key]++
}

func (t *tally) lines() []string {
	var out []string
	for _, key := range t.order {
		n := t.first[key]
		why := key[len(opName(n))+1:]
		if k := t.count[key]; k > 1 {
			out = append(out, fmt.Sprintf("%s and %d more %s: %s", n, k-1, opName(n), why))
		} else {
			out = append(out, fmt.Sprintf("%s: %s", n, why))
		}
	}
	return out
}
