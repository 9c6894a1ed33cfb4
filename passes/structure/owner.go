package structure

import (
	"cmp"
	"fmt"
	"slices"
)

// owners says which site each linear map belongs to. Rebuilding a map twice,
// from the weight that was found, would undo the first time.
type owners map[*Linear]owner

type owner struct {
	site any
	role string
}

// take gives the maps to site, which may have some of them already. It tells
// what stands against it, having given none, or nothing.
func (o owners) take(site any, role string, maps ...*Linear) string {
	for _, l := range maps {
		if have, ok := o[l]; ok && have.site != site {
			return fmt.Sprintf("%s is also %s", l.Node, have.role)
		}
	}
	for _, l := range maps {
		o[l] = owner{site, role}
	}
	return ""
}

// settle declines all sites but one that would rebuild one linear map. Of hidden
// layers, one between two maps of channels gets it before one behind a larger
// convolution, and the costlier before the cheaper.
func (v *ViT) settle() {
	o := owners{}
	for _, c := range v.Classifiers {
		for _, l := range c.Linears {
			o[l] = owner{c, "the classifier"}
		}
	}
	for _, a := range v.Attentions {
		role := "part of the attention of " + a.Softmax.String()
		if a.QKReason == "" {
			a.QKReason = o.take(a, role, a.Q.Linear, a.K.Linear)
		}
		if a.VOReason == "" {
			a.VOReason = o.take(a, role, a.V.Linear, a.Out.Linear)
		}
	}
	byCost := slices.Clone(v.MLPs)
	slices.SortStableFunc(byCost, func(a, b *MLP) int {
		return cmp.Or(a.patches()-b.patches(), cmp.Compare(b.UnitMACs(v.Shapes)*float64(b.Hidden), a.UnitMACs(v.Shapes)*float64(a.Hidden)))
	})
	for _, m := range byCost {
		if m.Reason == "" {
			m.Reason = o.take(m, "part of the hidden layer before "+m.Second.Node.String(), append([]*Linear{m.Second}, m.First...)...)
		}
	}
}
