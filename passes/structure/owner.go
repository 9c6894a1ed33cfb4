package structure

import "fmt"

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

// settle declines all sites but the first that would rebuild one linear map.
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
	for _, m := range v.MLPs {
		if m.Reason == "" {
			m.Reason = o.take(m, "part of the hidden layer before "+m.Second.Node.String(), append([]*Linear{m.Second}, m.First...)...)
		}
	}
}
