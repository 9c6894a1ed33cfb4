package examine

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Found says in one line what was found: blocks, heads and widths, runs of
// equal blocks once, and the classes.
func (in *Inspection) Found() string {
	var parts []string
	for i := 0; i < len(in.Blocks); {
		j := i + 1
		for j < len(in.Blocks) && in.Blocks[j].words() == in.Blocks[i].words() {
			j++
		}
		parts = append(parts, fmt.Sprintf("%d × (%s)", j-i, in.Blocks[i].words()))
		i = j
	}
	if len(parts) == 0 {
		parts = append(parts, "no block")
	}
	if in.Classifiers > 0 {
		parts = append(parts, fmt.Sprintf("%d classes", in.Classes))
	} else {
		parts = append(parts, "no classifier")
	}
	return strings.Join(parts, ", ")
}

// words says what b is made of.
func (b InspectedBlock) words() string {
	var parts []string
	if b.Heads > 0 {
		parts = append(parts, fmt.Sprintf("heads %d, q/k %d, v/o %d", b.Heads, b.QK, b.VO))
	}
	if b.Hidden > 0 {
		gated := ""
		if b.Gated {
			gated = " gated"
		}
		parts = append(parts, fmt.Sprintf("hidden %d%s", b.Hidden, gated))
	}
	return strings.Join(append(parts, fmt.Sprintf("tokens %d", b.Tokens)), ", ")
}

// Prunable says in how many blocks each part can be pruned.
func (in *Inspection) Prunable() string {
	var parts []string
	for _, p := range in.parts() {
		if p.sites > 0 {
			parts = append(parts, fmt.Sprintf("%s %d of %d", p.name, p.prunable, p.sites))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

type part struct {
	name            string
	sites, prunable int
}

func (in *Inspection) parts() []part {
	parts := []part{{name: "q/k"}, {name: "v/o"}, {name: "hidden"}}
	add := func(p *part, width int, prunable bool) {
		if width > 0 {
			p.sites++
		}
		if width > 0 && prunable {
			p.prunable++
		}
	}
	for _, b := range in.Blocks {
		add(&parts[0], b.QK, b.PruneQK)
		add(&parts[1], b.VO, b.PruneVO)
		add(&parts[2], b.Hidden, b.PruneHidden)
	}
	return parts
}

// Names in reasons: of nodes, behind their operator, and of values.
var (
	nodeName  = regexp.MustCompile(`([A-Z][A-Za-z]*) "[^"]*"`)
	valueName = regexp.MustCompile(`"[^"]*"`)
)

// LeftAlone groups what was declined by part and reason, names of nodes and
// values left out.
func (in *Inspection) LeftAlone() []string {
	var order []string
	places := map[string]int{}
	for _, d := range in.Declined {
		key := d.What + ": " + valueName.ReplaceAllString(nodeName.ReplaceAllString(d.Reason, "$1"), "one value")
		if places[key] == 0 {
			order = append(order, key)
		}
		places[key]++
	}
	out := slices.Clone(order)
	for i, key := range order {
		if places[key] > 1 {
			out[i] = fmt.Sprintf("%d × %s", places[key], key)
		}
	}
	return out
}

// Sites counts the parts of blocks that can be pruned, and all of them. An
// attention or hidden layer that was declined as a whole counts as one.
func (in *Inspection) Sites() (prunable, all int) {
	for _, p := range in.parts() {
		prunable, all = prunable+p.prunable, all+p.sites
	}
	for _, d := range in.Declined {
		if !strings.HasPrefix(d.Where, "block ") {
			all++
		}
	}
	return prunable, all
}
