package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"nuwa/exporter/target"
)

// Fact is a line about a target.
type Fact struct{ Name, Value string }

// Facts say in words what the device is, what it runs of the model and how the
// model meets its wishes.
func (t *Target) Facts() []Fact {
	var out []Fact
	add := func(name string, parts ...string) {
		parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" })
		if len(parts) > 0 {
			out = append(out, Fact{name, strings.Join(parts, ", ")})
		}
	}
	when := func(yes bool, format string, args ...any) string {
		if !yes {
			return ""
		}
		return fmt.Sprintf(format, args...)
	}
	add("device", t.Name)
	provider := []string{t.Provider}
	for _, k := range slices.Sorted(maps.Keys(t.ProviderOptions)) {
		provider = append(provider, k+"="+t.ProviderOptions[k])
	}
	add("provider", append(provider, when(t.Threads > 0, "%d threads", t.Threads))...)
	switch {
	case t.Placement != nil:
		add("nodes", t.Placement.Words())
	case t.Name != "":
		add("nodes", "not known where they run, as ONNX Runtime has no such provider here and the device lists no operators")
	}
	add("operator set", fmt.Sprint(t.Opset), when(t.OpsetCeiling > 0, "at most %d", t.OpsetCeiling))
	aligned := fmt.Sprintf("multiples of %d", t.Align)
	if n := len(t.Unaligned); n > 0 {
		aligned += ", but for " + list(t.Unaligned, 6)
	}
	add("widths", aligned)
	add("precision", map[string]string{"fp32": "single", "fp16": "half", "int8": "8-bit integers"}[t.Precision])
	add("input", when(t.Batch > 0, "batch %d", t.Batch), strings.ToUpper(t.Layout))
	for _, l := range t.Limits {
		add(l.What, l.Amount(l.Met), "at most "+l.Amount(l.Bound))
	}
	if q := t.Quantized; q != nil {
		add("integers", q.Words())
	}
	return out
}

// Words say which nodes run where, and how that is known.
func (p *Placement) Words() string {
	how := "as ONNX Runtime's profile of a run shows"
	if p.From == "operators" {
		how = "by the device's list of operators, as ONNX Runtime has no such provider here"
	}
	left := "none"
	if p.Left > 0 {
		left = fmt.Sprint(p.Left)
	}
	return fmt.Sprintf("%d on the provider and %s on the CPU instead, %s", p.Taken, left, how)
}

// Words say what was quantized, and what that cost.
func (q *Quantized) Words() string {
	return fmt.Sprintf("%d linear maps, calibrated on %d images (range: %s), chosen by %d others: accuracy %.2f %%, in single precision %.2f %%; cross-entropy %.4f and %.4f",
		q.Layers, q.Calibrated, q.Range, q.Validated, 100*q.Accuracy, 100*q.Single, q.Entropy, q.SingleEntropy)
}

// device is what the page says about the target.
type device struct {
	Facts   []Fact
	Left    []nodes
	Refused []target.Violation
	Float   []floatLayer
}

type nodes struct {
	Op    string
	Count int
}

type floatLayer struct{ Layer, Why, Harm string }

func newDevice(t *Target) *device {
	if t == nil {
		return nil
	}
	d := &device{Facts: t.Facts(), Refused: t.Refused()}
	if t.Placement != nil {
		for _, op := range slices.Sorted(maps.Keys(t.Placement.LeftOps)) {
			d.Left = append(d.Left, nodes{op, t.Placement.LeftOps[op]})
		}
	}
	if t.Quantized != nil {
		for _, l := range t.Quantized.Float {
			f := floatLayer{Layer: l.Layer, Why: l.Why, Harm: "–"}
			if l.Harm != 0 {
				f.Harm = fmt.Sprintf("%+.4f", l.Harm)
			}
			d.Float = append(d.Float, f)
		}
	}
	return d
}

// Refused are the violations but for operators, which Placement counts.
func (t *Target) Refused() []target.Violation {
	return slices.DeleteFunc(slices.Clone(t.Violations), func(v target.Violation) bool { return strings.HasPrefix(v.Got, "an operator that ") })
}
